"""The commands of `sdar-gym`: a file each, with a dataclass of options and a `run`."""
