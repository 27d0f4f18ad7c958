"""Encryption of stored data: AES-256-GCM with keys that are derived from those of the server.

An encrypted value is a byte 1, the id of its key, a random nonce, and the ciphertext with its tag. The place
of a value, such as the key of its row, is authenticated, so that no value can be moved to another place.
"""

from __future__ import annotations

import os
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.server.encryption import encrypted_files
from pytest_tms.server.encryption.encrypted_files import FileDecryption, FileEncryption, Header
from pytest_tms.server.encryption.key_ring import KeyRing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MARK = b"\x01"
"""The first byte of an encrypted value; compressed documents begin with another one."""
ID_SIZE = 8
"""Bytes of the id of a key."""
NONCE_SIZE = 12
"""Bytes of a nonce."""
RELOAD_INTERVAL = 1.0
"""Seconds after which the file of the keys is looked at again."""
PREFIX_SIZE = len(MARK) + ID_SIZE
"""Bytes of an encrypted value that name its key."""


class DamagedData(ServiceUnavailable):
    """Stored data was changed, or belongs to another place."""


class DataKey(NamedTuple):
    """A key for stored data; ``id`` is 16 hexadecimal digits, which do not reveal the key."""

    id: str
    values: AESGCM
    files: bytes


class DataCipher:
    """Encrypts with the newest key, and decrypts with any. Threads may share it."""

    def __init__(self, ring: KeyRing | None = None, *, encrypts: bool = False) -> None:
        """Use the keys of ``ring``; ``encrypts`` is whether new data is encrypted."""
        self._ring = ring
        self._encrypts = encrypts and ring is not None
        self._lock = threading.Lock()
        self._keys: dict[str, DataKey] = {}
        self._version: object = None
        self._loaded_at = -RELOAD_INTERVAL

    @property
    def encrypts(self) -> bool:
        """Whether new data is encrypted."""
        return self._encrypts

    @property
    def place(self) -> str:
        """The variable or the file that has the keys, for messages."""
        return "TMS_SERVER_KEYS" if self._ring is None else self._ring.place

    def newest(self) -> str:
        """Return the id of the key that encrypts new data.

        Raises:
            ServiceUnavailable: There is none.
        """
        return next(iter(self._current())) if self._ring is not None else ""

    def key_ids(self) -> list[str]:
        """Return the ids of all keys, the newest first.

        Raises:
            ServiceUnavailable: A key is malformed.
        """
        return [] if self._ring is None else list(self._current())

    def lacks(self, key_ids: Collection[str]) -> list[str]:
        """Return those of some keys that this server does not have, by their ids. Creates no key.

        Raises:
            ServiceUnavailable: A key is malformed.
        """
        if self._ring is None or not (self._keys or self._ring.exists):
            return sorted(key_ids)
        return sorted(set(key_ids) - set(self._current()))

    def encrypt(self, content: bytes, place: str) -> bytes:
        """Return a value encrypted for a place.

        Raises:
            ServiceUnavailable: A key is malformed.
        """
        key = self._newest()
        nonce = os.urandom(NONCE_SIZE)
        return b"".join(
            (MARK, bytes.fromhex(key.id), nonce, key.values.encrypt(nonce, content, place.encode()))
        )

    def decrypt(self, value: bytes, place: str) -> bytes:
        """Return the content of a value that was encrypted for a place.

        Raises:
            ServiceUnavailable: The server does not have its key.
            DamagedData: The value was changed.
        """
        from cryptography.exceptions import InvalidTag

        key = self._key(value[len(MARK) : PREFIX_SIZE].hex())
        start = PREFIX_SIZE + NONCE_SIZE
        try:
            return key.values.decrypt(value[PREFIX_SIZE:start], value[start:], place.encode())
        except (InvalidTag, ValueError):
            raise DamagedData(
                f"The stored value {place} cannot be decrypted, since it was changed: restore it from a "
                f"backup."
            ) from None

    def file_encryption(self) -> FileEncryption:
        """Return the encryption of one new file.

        Raises:
            ServiceUnavailable: A key is malformed.
        """
        key = self._newest()
        return FileEncryption(key.files, key.id)

    def file_decryption(self, header: bytes) -> FileDecryption:
        """Return the decryption of the file with a header.

        Raises:
            ServiceUnavailable: The server does not have its key, or the header is not valid.
        """
        try:
            found = Header.decode(header)
        except ValueError as error:
            raise ServiceUnavailable(str(error)) from None
        return FileDecryption(self._key(found.key_id).files, found)

    def _newest(self) -> DataKey:
        return next(iter(self._current().values()))

    def _key(self, key_id: str) -> DataKey:
        found = self._current().get(key_id) or self._current(again=True).get(key_id)
        if found is None:
            raise ServiceUnavailable(
                f"Stored data is encrypted with the key {key_id}, which is not in {self.place} of this "
                f"server: add it there.",
                retry_after=60,
            )
        return found

    def _current(self, *, again: bool = False) -> dict[str, DataKey]:
        """Return the keys by their ids, the newest first."""
        if self._ring is None:
            return {}
        if not again and time.monotonic() - self._loaded_at < RELOAD_INTERVAL:
            return self._keys
        with self._lock:
            version = self._ring.version
            # If the file is lost, the server continues with the keys that it has, and creates no other one.
            if not self._keys or version not in (None, self._version):
                try:
                    keys = [_data_key(key) for key in self._ring.read()]
                except (ValueError, OSError) as error:
                    raise ServiceUnavailable(
                        f"Stored data cannot be read: {error}.", retry_after=60
                    ) from error
                self._keys = {key.id: key for key in keys}
                self._version = self._ring.version if version is None else version
            self._loaded_at = time.monotonic()
            return self._keys


def key_of(value: bytes) -> str:
    """Return the id of the key of a stored value, empty if it is not encrypted."""
    return value[len(MARK) : PREFIX_SIZE].hex() if value[: len(MARK)] == MARK else ""


def _data_key(key: str) -> DataKey:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    secret = urlsafe_b64decode(key)
    return DataKey(
        encrypted_files.derive(secret, b"pytest-tms id of a data key", ID_SIZE).hex(),
        AESGCM(encrypted_files.derive(secret, b"pytest-tms stored values")),
        encrypted_files.derive(secret, b"pytest-tms stored files"),
    )
