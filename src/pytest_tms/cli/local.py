"""`tms local`."""

from __future__ import annotations

import json

import click

from pytest_tms.cli.options import Group, json_option


@click.group(cls=Group)
def local() -> None:
    """The embedded server, which `--tms-url local` starts."""


@local.command("status")
@json_option
def show_status(as_json: bool) -> None:
    """Show if the embedded server runs, and where."""
    from pytest_tms.server.local.launcher import data_dir, status

    found = status(data_dir())
    if as_json:
        click.echo(json.dumps(found))
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
    """Stop the embedded server; runs that report to it keep their results on disk."""
    from pytest_tms.server.local.launcher import data_dir, stop

    stopped = stop(data_dir())
    if as_json:
        click.echo(json.dumps({"stopped": stopped}))
    else:
        click.echo("stopped" if stopped else "it was not running")


@local.command("path")
@json_option
def show_path(as_json: bool) -> None:
    """Print the folder in which the embedded server keeps its data."""
    from pytest_tms.server.local.launcher import data_dir

    click.echo(json.dumps({"path": str(data_dir())}) if as_json else str(data_dir()))


@local.command(hidden=True)
@click.option("--session", type=click.IntRange(1), required=True, help="The process that keeps it running.")
def find(session: int) -> None:
    """Find or start the embedded server, and print its URL and its token as JSON."""
    from pytest_tms.server.local.launcher import data_dir, find_or_start

    try:
        found = find_or_start(data_dir(), session)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    click.echo(json.dumps(found))
