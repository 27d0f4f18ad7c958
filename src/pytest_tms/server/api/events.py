"""The call that reports an event of an execution."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.errors import Problem
from pytest_tms.server.api.authentication import authenticated_caller
from pytest_tms.server.api.dependencies import idempotent_request, request_urls
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import count_problems, decode, time_problems
from pytest_tms.server.domain.metadata_limits import size_problems
from pytest_tms.server.metrics import Metrics
from pytest_tms.server.services import events
from pytest_tms.server.services.live_progress import LiveProgress, ProgressMessage
from pytest_tms.server.services.rate_limits import RateLimits
from pytest_tms.server.services.received_events import ReceivedEvent, read_event
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker

MAX_UNTHREADED = 64 << 10
"""Bytes of the largest body that is decoded without a thread."""


def event_handler(
    database: Database,
    settings: ServerSettings,
    rate_limits: RateLimits,
    live_progress: LiveProgress,
    delivery_worker: DeliveryWorker,
    metrics: Metrics,
) -> HTTPRouteHandler:
    """Return the handler of the call that reports an event.

    It is given what others receive as dependencies: the framework takes as long for those as for the rest of
    this call, of which each shard of each run makes one a second.
    """

    @route(calls.SEND_EVENT)
    async def send_event(request: Request[Any, Any, Any], execution_id: str) -> wire.EventAccepted:
        """Store an event and apply it; repeated and late events do not change what has ended."""
        body = await request.body()
        read = partial(_read, execution_id, body)
        received = read() if len(body) <= MAX_UNTHREADED else await run_sync(read)
        urls = request_urls(request, settings)
        idempotency = idempotent_request(request, body)
        accepted = await live_progress.accept(ProgressMessage(execution_id, received, urls, idempotency))
        if accepted is None:
            accept = partial(
                events.accept_event,
                database,
                settings,
                rate_limits,
                execution_id,
                received,
                urls=urls,
                delivery_worker=delivery_worker,
                idempotency=idempotency,
                caller=authenticated_caller(request),
            )
            accepted = await run_sync(accept)
        metrics.received_results("live", len(received.rows))
        return accepted

    return send_event


def _read(execution_id: str, body: bytes) -> ReceivedEvent:
    event, document = decode(body, wire.Event, partial(_problems, execution_id))
    return read_event(event, document)


def _problems(execution_id: str, document: dict[str, Any]) -> Iterator[Problem]:
    """Yield the problems that a schema cannot find: another execution's id, a missing shard, a bad time."""
    data = document.get("data")
    data = data if isinstance(data, dict) else {}
    named = document.get("executionId")
    if isinstance(named, str) and named and named != execution_id:
        yield Problem("executionId", f"Must be {execution_id[:100]}, as in the URL")
    of_shard = document.get("event") in ("shard.started", "shard.completed")
    if (of_shard or data.get("tests")) and data.get("shardId") is None:
        yield Problem("data.shardId", "Is required")
    for name in ("timestamp", "happenedAt"):
        yield from time_problems(document.get(name), name)
    yield from count_problems(data.get("results"), "data.results")
    yield from size_problems(data.get("metadata"), "data.metadata")
