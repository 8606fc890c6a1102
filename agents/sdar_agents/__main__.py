"""`python -m sdar_agents` is `sdar-gym`."""

from sdar_agents.cli import main

main()
