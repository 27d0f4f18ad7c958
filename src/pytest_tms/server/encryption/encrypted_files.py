"""The format of encrypted files: a header, then chunks that are each encrypted and authenticated.

Each file has a key of its own, derived from a random salt in its header. Each chunk has ``CHUNK`` bytes of
the file, the last one fewer, and a tag. Its nonce has its number and whether it is the last one. So a chunk
that was changed, moved, repeated, left out or taken from another file does not decrypt, and a file that was
shortened has no last chunk. Any range can be read by decrypting its chunks alone.

    header   magic "TMSE", version 1, id of the key (8 bytes), salt (16 bytes)
    nonce    7 zero bytes, number of the chunk (4 bytes: 256 TiB), 1 for the last chunk, else 0
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

MAGIC = b"TMSE\x01"
ID_SIZE, SALT_SIZE = 8, 16
HEADER_SIZE = len(MAGIC) + ID_SIZE + SALT_SIZE
CHUNK = 65_536
"""Bytes of a file in one chunk."""
TAG = 16
"""Bytes that encryption adds to a chunk."""
SEALED = CHUNK + TAG
"""Bytes of an encrypted chunk, except the last one."""


class Header(NamedTuple):
    """The header of an encrypted file; ``key_id`` is 16 hexadecimal digits."""

    key_id: str
    salt: bytes

    def encode(self) -> bytes:
        """Return its bytes."""
        return MAGIC + bytes.fromhex(self.key_id) + self.salt

    @classmethod
    def decode(cls, header: bytes) -> Header:
        """Return the header that bytes are.

        Raises:
            ValueError: They are not a header of this version.
        """
        if len(header) != HEADER_SIZE or not header.startswith(MAGIC):
            raise ValueError("An encrypted file has an unknown header: restore it from a backup.")
        end = len(MAGIC) + ID_SIZE
        return cls(header[len(MAGIC) : end].hex(), header[end:])


class DecryptionError(Exception):
    """A chunk of a file was changed, moved or left out, or belongs to another key."""


class FileEncryption:
    """The encryption of one file, which arrives in parts."""

    def __init__(self, key: bytes, key_id: str) -> None:
        self.header = Header(key_id, os.urandom(SALT_SIZE)).encode()
        self._cipher = _ChunkCipher(key, self.header)
        self._rest = bytearray()
        self._number = 0

    def update(self, part: bytes | bytearray) -> Iterator[bytes]:
        """Yield the encrypted chunks that a part completes. The first chunk follows the header."""
        self._rest += part
        while len(self._rest) > CHUNK:  # the last chunk is never empty, unless the file is
            yield self._cipher.encrypt(bytes(self._rest[:CHUNK]), self._number, is_last=False)
            self._number += 1
            del self._rest[:CHUNK]

    def finish(self) -> bytes:
        """Return the last chunk."""
        return self._cipher.encrypt(bytes(self._rest), self._number, is_last=True)


class FileDecryption:
    """The decryption of one file."""

    def __init__(self, key: bytes, header: Header) -> None:
        self._cipher = _ChunkCipher(key, header.encode())

    def open(self, sealed: bytes, number: int, *, is_last: bool) -> bytes:
        """Return the content of a chunk.

        Raises:
            DecryptionError: It is not the chunk with this number.
        """
        return self._cipher.decrypt(sealed, number, is_last=is_last)


class FileRange(NamedTuple):
    """The chunks of a range of a file.

    ``start`` and ``end`` are the bytes of the encrypted file to read. ``first`` is the number of the first
    chunk and ``last`` that of the last chunk of the file. ``skip`` bytes of the first chunk are not wanted.
    """

    start: int
    end: int
    first: int
    last: int
    skip: int
    length: int


def part(start: int, end: int, size: int) -> FileRange:
    """Return the part of an encrypted file to read for the bytes from ``start`` to before ``end``.

    ``size`` is the size of the file before its encryption; the range is not empty unless the file is.
    """
    last = max(0, (size - 1) // CHUNK)
    first, final = min(start // CHUNK, last), min(max(0, end - 1) // CHUNK, last)
    length = final * SEALED + (size - last * CHUNK + TAG if final == last else SEALED)
    return FileRange(
        HEADER_SIZE + first * SEALED,
        HEADER_SIZE + length,
        first,
        last,
        start - first * CHUNK,
        end - start,
    )


class PartDecryption:
    """The decryption of a part, whose bytes arrive in pieces of any length."""

    def __init__(self, decryption: FileDecryption, wanted: FileRange) -> None:
        self._decryption = decryption
        self._number = wanted.first
        self._last = wanted.last
        self._skip = wanted.skip
        self._left = wanted.length
        self._rest = bytearray()

    def update(self, piece: bytes) -> Iterator[bytes]:
        """Yield the wanted bytes of the chunks that a piece completes.

        Raises:
            DecryptionError: A chunk was changed.
        """
        self._rest += piece
        while self._number < self._last and len(self._rest) >= SEALED:
            yield self._next(SEALED)

    def finish(self) -> bytes:
        """Return the wanted bytes of the last chunk, empty if it was not wanted.

        Raises:
            DecryptionError: The file was shortened or changed.
        """
        content = self._next(len(self._rest)) if self._rest else b""
        if self._left:
            raise DecryptionError
        return content

    def _next(self, length: int) -> bytes:
        sealed = bytes(self._rest[:length])
        del self._rest[:length]
        content = self._decryption.open(sealed, self._number, is_last=self._number == self._last)
        self._number += 1
        wanted = content[self._skip : self._skip + self._left]
        self._skip = 0
        self._left -= len(wanted)
        return wanted


class _ChunkCipher:
    def __init__(self, key: bytes, header: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead = AESGCM(derive(key, b"pytest-tms file", salt=header[-SALT_SIZE:]))
        self._header = header

    def encrypt(self, content: bytes, number: int, *, is_last: bool) -> bytes:
        return self._aead.encrypt(_nonce(number, is_last), content, self._header)

    def decrypt(self, sealed: bytes, number: int, *, is_last: bool) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(_nonce(number, is_last), sealed, self._header)
        except (InvalidTag, ValueError):
            raise DecryptionError from None


def derive(secret: bytes, purpose: bytes, length: int = 32, salt: bytes | None = None) -> bytes:
    """Return a key for a purpose, derived from a secret by HKDF with SHA-256."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(hashes.SHA256(), length, salt, purpose).derive(secret)


def _nonce(number: int, is_last: bool) -> bytes:
    return bytes(7) + number.to_bytes(4, "big") + bytes([is_last])
