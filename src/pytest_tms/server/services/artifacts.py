"""Files of executions: upload, read, and deletion of contents that no execution has."""

from __future__ import annotations

import contextlib
from pathlib import Path

from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.errors import NotFound, QuotaExceeded, ServiceUnavailable, TooLarge
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.domain.stored_files import SHA256, StorageLimits, StoredFile
from pytest_tms.server.store import artifacts, executions, versions
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore

WRITE_TIMEOUT = 24 * 3_600_000
"""Milliseconds after which an object that is still being written was abandoned."""
READ_TIMEOUT = 3_600_000
"""Milliseconds for which an object is kept that may still be read."""
BATCH = 500
"""Rows of one transaction that deletes."""


def get_artifact(database: Database, execution_id: str, sha256: str) -> StoredFile:
    """Return a file of an execution.

    Raises:
        NotFound: The execution does not exist or does not have the file.
    """
    with database.read() as connection:
        found = artifacts.find(connection, execution_id, sha256) if SHA256.fullmatch(sha256) else None
        if found is None:
            executions.get(connection, execution_id)
            raise NotFound(f"The execution has no file {sha256[:64]}.")
    return found


def check_room(
    database: Database, limits: StorageLimits, caller: Caller, execution_id: str, size: int
) -> None:
    """Check whether a file may be uploaded, before its content is read.

    Raises:
        NotFound: The execution does not exist.
        Forbidden: The caller has no access to its environment.
        TooLarge: The file is too large.
        QuotaExceeded: There is no room for it.
    """
    if size > limits.file:
        raise TooLarge(f"The file is larger than {_megabytes(limits.file)}, the limit of this server.")
    with database.read() as connection:
        caller.require_access([executions.get(connection, execution_id).environment])
        of_execution, total = artifacts.usage(connection, execution_id)
    if of_execution + size > limits.execution:
        raise _execution_full(limits)
    if total + size > limits.total:
        raise _server_full(limits)


def store_artifact(
    database: Database,
    objects: ObjectStore,
    limits: StorageLimits,
    execution_id: str,
    file: StoredFile,
    path: Path,
) -> tuple[StoredFile, bool]:
    """Store a received file, and return it and whether it is new in its execution.

    A content that the server has already is not stored again.

    Raises:
        NotFound: The execution was deleted.
        QuotaExceeded: There is no room for it.
        ServiceUnavailable: The store does not accept it.
    """
    with database.write() as connection:
        blob = artifacts.lock_blob(connection, file.sha256)
        if blob is not None:
            return _add(connection, limits, execution_id, file)
        key = new_id("obj")
        file = file._replace(object=f"{file.sha256[:2]}/{file.sha256}-{key}")
        artifacts.note_stray(connection, [file.object], clock.now() + WRITE_TIMEOUT)
    try:
        objects.put(file.object, path)
        with database.write() as connection:
            is_first = _add_blob(connection, limits, file)
            stored = _add(connection, limits, execution_id, file)
    except BaseException:
        _discard(database, objects, file.object)
        raise
    if not is_first:
        _discard(database, objects, file.object)
    return stored


def response(file: StoredFile) -> wire.StoredArtifact:
    """Return what the API shows of a file."""
    return wire.StoredArtifact(
        sha256=file.sha256,
        size=file.size,
        content_type=file.content_type,
        uploaded_at=clock.timestamp(file.created_at),
    )


def delete_unreferenced(database: Database, after: str) -> str | None:
    """Remove those of the next blobs that no execution has; their objects become stray.

    Return the hash after which to continue; None at the end.
    """
    with database.read() as connection:
        found, following = artifacts.unreferenced(connection, after, BATCH)
    if found:
        with database.write() as connection:
            artifacts.lock_usage(connection)
            removed = artifacts.remove_unreferenced(connection, found)
            artifacts.note_stray(connection, removed, clock.now() + READ_TIMEOUT)
    return following


def delete_stray(database: Database, objects: ObjectStore) -> bool:
    """Delete a batch of stray objects, and return whether there may be more."""
    with database.read() as connection:
        found = artifacts.stray(connection, clock.now(), BATCH)
    for each in found:
        objects.delete(each)
    if found:
        with database.write() as connection:
            artifacts.forget_stray(connection, found)
    return len(found) == BATCH


def _add_blob(connection: Connection, limits: StorageLimits, file: StoredFile) -> bool:
    """Make the object of a file a blob; return False if another upload of the same content was faster."""
    artifacts.lock_usage(connection)
    if artifacts.lock_blob(connection, file.sha256):
        return False
    if not artifacts.add_blob(connection, file, limits.total):
        raise _server_full(limits)
    artifacts.forget_stray(connection, [file.object])
    return True


def _add(
    connection: Connection, limits: StorageLimits, execution_id: str, file: StoredFile
) -> tuple[StoredFile, bool]:
    """Add a file to an execution, unless it has it."""
    executions.get(connection, execution_id)
    known = artifacts.find(connection, execution_id, file.sha256)
    if known is not None:
        return known, False
    if not artifacts.add(connection, execution_id, file, limits.execution):
        raise _execution_full(limits)
    versions.increase(connection, execution_id)
    return file, True


def _discard(database: Database, objects: ObjectStore, key: str) -> None:
    """Delete an object that no blob has; if that fails, the job does."""
    with contextlib.suppress(ServiceUnavailable):
        objects.delete(key)
        with database.write() as connection:
            artifacts.forget_stray(connection, [key])


def _execution_full(limits: StorageLimits) -> QuotaExceeded:
    return QuotaExceeded(f"The files of the execution may take {_megabytes(limits.execution)} together.")


def _server_full(limits: StorageLimits) -> QuotaExceeded:
    return QuotaExceeded(
        f"The files of all executions may take {_megabytes(limits.total)} together: "
        "ask the operator to delete executions or to raise the limit."
    )


def _megabytes(size: int) -> str:
    return f"{size >> 20:,} MB"
