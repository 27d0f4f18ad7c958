"""The command group `tms key`."""

from __future__ import annotations

from pathlib import Path

import click

from pytest_tms.cli.options import Group, database_options, open_database, operator, show_database


@click.group(cls=Group)
def key() -> None:
    """Manage the keys that encrypt secrets at rest."""


@key.command()
def create() -> None:
    """Print a new key for TMS_SERVER_KEYS, which all servers of a database share."""
    from pytest_tms.server.webhooks.encryption import new_key

    click.echo(new_key())


@key.command()
@database_options
def reset(data_dir: Path | None, database_url: str | None) -> None:
    """Replace a lost key by the key of this server, for all servers of the database.

    Webhooks whose secrets are encrypted with the lost key send nothing until they get new secrets.
    """
    from pytest_tms.server.domain import clock
    from pytest_tms.server.settings import ServerSettings
    from pytest_tms.server.store import audit
    from pytest_tms.server.webhooks.encryption import SecretEncryption

    settings = ServerSettings.read(data_dir=data_dir, database_url=database_url)
    database = open_database(data_dir, database_url)
    with database.write() as connection:
        SecretEncryption(settings.keys, settings.data_dir).register(connection)
        audit.add(connection, operator(), "key.reset", "", clock.now())
    click.echo("servers with the key of this server can start now")
    show_database(database)


@key.command()
@database_options
def rotate(data_dir: Path | None, database_url: str | None) -> None:
    """Encrypt all secrets with a new key. A running server needs no restart.

    If the keys are in TMS_SERVER_KEYS: put a new key first, restart the servers, and run this command.
    """
    from pytest_tms.server.domain import clock
    from pytest_tms.server.settings import ServerSettings
    from pytest_tms.server.store import audit, webhooks
    from pytest_tms.server.webhooks.encryption import SecretEncryption

    settings = ServerSettings.read(data_dir=data_dir, database_url=database_url)
    database = open_database(data_dir, database_url)
    keys = SecretEncryption(settings.keys, settings.data_dir)
    keys.check(database)
    if not keys.is_configured:
        keys.add()
    with database.write() as connection:
        found = webhooks.lock_all(connection)
        for webhook in found:
            webhooks.save(connection, keys.reencrypt(webhook))
        keys.register(connection)
        audit.add(connection, operator(), "key.rotated", "", clock.now(), webhooks=len(found))
    click.echo(f"the secrets of {len(found)} webhooks are encrypted with the newest key")
    show_database(database)
