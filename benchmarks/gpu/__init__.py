"""What needs a GPU to mean something; every script also runs on a CPU with small settings."""
