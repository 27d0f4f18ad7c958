"""Encryption of secrets at rest: with the newest key; any of the configured keys decrypts."""

from __future__ import annotations

import hmac
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import filelock
from sqlalchemy import Connection

from pytest_tms.server.domain.delivery_policy import Subscription
from pytest_tms.server.store import key_check, webhooks
from pytest_tms.server.store.database import Database, lock_exclusively

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

CHECK_TEXT = "pytest-tms"
"""The text that is stored encrypted, by which a server with another key is detected."""


class Credentials(NamedTuple):
    """The secrets that sign a delivery and its custom headers, in plain text."""

    secrets: list[str]
    headers: dict[str, str]


class SecretEncryption:
    """Encrypts with the keys of ``TMS_SERVER_KEYS``, else with those in ``secrets.key`` of the data dir.

    The file is created on first use, and read at every use, so that `tms key rotate` needs no restart.
    """

    def __init__(self, keys: str, data_dir: Path) -> None:
        """Use ``keys``, which are Fernet keys separated by commas, the newest first; empty for the file."""
        self._configured = keys
        self._file = data_dir / "secrets.key"

    @property
    def is_configured(self) -> bool:
        """Whether the keys come from the settings, not from the file."""
        return bool(self._configured)

    def encrypt(self, text: str) -> str:
        """Return a text encrypted with the newest key.

        Raises:
            ValueError: A key is malformed.
        """
        return self._fernet().encrypt(text.encode()).decode()

    def decrypt(self, encrypted: str) -> str:
        """Return the text that ``encrypt`` encrypted.

        Raises:
            ValueError: A key is malformed, or none decrypts the text.
        """
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet().decrypt(encrypted).decode()
        except InvalidToken:
            raise ValueError(
                "a secret cannot be decrypted: restore the key file, or the key in TMS_SERVER_KEYS"
            ) from None

    def credentials(self, webhook: Subscription, now: int) -> Credentials:
        """Return the decrypted secrets and headers of a webhook. ``now`` is milliseconds since 1970.

        Raises:
            ValueError: A key is malformed, or none decrypts them.
        """
        secrets = [self.decrypt(secret) for secret in webhook.secrets(now)]
        return Credentials(secrets, {name: self.decrypt(value) for name, value in webhook.headers.items()})

    def derive(self, purpose: str) -> list[bytes]:
        """Return 32 bytes for each key, the newest first, which only this server and its replicas know.

        They are the same for the same ``purpose``, so they need not be stored.

        Raises:
            ValueError: A key is malformed.
        """
        self._fernet()
        return [hmac.digest(key.encode(), purpose.encode(), "sha256") for key in self._keys()]

    def reencrypt(self, webhook: Subscription) -> Subscription:
        """Return the webhook with its secrets encrypted with the newest key.

        Raises:
            ValueError: A key is malformed, or none decrypts the secrets.
        """

        def renewed(encrypted: str) -> str:
            return self.encrypt(self.decrypt(encrypted))

        return replace(
            webhook,
            secret=renewed(webhook.secret),
            previous_secret=webhook.previous_secret and renewed(webhook.previous_secret),
            headers={name: renewed(value) for name, value in webhook.headers.items()},
        )

    def check(self, database: Database) -> None:
        """Check that this server has the key of the other servers of its database.

        The first server of a database registers its key. SQLite is not checked: one machine uses it.

        Raises:
            ValueError: A key is malformed, or another one was registered.
        """
        if self._configured:
            self._fernet()
        if database.is_sqlite:
            return
        with database.write() as connection:
            lock_exclusively(connection)
            registered = key_check.read(connection)
            encrypted = [registered] if registered else webhooks.encrypted_secrets(connection)
            if encrypted and not any(self._can_decrypt(each) for each in encrypted):
                raise ValueError(
                    f"the secrets in {database.describe()} are encrypted with a key that this server does "
                    f"not have: set TMS_SERVER_KEYS to the same value on all servers. `tms key create` "
                    f"prints a key; a server without the variable has its key in secrets.key of its data "
                    f"dir; if the previous key is lost, run `tms key reset`"
                )
            if not registered:
                self.register(connection)

    def is_usable(self, database: Database) -> bool:
        """Return whether a key of this server decrypts the stored secrets, if there are any. Creates no key.

        Raises:
            ValueError: A key is malformed.
        """
        with database.read() as connection:
            registered = key_check.read(connection)
            encrypted = [registered] if registered else webhooks.encrypted_secrets(connection)
        if not self._configured and not self._read():
            return not encrypted
        self._fernet()
        return not encrypted or any(self._can_decrypt(each) for each in encrypted)

    def register(self, connection: Connection) -> None:
        """Store a text encrypted with the newest key, which all servers of the database must decrypt."""
        key_check.put(connection, self.encrypt(CHECK_TEXT))

    def _can_decrypt(self, encrypted: str) -> bool:
        try:
            self.decrypt(encrypted)
        except ValueError:
            return False
        return True

    def add(self) -> None:
        """Write a new key to the file, before the newest one, which still decrypts."""
        with self._lock():
            self._write([new_key(), *self._read()[:1]])

    def _fernet(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        try:
            return MultiFernet([Fernet(key) for key in self._keys()])
        except ValueError:
            where = "TMS_SERVER_KEYS" if self._configured else str(self._file)
            raise ValueError(
                f"a key in {where} is malformed: a Fernet key is 44 characters of base64 "
                f"(`tms key create` prints one)"
            ) from None

    def _keys(self) -> list[str]:
        if self._configured:
            return [key.strip() for key in self._configured.split(",")]
        if keys := self._read():
            return keys
        with self._lock():
            return self._read() or self._write([new_key()])

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
