"""Secrets at rest: encrypted with the newest key, readable with any that is kept."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import filelock
from sqlalchemy import Connection

from pytest_tms.server.domain.delivery_policy import Webhook
from pytest_tms.server.store import key_check, webhooks
from pytest_tms.server.store.database import Database, alone

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

CHECKED = "pytest-tms"
"""The text that is kept encrypted, to compare keys."""


class Credentials(NamedTuple):
    """What a delivery carries in plain text: the secrets that sign it, and the custom headers."""

    secrets: list[str]
    headers: dict[str, str]


class SecretEncryption:
    """The keys of ``TMS_SERVER_KEYS``, else those in ``secrets.key`` of the data dir, made on first use.

    The file is read at every use, so that `tms key rotate` needs no restart.
    """

    def __init__(self, given: str, data_dir: Path) -> None:
        self._given = given
        self._file = data_dir / "secrets.key"

    @property
    def are_given(self) -> bool:
        """Whether the operator keeps the keys, in the variable."""
        return bool(self._given)

    def encrypt(self, text: str) -> str:
        """Text as it is kept. Raises ValueError, in a sentence, where a key is malformed."""
        return self._fernet().encrypt(text.encode()).decode()

    def decrypt(self, kept: str) -> str:
        """The text of ``encrypt``. Raises ValueError, in a sentence, where no key fits."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet().decrypt(kept).decode()
        except InvalidToken:
            raise ValueError(
                "a secret cannot be decrypted: bring back the key file, or the key in TMS_SERVER_KEYS"
            ) from None

    def credentials(self, webhook: Webhook, now: int) -> Credentials:
        """Return what a delivery carries now. Raises ValueError, in a sentence, where no key fits."""
        secrets = [self.decrypt(secret) for secret in webhook.secrets(now)]
        return Credentials(secrets, {name: self.decrypt(value) for name, value in webhook.headers.items()})

    def encrypt_anew(self, webhook: Webhook) -> Webhook:
        """Return the webhook with its secrets encrypted with the newest key. Raises ValueError."""

        def anew(kept: str) -> str:
            return self.encrypt(self.decrypt(kept))

        return replace(
            webhook,
            secret=anew(webhook.secret),
            previous_secret=webhook.previous_secret and anew(webhook.previous_secret),
            headers={name: anew(value) for name, value in webhook.headers.items()},
        )

    def check(self, database: Database) -> None:
        """Raise ValueError, in a sentence, if a key is malformed or not that of the database's other servers.

        The first server of a database registers its key. One on SQLite shares it with no other machine.
        """
        if self._given:
            self._fernet()
        if database.is_sqlite:
            return
        with database.write() as connection:
            alone(connection)
            kept = key_check.read(connection)
            known = [kept] if kept else webhooks.secrets(connection)
            if known and not any(self._fits(each) for each in known):
                raise ValueError(
                    f"the secrets in {database.describe()} are encrypted with a key that this server does "
                    f"not have: set TMS_SERVER_KEYS to the same value on all servers (`tms key create` makes "
                    f"a key; a server without the variable has its key in secrets.key of its data dir; if "
                    f"the former key is lost, run `tms key reset`)"
                )
            if not kept:
                self.register(connection)

    def register(self, connection: Connection) -> None:
        """Make the newest key the one that all servers of the database must have."""
        key_check.put(connection, self.encrypt(CHECKED))

    def _fits(self, kept: str) -> bool:
        try:
            self.decrypt(kept)
        except ValueError:
            return False
        return True

    def add(self) -> None:
        """Put a new key before the newest of the file; keeps that one, for servers that just read it."""
        with self._lock():
            self._write([new_key(), *self._read()[:1]])

    def _fernet(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        keys = [key.strip() for key in self._given.split(",")] if self._given else self._read()
        if not keys:
            with self._lock():
                keys = self._read() or self._write([new_key()])
        try:
            return MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            where = "TMS_SERVER_KEYS" if self._given else str(self._file)
            raise ValueError(
                f"a key in {where} is malformed: a Fernet key is 44 characters of base64 "
                f"(`tms key create` makes one)"
            ) from None

    def _read(self) -> list[str]:
        try:
            return self._file.read_text(encoding="ascii").split()
        except FileNotFoundError:
            return []

    def _write(self, keys: list[str]) -> list[str]:
        temporary = self._file.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write("".join(f"{key}\n" for key in keys))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._file)
        return keys

    def _lock(self) -> filelock.BaseFileLock:
        return filelock.FileLock(self._file.with_suffix(".lock"), mode=0o600)


def new_key() -> str:
    """Return a new Fernet key: 44 characters of base64."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()
