"""`tms audit`."""

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


@click.command()
@click.option("--since", type=Duration(), metavar="TIME", help="Only the last 12h, 90d, 4w.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, metavar="N", help="How many at most (100)."
)
@database_options
@json_option
def audit(
    since: int | None, limit: int, data_dir: Path | None, database_url: str | None, as_json: bool
) -> None:
    """Show who did what, the newest first."""
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
        click.echo(json.dumps(rows))
        return
    for each in entries:
        who = f"{each.actor.id} ({each.actor.name})" if each.actor.name else each.actor.id
        details = [f"{name}={json.dumps(value)}" for name, value in each.details.items()]
        where = [each.actor.address, each.actor.request_id]
        words = [moment(each.at), each.action, each.target, f"by {who}", *where, *details]
        click.echo("  ".join(word for word in words if word))
