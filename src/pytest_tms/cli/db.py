"""The command group `tms db`."""

from __future__ import annotations

from pathlib import Path

import click

from pytest_tms.cli.options import Group, database_options, open_database, show_database


@click.group(cls=Group)
def db() -> None:
    """Manage the database."""


@db.command()
@database_options
def upgrade(data_dir: Path | None, database_url: str | None) -> None:
    """Upgrade the schema, and create the database if it does not exist. `tms serve` does both, too."""
    database = open_database(data_dir, database_url, create=True)
    click.echo("the schema is up to date")
    show_database(database)
