"""Encryption of secrets at rest: with the newest key; any of the configured keys decrypts."""

from __future__ import annotations

import hmac
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection

from pytest_tms.errors import ServiceUnavailable
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
            ServiceUnavailable: A key is malformed.
        """
        return self._fernet().encrypt(text.encode()).decode()

    def decrypt(self, encrypted: str) -> str:
        """Return the text that ``encrypt`` encrypted.

        Raises:
            ServiceUnavailable: A key is malformed.
            ValueError: No key decrypts the text.
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
            ServiceUnavailable: A key is malformed.
            ValueError: No key decrypts them.
        """
        secrets = [self.decrypt(secret) for secret in webhook.secrets(now)]
        return Credentials(secrets, {name: self.decrypt(value) for name, value in webhook.headers.items()})

    def derive(self, purpose: str) -> list[bytes]:
        """Return 32 bytes for each key, the newest first, which only this server and its replicas know.

        They are the same for the same ``purpose``, so they need not be stored.

        Raises:
            ServiceUnavailable: A key is malformed.
        """
        return [hmac.digest(key.encode(), purpose.encode(), "sha256") for key in self._keys()]

    def reencrypt(self, webhook: Subscription) -> Subscription:
        """Return the webhook with its secrets encrypted with the newest key.

        Raises:
            ServiceUnavailable: A key is malformed.
            ValueError: No key decrypts the secrets.
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

        The first server of a PostgreSQL database registers its key. On SQLite, which one machine uses, only
        the stored secrets are checked, so that a server without webhooks needs no key.

        Raises:
            ValueError: A key is malformed, or another one was registered.
        """
        if self._ring.exists:
            try:
                self._keys()
            except ServiceUnavailable as error:
                raise ValueError(str(error.__cause__)) from error
        if database.is_sqlite:
            with database.read() as connection:
                self._check_secrets(database, connection)
            return
        with database.write() as connection:
            lock_exclusively(connection)
            if not self._check_secrets(database, connection):
                self.register(connection)

    def _check_secrets(self, database: Database, connection: Connection) -> bool:
        """Check that a key decrypts the stored secrets; return whether a key is registered.

        Raises:
            ValueError: None does.
        """
        registered = key_check.read(connection)
        encrypted = [registered] if registered else webhooks.encrypted_secrets(connection)
        is_usable = self._ring.exists and any(self._can_decrypt(each) for each in encrypted)
        if encrypted and not is_usable:
            raise ValueError(
                f"the secrets in {database.describe()} are encrypted with a key that this server does "
                f"not have: set TMS_SERVER_KEYS to the same value on all servers. `tms key create` "
                f"prints a key; a server without the variable has its key in secrets.key of its data "
                f"dir; if the previous key is lost, run `tms key reset`"
            )
        return registered is not None

    def is_usable(self, database: Database) -> bool:
        """Return whether a key of this server decrypts the stored secrets, if there are any. Creates no key.

        Raises:
            ServiceUnavailable: A key is malformed.
        """
        with database.read() as connection:
            registered = key_check.read(connection)
            encrypted = [registered] if registered else webhooks.encrypted_secrets(connection)
        if not self._ring.exists:
            return not encrypted
        self._keys()
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

        return MultiFernet([Fernet(key) for key in self._keys()])

    def _keys(self) -> list[str]:
        """Return the keys, the newest first.

        Raises:
            ServiceUnavailable: One is malformed, or the file cannot be read; its cause has a sentence.
        """
        try:
            return self._ring.read()
        except (ValueError, OSError) as error:
            raise ServiceUnavailable(
                f"Secrets cannot be encrypted or decrypted: {error}.", retry_after=60
            ) from error
