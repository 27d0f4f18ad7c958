"""Encryption of secrets at rest: with the newest key; any of the configured keys decrypts."""

from __future__ import annotations

import hmac
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection

from pytest_tms.server.domain.delivery_policy import Subscription
from pytest_tms.server.encryption.key_ring import KeyRing
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
    """Encrypts with the keys of ``TMS_SERVER_KEYS``, else with those in ``secrets.key`` of the data dir."""

    def __init__(self, keys: str, data_dir: Path) -> None:
        """Use ``keys``, which are Fernet keys separated by commas, the newest first; empty for the file."""
        self._ring = KeyRing(keys, data_dir)

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
        return [hmac.digest(key.encode(), purpose.encode(), "sha256") for key in self._ring.read()]

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
        if self._ring.is_configured:
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
        if not self._ring.exists:
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

    def _fernet(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(key) for key in self._ring.read()])
