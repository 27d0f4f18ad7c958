"""The commands `tms backup` and `tms restore`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_tms.cli.options import database_options, json_option, show_database

if TYPE_CHECKING:
    from pytest_tms.server.services.backups import Manifest
    from pytest_tms.server.settings import ServerSettings

KEEP_KEY = "keep a copy of {place} in another place, what it encrypts is lost without it"
RESTORE_KEY = "restore {place} from your copy before the server starts"
"""What to do about a key that is not in a backup."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--include-key",
    is_flag=True,
    help="Include the key file. All secrets can then be read with the backup alone.",
)
@database_options
@json_option
def backup(
    file: Path, include_key: bool, data_dir: Path | None, database_url: str | None, as_json: bool
) -> None:
    """Copy the database and the files of tests into one new FILE while the server runs.

    docs/backup.md says what is in it. FILE is a tar archive that only its owner can read.
    """
    from pytest_tms.server.services import backups
    from pytest_tms.server.settings import ServerSettings
    from pytest_tms.server.store.database import Database

    settings = ServerSettings.read(data_dir=data_dir, database_url=database_url)
    database = Database(settings.database)
    if not database.exists():
        raise ValueError(f"there is no TMS database at {database.describe()}")
    manifest = backups.create(settings, database, file.absolute(), include_key=include_key)
    _show(settings, manifest, f"{file} has", KEEP_KEY, as_json=as_json)
    show_database(database)
    database.close()


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@database_options
@json_option
def restore(file: Path, data_dir: Path | None, database_url: str | None, as_json: bool) -> None:
    """Restore a FILE of `tms backup` into a data dir and a database that are new or empty."""
    from pytest_tms.server.services import backups
    from pytest_tms.server.settings import ServerSettings
    from pytest_tms.server.store.database import Database

    settings = ServerSettings.read(data_dir=data_dir, database_url=database_url)
    database = Database(settings.database)
    manifest = backups.restore(settings, database, file)
    _show(settings, manifest, "restored", RESTORE_KEY, as_json=as_json)
    show_database(database)
    database.close()


def _show(settings: ServerSettings, manifest: Manifest, action: str, advice: str, *, as_json: bool) -> None:
    """Print what a backup has, and on standard error what it does not have, with advice about the key."""
    if as_json:
        click.echo(json.dumps(asdict(manifest)))
    else:
        click.echo(
            f"{action} {manifest.executions:,} executions, {manifest.tests:,} tests, {manifest.results:,} "
            f"results and {manifest.files:,} files ({manifest.bytes / 1e6:,.1f} MB) of {manifest.created_at}"
        )
    for line in _missing(settings, manifest, advice):
        click.echo(f"note  {line}", err=True)


def _missing(settings: ServerSettings, manifest: Manifest, advice: str) -> list[str]:
    """Return what is not in a backup, one line each."""
    found = []
    if not manifest.has_key:
        place = "TMS_SERVER_KEYS" if settings.keys else f"{settings.data_dir / 'secrets.key'}"
        found.append(f"the encryption key is not in the backup: {advice.format(place=place)}")
    if settings.artifacts_url:
        found.append("files of tests are in the object store, and not in the backup")
    return found
