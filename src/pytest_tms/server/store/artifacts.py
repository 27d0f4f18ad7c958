"""Files of executions, the blobs with their contents, and the bytes that they take.

A blob is stored once, whichever executions have it. Each upload writes an object of its own, and
``stray_objects`` lists it until it belongs to a blob. So neither a crash nor a simultaneous upload or
deletion of the same content leaves an object that nothing names, or a blob without one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, exists, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pytest_tms.server.domain.stored_files import StoredFile
from pytest_tms.server.store import tables

MAX_SEARCHED = 2_000
"""Files that one page of a search reads."""

_FILE = tuple(tables.artifacts.c[name] for name in ("sha256", "name", "size", "content_type", "created_at"))


def find(connection: Connection, execution_id: str, sha256: str) -> StoredFile | None:
    """Return a file of an execution with the key of its object; None if it was not uploaded."""
    table, blobs = tables.artifacts.c, tables.blobs.c
    row = connection.execute(
        select(*_FILE, blobs.object, blobs.encryption)
        .join_from(tables.artifacts, tables.blobs, blobs.sha256 == table.sha256)
        .where(table.execution_id == execution_id, table.sha256 == sha256)
    ).first()
    return None if row is None else StoredFile(**row._mapping)


def page(connection: Connection, execution_id: str, *, after: str, limit: int) -> list[StoredFile]:
    """Return files of an execution in the order of their hashes, after one of them."""
    table = tables.artifacts.c
    rows = connection.execute(
        select(*_FILE)
        .where(table.execution_id == execution_id, table.sha256 > after)
        .order_by(table.sha256)
        .limit(limit)
    )
    return [StoredFile(**row._mapping) for row in rows]


def search(
    connection: Connection, execution_id: str, *, text: str, kind: str, after: str, limit: int
) -> tuple[list[StoredFile], str | None]:
    """Return files of an execution in the order of their hashes, and the cursor of the next page or None.

    ``text`` is a part of the name without regard to case; ``kind`` is image, video, text or other; both may
    be empty. A page reads at most ``MAX_SEARCHED`` files: if few match, it has fewer than ``limit`` and yet
    a cursor.
    """
    if not text and not kind:
        found = page(connection, execution_id, after=after, limit=limit + 1)
        return found[:limit], found[limit - 1].sha256 if len(found) > limit else None
    rows = page(connection, execution_id, after=after, limit=MAX_SEARCHED + 1)
    matching = [
        file
        for file in rows[:MAX_SEARCHED]
        if text.lower() in file.name.lower() and kind in ("", _kind(file.content_type))
    ]
    if len(matching) > limit:
        return matching[:limit], matching[limit - 1].sha256
    return matching, rows[MAX_SEARCHED - 1].sha256 if len(rows) > MAX_SEARCHED else None


def _kind(content_type: str) -> str:
    first = content_type.partition("/")[0]
    return first if first in ("image", "video", "text") else "other"


def uploaded(connection: Connection, execution_id: str, hashes: Collection[str]) -> dict[str, StoredFile]:
    """Return which of some files an execution has, by their hashes."""
    table = tables.artifacts.c
    found: dict[str, StoredFile] = {}
    every = sorted(set(hashes))
    for first in range(0, len(every), 1000):
        rows = connection.execute(
            select(*_FILE).where(
                table.execution_id == execution_id, table.sha256.in_(every[first : first + 1000])
            )
        )
        found |= {row.sha256: StoredFile(**row._mapping) for row in rows}
    return found


def usage(connection: Connection, execution_id: str) -> tuple[int, int]:
    """Return the bytes of the files of an execution, and of all blobs."""
    table = tables.artifact_usage.c
    own = connection.scalar(select(table.bytes).where(table.execution_id == execution_id))
    return own or 0, connection.scalar(select(tables.blob_usage.c.bytes)) or 0


def delete_older(connection: Connection, before: int, limit: int) -> int:
    """Delete the oldest files of executions, those before a time, and return how many; blobs stay.

    ``ArtifactJob`` deletes the blobs that no execution has any more.
    """
    table = tables.artifacts.c
    query = select(table.execution_id, table.sha256, table.size).where(table.created_at < before)
    rows = connection.execute(query.order_by(table.created_at).limit(limit)).all()
    for execution_id in sorted({row.execution_id for row in rows}):
        own = [row for row in rows if row.execution_id == execution_id]
        connection.execute(
            delete(tables.artifacts).where(
                table.execution_id == execution_id, table.sha256.in_([row.sha256 for row in own])
            )
        )
        connection.execute(
            update(tables.artifact_usage)
            .where(tables.artifact_usage.c.execution_id == execution_id)
            .values(bytes=tables.artifact_usage.c.bytes - sum(row.size for row in own))
        )
    return len(rows)


def lock_blob(connection: Connection, sha256: str) -> tuple[str, str] | None:
    """Return the object and the content type of a blob, which stays until the transaction ends; else None."""
    blobs = tables.blobs.c
    row = connection.execute(
        select(blobs.object, blobs.content_type).where(blobs.sha256 == sha256).with_for_update()
    ).first()
    return None if row is None else (row.object, row.content_type)


def add_blob(connection: Connection, file: StoredFile, quota: int) -> bool:
    """Add a blob and its bytes, and return False if there is no room for it."""
    table = tables.blob_usage
    room = connection.execute(
        update(table).where(table.c.bytes + file.size <= quota).values(bytes=table.c.bytes + file.size)
    )
    if not room.rowcount:
        return False
    connection.execute(
        insert(tables.blobs).values(
            sha256=file.sha256,
            object=file.object,
            size=file.size,
            content_type=file.content_type,
            encryption=file.encryption,
        )
    )
    return True


def add(connection: Connection, execution_id: str, file: StoredFile, quota: int) -> bool:
    """Add a file to an execution that does not have it, and return False if there is no room for it."""
    table = tables.artifact_usage
    upsert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(upsert(table).values(execution_id=execution_id, bytes=0).on_conflict_do_nothing())
    room = connection.execute(
        update(table)
        .where(table.c.execution_id == execution_id, table.c.bytes + file.size <= quota)
        .values(bytes=table.c.bytes + file.size)
    )
    if not room.rowcount:
        return False
    connection.execute(
        insert(tables.artifacts).values(
            execution_id=execution_id,
            sha256=file.sha256,
            name=file.name,
            size=file.size,
            content_type=file.content_type,
            created_at=file.created_at,
        )
    )
    return True


def lock_usage(connection: Connection) -> None:
    """Wait until no other transaction adds or removes a blob."""
    connection.execute(select(tables.blob_usage.c.bytes).with_for_update())


def note_stray(connection: Connection, objects: Sequence[str], delete_at: int) -> None:
    """List objects that are deleted at a time unless they belong to a blob by then."""
    if objects:
        connection.execute(
            insert(tables.stray_objects), [{"object": each, "delete_at": delete_at} for each in objects]
        )


def forget_stray(connection: Connection, objects: Collection[str]) -> bool:
    """Remove objects from the list, and return whether any was in it."""
    table = tables.stray_objects
    return connection.execute(delete(table).where(table.c.object.in_(objects))).rowcount > 0


def stray(connection: Connection, now: int, limit: int) -> list[str]:
    """Return objects that are to be deleted by now."""
    table = tables.stray_objects.c
    query = select(table.object).where(table.delete_at <= now).order_by(table.delete_at).limit(limit)
    return list(connection.scalars(query))


def unreferenced(connection: Connection, after: str, limit: int) -> tuple[list[str], str | None]:
    """Return the hashes of blobs that no execution has, of ``limit`` blobs after a hash.

    The second value is the hash after which to continue; None at the end.
    """
    blobs, files = tables.blobs.c, tables.artifacts.c
    is_used = exists().where(files.sha256 == blobs.sha256)
    rows = connection.execute(
        select(blobs.sha256, is_used.label("is_used"))
        .where(blobs.sha256 > after)
        .order_by(blobs.sha256)
        .limit(limit)
    ).all()
    following = rows[-1].sha256 if len(rows) == limit else None
    return [row.sha256 for row in rows if not row.is_used], following


def remove_unreferenced(connection: Connection, hashes: Collection[str]) -> list[str]:
    """Remove those of some blobs that no execution has, and return their objects."""
    blobs, files = tables.blobs.c, tables.artifacts.c
    locked = connection.scalars(select(blobs.sha256).where(blobs.sha256.in_(hashes)).with_for_update()).all()
    used = set(connection.scalars(select(files.sha256).where(files.sha256.in_(locked)).distinct()))
    rows = connection.execute(
        delete(tables.blobs)
        .where(blobs.sha256.in_([each for each in locked if each not in used]))
        .returning(blobs.object, blobs.size)
    ).all()
    table = tables.blob_usage
    size = func.coalesce(table.c.bytes - sum(row.size for row in rows), 0)
    if rows:
        connection.execute(update(table).values(bytes=size))
    return [row.object for row in rows]
