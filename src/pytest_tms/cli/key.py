"""The command group `tms key`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from pytest_tms.cli.options import (
    Group,
    database_options,
    json_option,
    open_database,
    operator,
    server_options,
    show_database,
)
from pytest_tms.cli.output import print_rows


@click.group(cls=Group)
def key() -> None:
    """Manage the keys that encrypt secrets and data at rest."""


@key.command()
def create() -> None:
    """Print a new key for TMS_SERVER_KEYS, which all servers of a database share."""
    from pytest_tms.server.encryption.key_ring import new_key

    click.echo(new_key())


@key.command()
@database_options
def reset(data_dir: Path | None, database_url: str | None) -> None:
    """Replace a lost key by the key of this server, for all servers of the database.

    Webhooks whose secrets are encrypted with the lost key send nothing until they get new secrets. Results
    and files that are encrypted with it cannot be read.
    """
    from pytest_tms.server.domain import clock
    from pytest_tms.server.services.encryption import forget_lost_keys
    from pytest_tms.server.settings import ServerSettings
    from pytest_tms.server.store import audit
    from pytest_tms.server.webhooks.encryption import SecretEncryption

    settings = ServerSettings.read(data_dir=data_dir, database_url=database_url)
    database = open_database(data_dir, database_url)
    lost = forget_lost_keys(database)
    with database.write() as connection:
        SecretEncryption(settings.keys, settings.data_dir).register(connection)
        audit.add(connection, operator(), "key.reset", "", clock.now())
    for each in lost:
        click.echo(f"data that is encrypted with the key {each} cannot be read")
    click.echo("servers with the key of this server can start now")
    show_database(database)


@key.command()
@database_options
def rotate(data_dir: Path | None, database_url: str | None) -> None:
    """Encrypt all secrets with a new key. A running server needs no restart.

    If the keys are in TMS_SERVER_KEYS: put a new key first, restart the servers, and run this command. Data
    that is encrypted at rest is encrypted with the new key by the servers, in the background.
    """
    from pytest_tms.server.domain import clock
    from pytest_tms.server.encryption.key_ring import KeyRing
    from pytest_tms.server.services import encryption
    from pytest_tms.server.settings import ServerSettings
    from pytest_tms.server.store import audit, webhooks
    from pytest_tms.server.webhooks.encryption import SecretEncryption

    settings = ServerSettings.read(data_dir=data_dir, database_url=database_url)
    database = open_database(data_dir, database_url)
    keys = SecretEncryption(settings.keys, settings.data_dir)
    ring = KeyRing(settings.keys, settings.data_dir)
    keys.check(database)
    if not ring.is_configured:
        # The previous keys are kept for as long as any data is encrypted with them.
        ring.add(kept=1 if encryption.state(database).is_complete else None)
    with database.write() as connection:
        found = webhooks.lock_all(connection)
        for webhook in found:
            webhooks.save(connection, keys.reencrypt(webhook))
        keys.register(connection)
        audit.add(connection, operator(), "key.rotated", "", clock.now(), webhooks=len(found))
    click.echo(f"the secrets of {len(found)} webhooks are encrypted with the newest key")
    if encryption.state(database).is_on:
        click.echo("the servers encrypt stored data with it in the background: see `tms key status`")
    show_database(database)


@key.command()
@database_options
@json_option
def status(data_dir: Path | None, database_url: str | None, as_json: bool) -> None:
    """Print how far stored data is encrypted with the newest key, or decrypted."""
    from pytest_tms.server.services import encryption

    database = open_database(data_dir, database_url)
    found = encryption.state(database)
    if as_json:
        document = {
            "encrypted": found.is_on,
            "keys": found.keys,
            "newestKey": found.target,
            "complete": found.is_complete,
            "data": [each._asdict() for each in found.kinds],
        }
        click.echo(json.dumps(document))
    elif not found.is_on and not found.keys:
        click.echo("stored data is not encrypted: TMS_SERVER_ENCRYPT=1 of a server turns it on")
    else:
        click.echo(
            f"new data is {f'encrypted with the key {found.target}' if found.is_on else 'not encrypted'}"
        )
        if found.is_complete:
            click.echo("all other data is encrypted with it too")
        else:
            click.echo(f"other data may be encrypted with {', '.join(found.keys)}, and is being rewritten:")
            print_rows(
                (
                    each.name,
                    f"{each.share:.0%}" if each.passes < encryption.PASSES else "done",
                    f"pass {min(each.passes + 1, encryption.PASSES)} of {encryption.PASSES}",
                    f"{each.rows:,} rewritten",
                )
                for each in found.kinds
            )
    show_database(database)


@key.command()
@server_options("artifacts_url")
@database_options
def decrypt(artifacts_url: str | None, data_dir: Path | None, database_url: str | None) -> None:
    """Store all data unencrypted from now on.

    First remove TMS_SERVER_ENCRYPT from the environment of this command and stop the servers, which may be
    started again without it at once. The keys are needed until the command has finished.
    """
    from pytest_tms.server.domain import clock
    from pytest_tms.server.services import encryption
    from pytest_tms.server.settings import ServerSettings
    from pytest_tms.server.store import audit, encryption_state
    from pytest_tms.server.store.object_store import ObjectStore

    settings = ServerSettings.read(data_dir=data_dir, database_url=database_url, artifacts_url=artifacts_url)
    if settings.encrypt:
        raise ValueError("TMS_SERVER_ENCRYPT is set: remove it, also from the servers, and try again")
    database = open_database(data_dir, database_url)
    with database.write() as connection:
        encryption_state.switch(connection, False)
        audit.add(connection, operator(), "data.decrypted", "", clock.now())
    objects = ObjectStore(settings.artifacts_url, settings.data_dir, database.cipher)
    encryption.rewrite(database, objects, time.sleep, between_passes=0)
    click.echo("all data is stored unencrypted; the keys are still needed for the secrets of webhooks")
    show_database(database)
