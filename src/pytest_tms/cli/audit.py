"""The command `tms audit`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pytest_tms.cli.options import (
    Duration,
    database_options,
    json_option,
    moment,
    open_database,
    show_database,
)
from pytest_tms.cli.output import print_json, print_rows


@click.command()
@click.option(
    "--since", type=Duration(), metavar="TIME", help="Show only entries of the last 12h, 90d or 4w."
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Show at most N entries.",
)
@database_options
@json_option
def audit(
    since: int | None, limit: int, data_dir: Path | None, database_url: str | None, as_json: bool
) -> None:
    """Show the audit log: changes and who made them, the newest first."""
    from pytest_tms.server.domain import clock
    from pytest_tms.server.store import audit as log

    start = clock.now() - since if since else 0
    database = open_database(data_dir, database_url)
    with database.read() as connection:
        entries, _ = log.page(connection, since=start, limit=limit)
    show_database(database)
    if as_json:
        rows = [
            {
                "at": moment(each.at),
                "actor": each.actor.id,
                "name": each.actor.name,
                "action": each.action,
                "target": each.target,
                "details": each.details,
                "address": each.actor.address,
                "requestId": each.actor.request_id,
            }
            for each in entries
        ]
        print_json(rows)
        return
    print_rows(
        [
            moment(each.at),
            each.action,
            each.target,
            f"by {each.actor.id} ({each.actor.name})" if each.actor.name else f"by {each.actor.id}",
            each.actor.address,
            each.actor.request_id,
            "  ".join(f"{name}={json.dumps(value)}" for name, value in each.details.items()),
        ]
        for each in entries
    )
