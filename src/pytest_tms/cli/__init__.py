"""The command `tms`. What a command needs is imported when it runs, so that `tms --help` is quick."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn

import click

from pytest_tms.cli.options import Group
from pytest_tms.errors import TmsError

COMMANDS = {
    "serve": "pytest_tms.cli.serve:serve",
    "token": "pytest_tms.cli.token:token",
    "audit": "pytest_tms.cli.audit:audit",
    "execution": "pytest_tms.cli.execution:execution",
    "submit": "pytest_tms.cli.submit:submit",
    "replay": "pytest_tms.cli.replay:replay",
    "doctor": "pytest_tms.cli.doctor:doctor",
    "webhook": "pytest_tms.cli.webhook:webhook",
    "local": "pytest_tms.cli.local:local",
    "key": "pytest_tms.cli.key:key",
    "db": "pytest_tms.cli.db:db",
}


class Tms(Group):
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
    """Run `tms`; what goes wrong is one line on stderr: exit status 2 for wrong usage, 1 for failed work."""
    try:
        sys.exit(tms(prog_name="tms", standalone_mode=False))
    except click.UsageError as error:
        asked = error.ctx.command_path if error.ctx else "tms"
        _end(f"{error.format_message().rstrip('.')}: see `{asked} --help`", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pytest_tms"):
            raise
        _end('this command needs the server: pip install "pytest-tms[server]"')
    except click.ClickException as error:
        _end(error.format_message(), error.exit_code)
    except (TmsError, OSError, ValueError) as error:
        _end(str(error))


def _end(message: str, status: int = 1) -> NoReturn:
    click.echo(f"tms: {' '.join(message.split())}", err=True)
    sys.exit(status)
