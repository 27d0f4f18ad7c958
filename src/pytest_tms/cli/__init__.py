"""The command `tms`. What a command needs is imported when it runs, so that `tms --help` is quick."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version

import click

from pytest_tms.errors import TmsError

COMMANDS = {
    "serve": "pytest_tms.cli.serve:serve",
    "token": "pytest_tms.cli.token:token",
    "replay": "pytest_tms.cli.replay:replay",
    "db": "pytest_tms.cli.db:db",
}


class Tms(click.Group):
    """Loads a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, or None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=Tms)
@click.version_option(version("pytest-tms"), prog_name="tms")
def tms() -> None:
    """Live test reporting for pytest, and the test management system."""


def main() -> None:
    """Run `tms`; what goes wrong is one line on stderr, and exit status 1."""
    try:
        tms(prog_name="tms")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pytest_tms"):
            raise
        sys.exit('tms: this command needs the server: pip install "pytest-tms[server]"')
    except (TmsError, OSError, ValueError) as error:
        sys.exit(f"tms: {error}")
