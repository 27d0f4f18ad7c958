"""`tms key`."""

from __future__ import annotations

from pathlib import Path

import click

from pytest_tms.cli.options import database_options, open_database, operator


@click.group()
def key() -> None:
    """The keys that encrypt secrets at rest."""


@key.command()
@database_options
def rotate(data_dir: Path | None, database_url: str | None) -> None:
    """Encrypt all secrets with a new key; a running server needs no restart.

    Where TMS_SERVER_KEYS has the keys, put a new one first, restart the servers, and run this.
    """
    from pytest_tms.server.api import auth
    from pytest_tms.server.settings import ServerSettings
    from pytest_tms.server.store import audit, webhooks
    from pytest_tms.server.webhooks.keys import Keys

    settings = ServerSettings.read(data_dir=data_dir, database_url=database_url)
    database = open_database(data_dir, database_url)
    keys = Keys(settings.keys, settings.data_dir)
    if not keys.are_given:
        keys.add()
    with database.write() as connection:
        found = webhooks.lock_all(connection)
        for webhook in found:
            webhooks.save(connection, keys.encrypt_anew(webhook))
        audit.add(connection, operator(), "key.rotated", "", auth.now(), webhooks=len(found))
    click.echo(f"the secrets of {len(found)} webhooks are encrypted with the newest key")
