"""What is measured. Scripts, each with a command in its docstring; nothing here is part of the packages."""
