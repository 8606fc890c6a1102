"""Reference learners for text agents: rollouts, teachers, losses, training and evaluation."""

__version__ = "0.1.0"
