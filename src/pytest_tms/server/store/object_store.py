"""The contents of files: objects in a folder, S3, Google Cloud Storage or Azure."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from pytest_tms.errors import NotFound, QuotaExceeded, ServiceUnavailable
from pytest_tms.server.domain.stored_files import StoredFile
from pytest_tms.server.encryption.data_cipher import DamagedData, DataCipher
from pytest_tms.server.encryption.encrypted_files import (
    DecryptionError,
    FileEncryption,
    PartDecryption,
    part,
)
from pytest_tms.server.store.object_store_errors import reason_of

CHUNK = 1 << 20
"""Bytes of one part of a file that is read."""
PART = 5 << 20
"""Bytes of one part of a file that is written; S3 accepts no smaller ones."""
CONCURRENT_PARTS = 2
"""Parts of one file that are written at a time, which is memory."""


class ObjectStore:
    """Objects at ``url``; without one, in the folder ``artifacts`` of the data dir. Threads may share it.

    Credentials come from the variables that the tools of the provider read, such as ``AWS_ACCESS_KEY_ID``.
    """

    def __init__(self, url: str, data_dir: Path, cipher: DataCipher | None = None) -> None:
        """Open the store; ``cipher`` encrypts and decrypts the objects.

        Raises:
            ValueError: The URL cannot be used. The message is one sentence.
        """
        self._cipher = cipher or DataCipher()
        self._temporary = data_dir / "uploads"
        self._temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = data_dir / "artifacts"
        try:
            if url:
                self._store = from_url(url)
            else:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._store = LocalStore(folder, automatic_cleanup=True)
        except (BaseError, ValueError) as error:
            raise ValueError(
                f"the object store for artifacts cannot be opened ({reason_of(error)}): write its URL as "
                "s3://bucket/folder, gs://bucket/folder or az://container/folder"
            ) from None

    @contextlib.contextmanager
    def temporary_file(self) -> Iterator[IO[bytes]]:
        """Return a file in the data dir for a body that arrives; it is deleted at the end."""
        with tempfile.NamedTemporaryFile(dir=self._temporary, prefix="upload-") as file:
            yield file

    def check(self) -> None:
        """Check that a file can be written to the data dir, and that the store responds.

        Raises:
            OSError: The disk is full, or the data dir cannot be written to.
            QuotaExceeded: The disk of the store is full.
            ServiceUnavailable: The store does not respond.
        """
        with self.temporary_file() as file:
            file.write(b"\0" * 4096)
            file.flush()
        try:
            next(iter(obstore.list(self._store, chunk_size=1)), None)
        except (BaseError, OSError) as error:
            raise _failure(error) from error

    def encryption(self) -> FileEncryption | None:
        """Return the encryption of a new file; None if files are not encrypted.

        Raises:
            ServiceUnavailable: A key is malformed.
        """
        return self._cipher.file_encryption() if self._cipher.encrypts else None

    def put(self, key: str, path: Path) -> None:
        """Store a file as an object, as it is.

        Raises:
            QuotaExceeded: The disk is full.
            ServiceUnavailable: The store does not accept it.
        """
        try:
            obstore.put(self._store, key, path, chunk_size=PART, max_concurrency=CONCURRENT_PARTS)
        except (BaseError, OSError) as error:
            raise _failure(error) from error

    def delete(self, key: str) -> None:
        """Delete an object, if it exists.

        Raises:
            ServiceUnavailable: The store does not respond.
        """
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            pass
        except (BaseError, OSError) as error:
            raise _failure(error) from error

    def rewrite(self, file: StoredFile, key: str) -> bytes | None:
        """Store the content of a file as another object, encrypted with the newest key or not at all.

        Return the header of the object, None if it is not encrypted.

        Raises:
            FileNotFoundError: The file does not exist.
            QuotaExceeded: The disk is full.
            ServiceUnavailable: The store does not respond, or the file cannot be decrypted.
        """
        decryption = self._decryption(file, 0, file.size)
        # After the decryption, which looks for keys that were added: a newer key is never replaced.
        encryption = self.encryption()
        try:
            with self.temporary_file() as copy:  # an iterator that reads one object cannot write another
                copy.writelines(_content(encryption, self._read_parts(file, decryption)))
                copy.flush()
                self.put(key, Path(copy.name))
        except FileNotFoundError:
            raise
        except (BaseError, OSError) as error:
            raise _failure(error) from error
        return None if encryption is None else encryption.header

    async def read(self, file: StoredFile, start: int, end: int) -> AsyncIterator[bytes]:
        """Return the bytes of a file from ``start`` to before ``end``, in chunks. The first one is read here.

        Raises:
            NotFound: The object does not exist.
            ServiceUnavailable: The store does not respond, or the object cannot be decrypted. The iterator
                raises it for later chunks.
        """
        chunks = self._chunks(file, start, end)
        try:
            return _with_first(await anext(chunks, b""), chunks)
        except FileNotFoundError:
            raise NotFound(
                f"The content of the file {file.sha256} is no longer stored: either its execution was just "
                f"deleted, or the object is missing from the store."
            ) from None

    async def _chunks(self, file: StoredFile, start: int, end: int) -> AsyncIterator[bytes]:
        if start == end:
            return
        decryption = self._decryption(file, start, end)
        try:
            wanted = decryption.wanted if decryption else (start, end)
            found = await obstore.get_async(self._store, file.object, options={"range": wanted})
            async for chunk in found.stream(min_chunk_size=CHUNK):
                if decryption is None:
                    yield bytes(chunk)
                else:
                    for content in decryption.parts.update(bytes(chunk)):
                        yield content
            if decryption is not None and (rest := decryption.parts.finish()):
                yield rest
        except FileNotFoundError:
            raise
        except DecryptionError:
            raise _undecryptable(file) from None
        except (BaseError, OSError) as error:
            raise _failure(error) from error

    def _read_parts(self, file: StoredFile, decryption: _Decryption | None) -> Iterator[bytes]:
        """Yield the content of a file."""
        if not file.size:
            return
        wanted = decryption.wanted if decryption else (0, file.size)
        try:
            for chunk in obstore.get(self._store, file.object, options={"range": wanted}).stream(CHUNK):
                if decryption is None:
                    yield bytes(chunk)
                else:
                    yield from decryption.parts.update(bytes(chunk))
            if decryption is not None:
                yield decryption.parts.finish()
        except DecryptionError:
            raise _undecryptable(file) from None

    def _decryption(self, file: StoredFile, start: int, end: int) -> _Decryption | None:
        if file.encryption is None:
            return None
        found = part(start, end, file.size)
        parts = PartDecryption(self._cipher.file_decryption(file.encryption), found)
        return _Decryption((found.start, found.end), parts)

    def delete_abandoned(self, before: float) -> None:
        """Delete temporary files that were last written before a time, in seconds since 1970."""
        for path in self._temporary.glob("upload-*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()


class _Decryption(NamedTuple):
    """The decryption of a range of a file, and the bytes of its object that it needs."""

    wanted: tuple[int, int]
    parts: PartDecryption


async def _with_first(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in chunks:
        yield chunk


def _content(encryption: FileEncryption | None, parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the content of an object."""
    if encryption is None:
        yield from parts
        return
    yield encryption.header
    for each in parts:
        yield from encryption.update(each)
    yield encryption.finish()


def disk_is_full() -> QuotaExceeded:
    """Return the error for a full disk."""
    return QuotaExceeded("The disk of the server is full: ask its operator to delete executions.")


def _undecryptable(file: StoredFile) -> DamagedData:
    return DamagedData(
        f"The stored file {file.sha256} cannot be decrypted, since it was changed: restore it from a backup."
    )


def _failure(error: Exception) -> QuotaExceeded | ServiceUnavailable:
    if "No space left" in str(error) or "Disk quota exceeded" in str(error):
        return disk_is_full()
    return ServiceUnavailable(
        f"The store for artifacts does not respond as expected ({reason_of(error)}); try again later.",
        retry_after=30,
    )
