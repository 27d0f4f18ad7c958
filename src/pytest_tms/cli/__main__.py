"""Run the command `tms` with this interpreter: ``python -m pytest_tms.cli``."""

from pytest_tms.cli import main

main()
