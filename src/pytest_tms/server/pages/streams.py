"""Streams of server-sent events, by which open pages are notified that what they show has changed."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from typing import Any

from anyio.to_thread import run_sync
from litestar import Request, Response, get
from litestar.response import ServerSentEvent, ServerSentEventMessage

from pytest_tms.errors import NotFound, ServiceUnavailable
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.request_context import request_context
from pytest_tms.server.services.change_feed import ChangeFeed
from pytest_tms.server.store import versions
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.versions import Subject

MAX_STREAMS = 400
"""Streams of one process: half of the connections that it accepts. Other pages poll."""
RETRY_AFTER = 30
"""Seconds after which a page that was refused may try again."""
HEARTBEAT = 15.0
"""Seconds without a change after which a heartbeat is sent, before proxies assume that nothing will be."""
LIFETIME = 300.0
"""Seconds after which a stream ends. The browser opens the next one, and is authenticated again."""
RECONNECT = 1000
"""Milliseconds after which a browser opens the next stream."""
_VERSION = re.compile(r"[0-9a-f]{1,40}")


@get("/runs/{execution_id:str}/stream")
async def execution_stream(
    database: Database, change_feed: ChangeFeed, request: Request[Any, Any, Any], execution_id: str
) -> Response[Any]:
    """Return the stream of an execution, which has an event for each change of its pages.

    Raises:
        NotFound: The execution does not exist.
        ServiceUnavailable: There are too many streams.
    """
    return await _stream(database, change_feed, request, Subject(execution_id))


@get("/stream")
async def list_stream(
    database: Database,
    change_feed: ChangeFeed,
    request: Request[Any, Any, Any],
    page_session: PageSession,
) -> Response[Any]:
    """Return the stream of the list of executions that the user may see.

    Raises:
        ServiceUnavailable: There are too many streams.
    """
    return await _stream(database, change_feed, request, Subject(None, page_session.environments))


async def _stream(
    database: Database, feed: ChangeFeed, request: Request[Any, Any, Any], subject: Subject
) -> Response[Any]:
    current = await run_sync(_version, database, subject)
    if not current:
        raise NotFound(f"There is no execution {(subject.execution_id or '')[:100]}.")
    if len(feed) >= MAX_STREAMS:
        raise ServiceUnavailable("Too many pages are open; try again later.", retry_after=RETRY_AFTER)
    version = request.headers.get("last-event-id") or request.query_params.get("version") or ""
    version = version if _VERSION.fullmatch(version) else current
    if request_context(request.scope).is_head:
        return Response(None, media_type="text/event-stream")
    return ServerSentEvent(_messages(database, feed, subject, version))


def _version(database: Database, subject: Subject) -> str:
    with database.read() as connection:
        return versions.read(connection, [subject])[subject]


async def _messages(
    database: Database, feed: ChangeFeed, subject: Subject, version: str
) -> AsyncIterator[ServerSentEventMessage]:
    """Yield the events of a stream to a page that has ``version``."""
    ends_at = time.monotonic() + LIFETIME
    with feed.subscription(subject, version) as subscription:
        # Read after the subscription, so that no change is missed.
        subscription.publish(await run_sync(_version, database, subject))
        yield _message("opened", version, retry=RECONNECT)
        while subscription.version and time.monotonic() < ends_at:  # until it is deleted
            is_changed = await subscription.changed(HEARTBEAT)
            # The heartbeat is an event and not a comment: a script notices if a proxy withholds events.
            yield _message("changed" if is_changed else "heartbeat", subscription.version)


def _message(event: str, version: str, retry: int | None = None) -> ServerSentEventMessage:
    return ServerSentEventMessage(event=event, id=version, data=version, retry=retry, sep="\n")
