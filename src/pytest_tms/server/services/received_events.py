"""Events as runners send them: their names, shards and tests, and what they report of a shard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from pytest_tms import wire
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.executions import Shard
from pytest_tms.server.domain.result_rows import ResultRow, result_rows
from pytest_tms.server.services import shard_reports
from pytest_tms.server.services.shard_assignment import ReportSource
from pytest_tms.server.services.shard_reports import ShardReport

SHARD_EVENTS = ("execution.started", "execution.progress", "shard.started", "shard.completed")
"""Events by which a shard that they name is running, or has ended."""
ASSIGNING_EVENTS = ("execution.progress", "shard.started", "shard.completed")
"""Events after which the shard that they name is assigned to their runner."""
_OF_HEARTBEATS = ("status", "running", "shards", "interval", "runner", "attempt", "shard_id", "tests")
"""Fields of an event that says that its runner is alive."""
_NO_NEWS = {name: None for name in wire.EventData.__struct_fields__ if name not in _OF_HEARTBEATS}
_EVENT_FIELDS = frozenset(wire.Event.__struct_encode_fields__)
_DATA_FIELDS = frozenset(wire.EventData.__struct_encode_fields__)


@dataclass(frozen=True, kw_only=True)
class ReceivedEvent:
    """A received event.

    ``document`` is the JSON text that is stored of it. ``has_time`` says that its sender named the time at
    which it happened. ``now`` is when it was received and ``then`` when it happened, in milliseconds since
    1970.
    """

    name: str
    data: wire.EventData
    rows: list[ResultRow]
    document: str
    has_time: bool
    has_unknown_fields: bool
    now: int
    then: int

    @cached_property
    def runner(self) -> str | None:
        """The process that sent the event; None if it does not name itself."""
        return None if self.data.runner is None else without_nul(self.data.runner)

    @property
    def is_live(self) -> bool:
        """Whether it says that its shards run now."""
        return self.name == "execution.progress" and not self.has_time

    @property
    def is_heartbeat(self) -> bool:
        """Whether it says only that its runner is alive, and which tests it runs: nothing for the log."""
        return (
            self.name == "execution.progress"
            and not self.rows
            and all(getattr(self.data, name) == default for name, default in _NO_NEWS.items())
            and self.data.status in (None, "running")
            and not self.has_unknown_fields
        )

    @cached_property
    def shard_ids(self) -> list[str]:
        """The shards that the event names, its own first."""
        names = (
            without_nul(each) for each in (self.data.shard_id, *(self.data.shards or ())) if each is not None
        )
        return list(dict.fromkeys(names))

    @cached_property
    def in_flight(self) -> dict[str, list[wire.RunningTest]]:
        """The running tests by shard, empty if the event does not list any."""
        return shard_reports.in_flight(
            self.data.running or (), [] if self.data.running is None else self.shard_ids
        )


def read_event(event: wire.Event, document: dict[str, Any]) -> ReceivedEvent:
    """Return an event that is received now; ``document`` is its body, from which the tests are taken."""
    data = event.data or wire.EventData()
    now = clock.now()
    # Tests are stored as rows, so that the log of a long run stays small.
    sent = (document.get("data") or {}).pop("tests", None) or []
    return ReceivedEvent(
        name=event.event,
        data=data,
        rows=result_rows(data.tests or [], [msgspec.json.encode(test).decode() for test in sent]),
        document=msgspec.json.encode(document).decode(),
        has_unknown_fields=not (
            set(document) <= _EVENT_FIELDS and set(document.get("data") or {}) <= _DATA_FIELDS
        ),
        has_time=event.happened_at is not None,
        now=now,
        then=clock.reported_time(event.happened_at, now),
    )


def shard_report(
    received: ReceivedEvent, shard_id: str, starts_new_attempt: Callable[[Shard], bool] = lambda _: False
) -> ShardReport:
    """Return the report of an event about its shard; ``starts_new_attempt`` is that of its source."""
    data = received.data
    return ShardReport(
        source=ReportSource(
            shard_id=without_nul(shard_id),
            runner=received.runner,
            ci_attempt=data.attempt,
            takes_shard=received.name in ASSIGNING_EVENTS or bool(received.rows),
            starts_new_attempt=starts_new_attempt,
            may_reopen_execution=received.name in SHARD_EVENTS,
        ),
        message=data,
        rows=received.rows,
        is_start=received.name in SHARD_EVENTS,
        is_end=received.name == "shard.completed",
        status=data.status,
        duration=None if data.duration is None else round(data.duration),
        reason=data.reason,
        running=received.in_flight.get(without_nul(shard_id)),
    )
