"""The command `tms`. A command imports its dependencies when it runs, so that `tms --help` is fast."""

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
    "login": "pytest_tms.cli.login:login",
    "audit": "pytest_tms.cli.audit:audit",
    "cases": "pytest_tms.cli.cases:cases",
    "execution": "pytest_tms.cli.execution:execution",
    "quarantine": "pytest_tms.cli.quarantine:quarantine",
    "open": "pytest_tms.cli.open:open_report",
    "shards": "pytest_tms.cli.shards:shards",
    "submit": "pytest_tms.cli.submit:submit",
    "replay": "pytest_tms.cli.replay:replay",
    "doctor": "pytest_tms.cli.doctor:doctor",
    "webhook": "pytest_tms.cli.webhook:webhook",
    "mcp": "pytest_tms.cli.mcp:mcp",
    "local": "pytest_tms.cli.local:local",
    "key": "pytest_tms.cli.key:key",
    "db": "pytest_tms.cli.db:db",
    "backup": "pytest_tms.cli.backup:backup",
    "restore": "pytest_tms.cli.backup:restore",
    "prune": "pytest_tms.cli.prune:prune",
}


class TmsGroup(Group):
    """A group that imports the module of a command when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name; None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=TmsGroup)
@click.version_option(version("pytest-tms"), prog_name="tms")
def tms() -> None:
    """Report tests to a test management system (TMS), and run one."""


def main() -> None:
    """Run `tms`. An error is one line on stderr; the exit status is 2 for wrong usage, 1 for other errors."""
    try:
        sys.exit(tms(prog_name="tms", standalone_mode=False))
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "tms"
        _exit(f"{error.format_message().rstrip('.')}: see `{command} --help`", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pytest_tms"):
            raise
        _exit('this command needs the server, which is not installed: run pip install "pytest-tms[server]"')
    except click.ClickException as error:
        _exit(error.format_message(), error.exit_code)
    except (TmsError, OSError, ValueError) as error:
        _exit(str(error))


def _exit(message: str, status: int = 1) -> NoReturn:
    click.echo(f"tms: {' '.join(message.split())}", err=True)
    sys.exit(status)
