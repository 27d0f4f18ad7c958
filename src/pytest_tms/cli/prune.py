"""The command `tms prune`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from pytest_tms.cli.options import (
    Duration,
    database_options,
    json_option,
    open_database,
    operator,
    show_database,
)


@click.command()
@click.option("--older-than", type=Duration(), required=True, metavar="TIME", help="The age: 12h, 90d or 4w.")
@click.option(
    "--keep-branch", "branches", multiple=True, metavar="NAME", help="Keep this branch; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Delete nothing; print what would be deleted.")
@database_options
@json_option
def prune(
    older_than: int,
    branches: tuple[str, ...],
    dry_run: bool,
    data_dir: Path | None,
    database_url: str | None,
    as_json: bool,
) -> None:
    """Delete executions that have ended and are older than an age.

    Servers continue to store results meanwhile. TMS_SERVER_RETENTION does the same every night.
    """
    from dataclasses import asdict

    from pytest_tms.server.domain.retention import Retention
    from pytest_tms.server.services.retention import find_expired
    from pytest_tms.server.services.retention import prune as prune_database

    retention = Retention(results=older_than, branches=tuple((name, None) for name in branches))
    database = open_database(data_dir, database_url)
    if dry_run:
        pruned = find_expired(database, retention)
    else:
        pruned = prune_database(database, operator(), retention, time.sleep)
    if as_json:
        click.echo(json.dumps(asdict(pruned)))
    else:
        click.echo(
            f"{pruned.executions:,} {'execution' if pruned.executions == 1 else 'executions'} "
            f"with {pruned.results:,} {'result' if pruned.results == 1 else 'results'} "
            f"{'would be' if dry_run else 'were'} deleted"
        )
    show_database(database)
