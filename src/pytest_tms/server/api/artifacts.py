"""The calls about files of executions: upload, and whether a file is stored."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO, Any

from anyio.to_thread import run_sync
from litestar import Request, Response
from litestar.response import Stream

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.content_types import HEAD, content_type
from pytest_tms.errors import Problem, TooLarge
from pytest_tms.server.api.routes import route
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.problems import refuse
from pytest_tms.server.domain.stored_files import MAX_NAME, SHA256, StorageLimits, StoredFile
from pytest_tms.server.encryption.encrypted_files import FileEncryption
from pytest_tms.server.services import artifacts
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore, disk_is_full

BUFFER = 1 << 20
"""Bytes of a body that are hashed and written at a time."""


@route(calls.GET_ARTIFACT)
def get_artifact(database: Database, execution_id: str, sha256: str) -> wire.StoredArtifact:
    """Return what is stored of a file."""
    return artifacts.response(artifacts.get_artifact(database, execution_id, sha256))


@route(calls.READ_ARTIFACT)
async def read_artifact(
    database: Database, objects: ObjectStore, execution_id: str, sha256: str, limit: str | None = None
) -> Stream:
    """Return the content of a file, or the beginning of it."""
    if limit is not None and not (limit.isdecimal() and len(limit) < 16 and int(limit) > 0):
        refuse([Problem("limit", "Must be a number of bytes, at least 1")])
    found = await run_sync(artifacts.get_artifact, database, execution_id, sha256)
    end = found.size if limit is None else min(found.size, int(limit))
    return Stream(
        await objects.read(found, 0, end),
        media_type="application/octet-stream",
        headers={"Content-Length": str(end), "Content-Disposition": "attachment"},
    )


@route(calls.UPLOAD_ARTIFACT)
async def upload_artifact(
    request: Request[Any, Any, Any],
    database: Database,
    settings: ServerSettings,
    objects: ObjectStore,
    caller: Caller,
    execution_id: str,
    sha256: str,
) -> Response[wire.StoredArtifact]:
    """Store a file: 201 if it is new in the execution, else 200. The body is never in memory as a whole."""
    if not SHA256.fullmatch(sha256):
        refuse([Problem("sha256", "Must be the SHA-256 of the file: 64 hexadecimal digits in lower case")])
    limits = settings.storage_limits
    declared = request.headers.get("Content-Length", "")
    size = int(declared) if declared.isdecimal() and len(declared) < 19 else 0
    await run_sync(artifacts.check_room, database, limits, caller, execution_id, size)
    try:
        with objects.temporary_file() as file:
            received = await _receive(request, file, limits, objects.encryption())
            if received.sha256 != sha256:
                refuse(
                    [Problem("sha256", f"The body has the SHA-256 {received.sha256}: send the file again")]
                )
            name = request.query_params.get("name", "").replace("\0", "")[:MAX_NAME]
            stored, is_new = await run_sync(
                artifacts.store_artifact,
                database,
                objects,
                limits,
                execution_id,
                received._replace(name=name),
                Path(file.name),
            )
    except OSError as error:  # of the temporary file
        raise disk_is_full() from error
    return Response(artifacts.response(stored), status_code=201 if is_new else 200)


async def _receive(
    request: Request[Any, Any, Any],
    file: IO[bytes],
    limits: StorageLimits,
    encryption: FileEncryption | None,
) -> StoredFile:
    """Write the body to a file, encrypted or not, and hash it.

    Raises:
        TooLarge: It is larger than the limit.
        BadRequest: It is shorter than declared.
    """
    digest = hashlib.sha256()
    buffer = bytearray()
    head = b""
    size = 0

    def flush() -> None:
        digest.update(buffer)
        if encryption is None:
            file.write(buffer)
        else:
            file.writelines(encryption.update(buffer))
        buffer.clear()

    if encryption is not None:
        file.write(encryption.header)
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.file:
            raise TooLarge(f"The file is larger than {limits.file >> 20:,} MB, the limit of this server.")
        if len(head) < HEAD:
            head += chunk[: HEAD - len(head)]
        buffer += chunk
        if len(buffer) >= BUFFER:
            await run_sync(flush)
    flush()
    if encryption is not None:
        file.write(encryption.finish())
    file.flush()
    return StoredFile(
        digest.hexdigest(),
        "",
        size,
        content_type(head),
        clock.now(),
        encryption=None if encryption is None else encryption.header,
    )
