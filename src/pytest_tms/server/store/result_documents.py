"""The documents of results, as they were sent: many in one compressed row, since most are short."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from sqlalchemy import Connection

from pytest_tms.server.encryption.data_cipher import key_of
from pytest_tms.server.store import bulk, sealed

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

MAX_DOCUMENTS = 200
"""Documents of one row."""
MAX_TEXT = 250_000
"""Characters of all documents of one row, unless it has one alone."""
LEVEL = 1
"""Compression level of zstd: the fastest."""
_LIST = msgspec.json.Decoder(list[msgspec.Raw])  # made at import: see calls.decoder


def rows_of(
    connection: Connection, execution: int, first: int, documents: Sequence[str]
) -> tuple[list[tuple[int, int, bytes]], list[int]]:
    """Return the rows for documents of results numbered from ``first`` on, and the number of the row of each.

    Raises:
        ServiceUnavailable: They are to be encrypted, and a key is malformed.
    """
    rows = []
    places: list[int] = []
    cipher = sealed.cipher(connection)
    for start, some in _rows(documents):
        packed = zstd.compress(f"[{','.join(some)}]".encode(), LEVEL)
        if cipher.encrypts:
            packed = cipher.encrypt(packed, place(execution, first + start))
        rows.append((execution, first + start, packed))
        places += [first + start] * len(some)
    return rows, places


def insert(connection: Connection, rows: Sequence[tuple[int, int, bytes]]) -> None:
    """Insert rows that ``rows_of`` returned."""
    bulk.insert(connection, "result_documents", ("execution", "first", "documents"), rows)


def get(connection: Connection, execution: int, places: Mapping[int, int]) -> dict[int, msgspec.Raw]:
    """Return the documents of results, by their numbers; ``places`` has the row of each.

    Raises:
        ServiceUnavailable: They are encrypted with a key that this server does not have.
    """
    statement = "SELECT first, documents FROM result_documents WHERE execution = {} AND first IN {}"
    wanted: dict[int, list[int]] = {}
    for sequence, first in places.items():
        wanted.setdefault(first, []).append(sequence)
    found = {}
    for first, packed in bulk.select(connection, statement, (execution,), wanted):
        if key_of(packed):
            packed = sealed.cipher(connection).decrypt(packed, place(execution, first))
        documents = _LIST.decode(zstd.decompress(packed))
        found.update({sequence: documents[sequence - first] for sequence in wanted[first]})
    return found


def place(execution: int, first: int) -> str:
    """Return the place for which a row is encrypted."""
    return f"result_documents:{execution}:{first}"


def _rows(documents: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield the documents of each row, with the position of the first."""
    start = length = 0
    for position, document in enumerate(documents):
        if position > start and (position - start == MAX_DOCUMENTS or length + len(document) > MAX_TEXT):
            yield start, documents[start:position]
            start, length = position, 0
        length += len(document)
    if documents:
        yield start, documents[start:]
