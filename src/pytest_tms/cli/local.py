"""The command group `tms local`."""

from __future__ import annotations

import click

from pytest_tms.cli.options import Group, json_option
from pytest_tms.cli.output import print_json


@click.group(cls=Group)
def local() -> None:
    """Manage the local server, which `--tms-url local` starts."""


@local.command("status")
@json_option
def show_status(as_json: bool) -> None:
    """Show whether the local server runs, and its URL."""
    from pytest_tms.server.local.launcher import data_dir, status

    found = status(data_dir())
    if as_json:
        print_json(found)
    elif found["running"]:
        count = len(found["sessions"])
        click.echo(
            f"running at {found['url']}: process {found['pid']}, version {found['version'] or '0.1.0'}"
        )
        click.echo(f"{count} session{'' if count == 1 else 's'}, data in {found['path']}")
    else:
        click.echo(f"not running, data in {found['path']}")


@local.command("stop")
@json_option
def stop_server(as_json: bool) -> None:
    """Stop the local server. Runs that report to it keep their results on disk."""
    from pytest_tms.server.local.launcher import data_dir, stop

    stopped = stop(data_dir())
    if as_json:
        print_json({"stopped": stopped})
    else:
        click.echo("stopped" if stopped else "not running")


@local.command("path")
@json_option
def show_path(as_json: bool) -> None:
    """Print the folder with the data of the local server."""
    from pytest_tms.server.local.launcher import data_dir

    if as_json:
        print_json({"path": str(data_dir())})
    else:
        click.echo(str(data_dir()))


@local.command(hidden=True)
@click.option(
    "--session", type=click.IntRange(1), required=True, help="Process that keeps the server running."
)
def find(session: int) -> None:
    """Find or start the local server, and print its URL and its token as JSON."""
    from pytest_tms.server.local.launcher import data_dir, find_or_start

    try:
        found = find_or_start(data_dir(), session)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    print_json(found)
