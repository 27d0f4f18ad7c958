"""`tms db`."""

from __future__ import annotations

from pathlib import Path

import click

from pytest_tms.cli.options import database_options


@click.group()
def db() -> None:
    """The database."""


@db.command()
@database_options
def upgrade(data_dir: Path | None, database_url: str | None) -> None:
    """Bring the schema up to date; `tms serve` does it at its start."""
    from pytest_tms.server.settings import ServerSettings
    from pytest_tms.server.store.database import Database

    settings = ServerSettings.read(data_dir=data_dir, database_url=database_url)
    settings.prepare()
    Database(settings.database).upgrade(settings.data_dir)
    click.echo("the schema is up to date")
