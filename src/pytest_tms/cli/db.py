"""The command group `tms db`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pytest_tms.cli.options import Group, database_options, json_option, open_database, show_database


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


@db.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@json_option
def copy(source: str, target: str, as_json: bool) -> None:
    """Copy a database into an empty one, such as SQLite into PostgreSQL, and compare the numbers of rows.

    FROM and TO are SQLAlchemy URLs, or paths of SQLite files. Stop the servers first: an SQLite file
    that one has open is refused, and nothing is copied if FROM changes meanwhile. A password belongs in
    PGPASSWORD or ~/.pgpass, because arguments are visible in the list of processes. If the command is
    interrupted, TO remains empty.
    """
    import tempfile

    from pytest_tms.server.store import copies
    from pytest_tms.server.store.database import Database

    reading, writing = Database(_url(source)), Database(_url(target))
    if reading.engine.url == writing.engine.url:
        raise click.UsageError("FROM and TO are the same database")
    if not reading.exists():
        raise ValueError(f"there is no TMS database at {reading.describe()}")
    reading.check_current()
    reading.check_unused()
    with tempfile.TemporaryDirectory() as folder:
        writing.upgrade(Path(folder))
    counts: dict[str, int] = {}

    def copied(table: str, rows: int) -> None:
        counts[table] = rows
        if not as_json:
            click.echo(f"{table:24} {rows:>12,}")

    copies.copy(reading, writing, copied)
    if as_json:
        click.echo(json.dumps(counts))
    else:
        click.echo(f"{sum(counts.values()):,} rows in {len(counts)} tables were copied and counted")
    click.echo("files of tests and the encryption key are not in the database: see docs/backup.md", err=True)
    reading.close()
    writing.close()


def _url(text: str) -> str:
    """Return a URL, also for a path of an SQLite file."""
    return text if "://" in text else f"sqlite:///{Path(text).expanduser().absolute()}"
