"""Existing data, encrypted with the newest key or decrypted: some rows at a time, in the order of keys.

``find`` reads only the keys of rows and the ids of the keys of their values, and ``rewrite`` changes the rows
that are found. Rows that are written meanwhile have the newest key already.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, case, func, literal, or_, select, tuple_, update

from pytest_tms.server.domain.stored_files import StoredFile
from pytest_tms.server.encryption.data_cipher import PREFIX_SIZE, DamagedData, key_of
from pytest_tms.server.encryption.encrypted_files import Header
from pytest_tms.server.store import result_documents, sealed, tables
from pytest_tms.server.store.sealed import Sealed

LOG = logging.getLogger("pytest_tms.server")
DOCUMENTS, FILES = "result_documents", "blobs"
TEXTS = {
    kind.table.name: kind
    for kind in (
        sealed.RESULT_DETAILS,
        sealed.FAILURE_CAUSES,
        sealed.SUBMISSIONS,
        sealed.EVENTS,
        sealed.DELIVERIES,
    )
}
KINDS = (DOCUMENTS, *TEXTS, FILES)
"""The names of the kinds of data, which are those of their tables."""

Key = tuple[Any, ...]


class Found(NamedTuple):
    """The rows that are to be rewritten, and the key of the latest row that was read; None at the end."""

    rows: list[Key]
    position: Key | None


def find(connection: Connection, name: str, key_id: str, after: Sequence[Any], limit: int) -> Found:
    """Return which of the next ``limit`` rows of a kind have another key than ``key_id``, empty for none."""
    if name == DOCUMENTS:
        table = tables.result_documents
        key: Sequence[ColumnElement[Any]] = (table.c.execution, table.c.first)
        prefix: ColumnElement[Any] = func.substr(table.c.documents, 1, PREFIX_SIZE)
        has_content: ColumnElement[Any] = literal(1)
    else:
        kind = TEXTS[name]
        table = kind.table
        key = [table.c[each] for each in kind.key]
        prefix = func.substr(table.c.sealed, 1, PREFIX_SIZE)
        has_text = or_(
            table.c.sealed.is_not(None),
            *(func.coalesce(func.substr(table.c[each], 1, 1), "") != "" for each in kind.texts),
        )
        has_content = case((has_text, 1), else_=0)
    query = select(*key, prefix.label("prefix"), has_content.label("has_content")).order_by(*key).limit(limit)
    if after:
        query = query.where(tuple_(*key) > tuple(after) if len(key) > 1 else key[0] > after[0])
    rows = connection.execute(query).all()
    found = [
        tuple(row[: len(key)]) for row in rows if row.has_content and key_of(row.prefix or b"") != key_id
    ]
    return Found(found, tuple(rows[-1][: len(key)]) if len(rows) == limit else None)


def rewrite(connection: Connection, name: str, rows: Sequence[Key]) -> int:
    """Encrypt rows with the newest key, or decrypt them; return how many were changed.

    Values that were damaged stay as they are.

    Raises:
        ServiceUnavailable: The server does not have the key of a value.
    """
    if name == DOCUMENTS:
        return sum(_rewrite_documents(connection, *row) for row in rows)
    return sum(_rewrite_texts(connection, TEXTS[name], row) for row in rows)


def files(connection: Connection, key_id: str, after: str, limit: int) -> tuple[list[StoredFile], str | None]:
    """Return which of the next ``limit`` blobs after a hash have another key, and the latest hash or None."""
    blob = tables.blobs.c
    rows = connection.execute(
        select(blob.sha256, blob.object, blob.size, blob.content_type, blob.encryption)
        .where(blob.sha256 > after)
        .order_by(blob.sha256)
        .limit(limit)
    ).all()
    found = [
        StoredFile(
            sha256=row.sha256,
            name="",
            size=row.size,
            content_type=row.content_type,
            created_at=0,
            object=row.object,
            encryption=row.encryption,
        )
        for row in rows
        if file_key(row.encryption) != key_id
    ]
    return found, rows[-1].sha256 if len(rows) == limit else None


def replace_object(connection: Connection, file: StoredFile, key: str, encryption: bytes | None) -> bool:
    """Assign another object to a blob; return False if it has been replaced or deleted meanwhile."""
    blob = tables.blobs.c
    query = update(tables.blobs).where(blob.sha256 == file.sha256, blob.object == file.object)
    return connection.execute(query.values(object=key, encryption=encryption)).rowcount == 1


def file_key(header: bytes | None) -> str:
    """Return the id of the key of a file, empty if it is not encrypted."""
    return "" if header is None else Header.decode(header).key_id


def share(connection: Connection, name: str, position: Sequence[Any]) -> float:
    """Return which part of a pass is done at a position, between 0 and 1: an estimate."""
    if not position:
        return 0.0
    if name == FILES:
        return int(position[0][:8], 16) / 16**8
    table = tables.result_documents if name == DOCUMENTS else TEXTS[name].table
    column = next(iter(table.primary_key))
    last = connection.scalar(select(func.max(column)))
    if isinstance(last, str):
        return 1.0 if position[0] >= last else 0.5
    return min(1.0, position[0] / last) if last else 1.0


def _rewrite_documents(connection: Connection, execution: int, first: int) -> bool:
    table = tables.result_documents
    is_it = (table.c.execution == execution, table.c.first == first)
    packed = connection.scalar(select(table.c.documents).where(*is_it).with_for_update())
    if packed is None:
        return False
    cipher, place = sealed.cipher(connection), result_documents.place(execution, first)
    try:
        content = cipher.decrypt(packed, place) if key_of(packed) else packed
    except DamagedData as error:
        LOG.warning("%s", error)
        return False
    new = cipher.encrypt(content, place) if cipher.encrypts else content
    connection.execute(update(table).where(*is_it).values(documents=new))
    return True


def _rewrite_texts(connection: Connection, kind: Sealed, key: Key) -> bool:
    table = kind.table
    is_it = [table.c[name] == value for name, value in zip(kind.key, key, strict=True)]
    query = select(*(table.c[name] for name in (*kind.texts, "sealed"))).where(*is_it).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        return False
    place = connection.execute(select(*(table.c[name] for name in kind.place)).where(*is_it)).one()
    try:
        plain = sealed.opened(connection, kind, place, tuple(row[: len(kind.texts)]), row.sealed)
    except DamagedData as error:
        LOG.warning("%s", error)
        return False
    texts, encrypted = sealed.seal(connection, kind, place, plain)
    values: dict[str, Any] = {**dict(zip(kind.texts, texts, strict=True)), "sealed": encrypted}
    if "digest" in table.c:  # of the document
        values["digest"] = None if encrypted is None else sealed.digest(plain[0] or "")
    connection.execute(update(table).where(*is_it).values(**values))
    return True
