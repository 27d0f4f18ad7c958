"""`tms db`."""

from __future__ import annotations

from pathlib import Path

import click

from pytest_tms.cli.options import Group, database_options, open_database, show_database


@click.group(cls=Group)
def db() -> None:
    """The database."""


@db.command()
@database_options
def upgrade(data_dir: Path | None, database_url: str | None) -> None:
    """Bring the schema up to date, and create the database if there is none; `tms serve` does both."""
    database = open_database(data_dir, database_url, create=True)
    click.echo("the schema is up to date")
    show_database(database)
