"""The command group `tms quarantine`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pytest_tms.cli.open import current_project
from pytest_tms.cli.options import Group, connect, json_option, url_option
from pytest_tms.cli.output import print_json, print_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pytest_tms import wire
    from pytest_tms.client import TmsClient

MAX_LISTED = 1000
"""Entries that `list` prints."""


def _project_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--project", metavar="NAME", help="Project.  [default: as a run of pytest in this folder]"
    )(function)


@click.group(cls=Group)
def quarantine() -> None:
    """Put tests into quarantine: their failures do not fail a build, until a date.

    The API token needs the scope quarantine:write, for `list` executions:read.
    """


@quarantine.command()
@click.argument("node_id", metavar="NODEID")
@click.option("--reason", required=True, help="Why the test is in quarantine.")
@click.option("--owner", help="Who is to repair the test.  [default: the owner of the test]")
@click.option(
    "--until", required=True, metavar="DATE", help="Last day, as 2026-12-31; at most 366 days ahead."
)
@_project_option
@url_option
@json_option
def add(
    node_id: str, reason: str, owner: str | None, until: str, project: str | None, url: str, as_json: bool
) -> None:
    """Put the test NODEID into quarantine.

    The project must have run it. An entry that the test has already is replaced.
    """
    from pytest_tms import wire

    request = wire.QuarantineRequest(
        node_id=node_id, reason=reason, owner=owner, until=until, project=project or _current_project()
    )
    with connect(url) as client:
        entry = client.add_to_quarantine(request)
    if as_json:
        print_json(entry)
    else:
        click.echo(
            f"{entry.node_id} of the project {entry.project} is in quarantine until {entry.until[:10]}"
        )


@quarantine.command("list")
@_project_option
@click.option("--owner", help="Only entries of this owner.")
@click.option(
    "--ended", is_flag=True, help="List the entries that expired or were removed instead of the active ones."
)
@url_option
@json_option
def list_entries(project: str | None, owner: str | None, ended: bool, url: str, as_json: bool) -> None:
    """List the tests in quarantine, the newest entry first."""
    from pytest_tms import wire

    name = project or _current_project() or "default"
    with connect(url) as client:
        entries = _find(client, name, owner=owner, is_ended=ended)
    if as_json:
        print_json(wire.QuarantinePage(entries=entries))
        return
    print_rows(
        [
            each.state if ended else f"until {each.until[:10]}",
            each.owner,
            each.node_id,
            each.reason,
        ]
        for each in entries
    )


@quarantine.command()
@click.argument("node_id", metavar="NODEID")
@_project_option
@url_option
@json_option
def remove(node_id: str, project: str | None, url: str, as_json: bool) -> None:
    """Remove the test NODEID from quarantine: its failures count again."""
    name = project or _current_project() or "default"
    with connect(url) as client:
        found = client.list_quarantine(project=name, node_id=node_id, state="active").entries
        if not found:
            raise ValueError(
                f"{node_id} of the project {name} is not in quarantine: `tms quarantine list` shows what is"
            )
        entry = client.remove_from_quarantine(found[0].id)
    if as_json:
        print_json(entry)
    else:
        click.echo(f"{entry.node_id} of the project {entry.project} is not in quarantine any more")


def _current_project() -> str | None:
    """Return the project of this folder; None for the one that runs without a name belong to."""
    return current_project()[1] or None


def _find(
    client: TmsClient, project: str, *, owner: str | None, is_ended: bool
) -> list[wire.QuarantineEntry]:
    found: list[wire.QuarantineEntry] = []
    cursor: str | None = None
    while len(found) < MAX_LISTED:
        page = client.list_quarantine(
            project=project, owner=owner, state="ended" if is_ended else "active", cursor=cursor, limit=200
        )
        found += page.entries
        cursor = page.cursor
        if cursor is None:
            break
    return found
