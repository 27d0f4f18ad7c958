"""Files of executions, as browsers read them: whole, in ranges, or not again if they have not changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from anyio.to_thread import run_sync
from litestar import Request, Response, get
from litestar.response import Stream

from pytest_tms.server.domain.stored_files import CONTENT_SECURITY_POLICY, disposition, requested_range
from pytest_tms.server.request_context import request_context
from pytest_tms.server.services.artifacts import get_artifact
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore


@get("/files/{execution_id:str}/{sha256:str}/{name:path}")
async def file(
    request: Request[Any, Any, Any],
    database: Database,
    objects: ObjectStore,
    execution_id: str,
    sha256: str,
    name: str,
) -> Response[Any]:
    """Return a file. ``name`` is only the one under which a browser saves it."""
    found = await run_sync(get_artifact, database, execution_id, sha256)
    etag = f'"{sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        # Stored by the browser only, and used only after the server has checked the access again.
        "Cache-Control": "private, no-cache, no-transform",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Content-Disposition": disposition(found.content_type, name),
    }
    known = [each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")]
    if etag in known or "*" in known:
        return Response(None, status_code=304, headers=headers)
    start, end, status = 0, found.size, 200
    if request.headers.get("If-Range", etag) == etag:
        try:
            part = requested_range(request.headers.get("Range", ""), found.size)
        except ValueError:
            headers["Content-Range"] = f"bytes */{found.size}"
            return Response(None, status_code=416, headers=headers)
        if part is not None:
            (start, end), status = part, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
    headers["Content-Length"] = str(end - start)
    chunks = _nothing() if request_context(request.scope).is_head else await objects.read(found, start, end)
    media_type = found.content_type.partition(";")[0]  # the framework adds the charset
    return Stream(chunks, status_code=status, headers=headers, media_type=media_type)


def file_url(execution_id: str, sha256: str, name: str) -> str:
    """Return the path of a file, under the last part of its name."""
    last = name.replace("\\", "/").rpartition("/")[2]
    file_name = last if last.strip(".") else "file"
    return f"/files/{quote(execution_id, safe='')}/{sha256}/{quote(file_name, safe='')}"


async def _nothing() -> AsyncIterator[bytes]:
    """Yield no chunk: the body of the response to HEAD."""
    return
    yield b""
