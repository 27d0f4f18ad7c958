"""Texts of rows that may be encrypted.

If the server encrypts, the texts of a row are encrypted together in its column ``sealed``, and their own
columns are empty. Rows of both kinds may be in a table, and are read alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Table

from pytest_tms.server.encryption.data_cipher import DataCipher
from pytest_tms.server.store import tables

CIPHER = "tms_cipher"
"""Execution option of connections: the ``DataCipher`` of their database."""

Text = str | None
_WITHOUT_KEYS = DataCipher()


class Sealed(NamedTuple):
    """The texts of a table that are encrypted.

    ``key`` are the columns of the primary key in their order, ``place`` those whose values are authenticated,
    ``texts`` the columns that are encrypted, and ``empty`` their values in an encrypted row.
    """

    table: Table
    key: tuple[str, ...]
    place: tuple[str, ...]
    texts: tuple[str, ...]
    empty: tuple[Text, ...]


RESULT_DETAILS = Sealed(
    tables.result_details,
    ("execution", "sequence"),
    ("execution", "sequence"),
    ("error", "details"),
    (None, None),
)
FAILURE_CAUSES = Sealed(
    tables.failure_causes, ("execution", "fingerprint"), ("execution", "fingerprint"), ("message",), ("",)
)
SUBMISSIONS = Sealed(tables.submissions, ("id",), ("id",), ("document", "files"), ("", None))
EVENTS = Sealed(tables.events, ("id",), ("execution_id",), ("document",), ("",))
DELIVERIES = Sealed(tables.deliveries, ("number",), ("id",), ("body",), ("",))


def cipher(connection: Connection) -> DataCipher:
    """Return the cipher of the database of a connection."""
    found: DataCipher = connection.get_execution_options().get(CIPHER, _WITHOUT_KEYS)
    return found


def encrypts(connection: Connection) -> bool:
    """Return whether new data is encrypted."""
    return cipher(connection).encrypts


def seal(
    connection: Connection, kind: Sealed, place: Sequence[Any], texts: Sequence[Text]
) -> tuple[Sequence[Text], bytes | None]:
    """Return the values of the columns of some texts, and of the column ``sealed``.

    ``place`` has the values of the columns ``kind.place``.

    Raises:
        ServiceUnavailable: A key is malformed.
    """
    found = cipher(connection)
    if not found.encrypts or not any(texts):
        return texts, None
    return kind.empty, found.encrypt(msgspec.json.encode(texts), _place(kind, place))


def opened(
    connection: Connection, kind: Sealed, place: Sequence[Any], texts: Sequence[Text], sealed: bytes | None
) -> Sequence[Text]:
    """Return the texts of a row as they were sealed; ``texts`` are the values of their columns.

    Raises:
        ServiceUnavailable: The server does not have the key, or the value was changed.
    """
    if sealed is None:
        return texts
    return _TEXTS.decode(cipher(connection).decrypt(sealed, _place(kind, place)))


def detail(connection: Connection, execution: int, sequence: int, error: Text, sealed: bytes | None) -> Text:
    """Return the error of a result, whose column is ``error``.

    Raises:
        ServiceUnavailable: The server does not have the key, or the value was changed.
    """
    return opened(connection, RESULT_DETAILS, (execution, sequence), (error,), sealed)[0]


def digest(document: str) -> int:
    """Return 64 bits that identify a document."""
    return int.from_bytes(blake2b(document.encode(), digest_size=8).digest(), "big", signed=True)


_TEXTS = msgspec.json.Decoder(list[Text])  # made at import: see calls.decoder


def _place(kind: Sealed, values: Sequence[Any]) -> str:
    return ":".join((kind.table.name, *map(str, values)))
