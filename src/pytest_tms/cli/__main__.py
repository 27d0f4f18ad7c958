"""``python -m pytest_tms.cli``: the command `tms` by this interpreter."""

from pytest_tms.cli import main

main()
