"""The documents of results, as they were sent: many in one compressed row, since most are short."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from sqlalchemy import Connection

from pytest_tms.server.store import bulk

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


def put(connection: Connection, execution: int, first: int, documents: Sequence[str]) -> list[int]:
    """Store documents of results numbered from ``first`` on; return the row of each."""
    rows = []
    places: list[int] = []
    for start, some in _rows(documents):
        rows.append((execution, first + start, zstd.compress(f"[{','.join(some)}]".encode(), LEVEL)))
        places += [first + start] * len(some)
    bulk.insert(connection, "result_documents", ("execution", "first", "documents"), rows)
    return places


def get(connection: Connection, execution: int, places: Mapping[int, int]) -> dict[int, msgspec.Raw]:
    """Return the documents of results, by their numbers; ``places`` has the row of each."""
    statement = "SELECT first, documents FROM result_documents WHERE execution = {} AND first IN {}"
    wanted: dict[int, list[int]] = {}
    for sequence, first in places.items():
        wanted.setdefault(first, []).append(sequence)
    found = {}
    for first, packed in bulk.select(connection, statement, (execution,), wanted):
        documents = _LIST.decode(zstd.decompress(packed))
        found.update({sequence: documents[sequence - first] for sequence in wanted[first]})
    return found


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
