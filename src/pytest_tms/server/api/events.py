"""The call that reports an event of an execution."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from anyio.to_thread import run_sync

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.errors import Problem
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import count_problems, decode, time_problems
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.metadata_limits import size_problems
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.metrics import Metrics
from pytest_tms.server.services import events
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.services.live_progress import LiveProgress, ProgressMessage
from pytest_tms.server.services.rate_limits import RateLimits
from pytest_tms.server.services.received_events import ReceivedEvent, read_event
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker

MAX_UNTHREADED = 64 << 10
"""Bytes of the largest body that is decoded without a thread."""


@route(calls.SEND_EVENT)
async def send_event(
    body: bytes,
    database: Database,
    settings: ServerSettings,
    urls: Urls,
    delivery_worker: DeliveryWorker,
    idempotency: IdempotentRequest,
    rate_limits: RateLimits,
    live_progress: LiveProgress,
    caller: Caller,
    metrics: Metrics,
    execution_id: str,
) -> wire.EventAccepted:
    """Store an event and apply it; repeated and late events do not change an ended execution or shard."""
    read = partial(_read, execution_id, body)
    received = read() if len(body) <= MAX_UNTHREADED else await run_sync(read)
    accepted = await live_progress.accept(ProgressMessage(execution_id, received, urls, idempotency))
    if accepted is None:
        accepted = await run_sync(
            partial(
                events.accept_event,
                database,
                settings,
                rate_limits,
                execution_id,
                received,
                urls=urls,
                delivery_worker=delivery_worker,
                idempotency=idempotency,
                caller=caller,
            )
        )
    metrics.received_results("live", len(received.rows))
    return accepted


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
