"""Makes `tests.agents...` importable; a namespace package would lose to any installed package named `tests`."""
