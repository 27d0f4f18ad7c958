"""Live progress: messages of many runners that report at the same time are stored in one transaction.

Most messages of a run say that a shard began, or still runs, with the results since the last message. Those
are ``ordinary``. Each other message, and each that repeats a stored one, is left to ``events.accept_event``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from pytest_tms import wire
from pytest_tms.errors import ApiError
from pytest_tms.server.batcher import Batcher
from pytest_tms.server.domain import states
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import idempotency, shard_reports
from pytest_tms.server.services.execution_changes import ExecutionChange, ShardChange, save_executions
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.services.rate_limits import RateLimits
from pytest_tms.server.services.received_events import ReceivedEvent, shard_report
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import executions, results, runners
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.results import Change, ReceivedResults
from pytest_tms.server.store.runners import Assignment, StoredAssignment

LOG = logging.getLogger("pytest_tms.server")
MAX_MESSAGES = 100
"""Messages that one transaction stores."""


class ProgressMessage(NamedTuple):
    """An event of an execution; ``urls`` and ``idempotency`` are of its request."""

    execution_id: str
    received: ReceivedEvent
    urls: Urls
    idempotency: IdempotentRequest


class _Busy:
    """The answer to a message whose execution another transaction has locked, or that does not exist."""


_BUSY: Final = _Busy()
_Answer = wire.EventAccepted | _Busy | None


class LiveProgress:
    """Stores the ordinary messages that arrive at one server process.

    ``wake`` is called after deliveries to webhooks were written.
    """

    def __init__(
        self,
        database: Database,
        settings: ServerSettings,
        rate_limits: RateLimits,
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._wake = wake
        self._silence = settings.shard_silence * 1000
        self._rate_limits = rate_limits
        self._batches = Batcher(partial(self._store, waits=False), MAX_MESSAGES)
        self._busy = Batcher(partial(self._store, waits=True), MAX_MESSAGES)

    async def accept(self, message: ProgressMessage) -> wire.EventAccepted | None:
        """Store a message; return None if it is not ordinary, and was not stored.

        Raises:
            ServiceUnavailable: The database does not respond.
        """
        if not _may_be_ordinary(message.received):
            return None
        answer = await self._batches(message)
        if isinstance(answer, _Busy):  # others need not wait for the lock of this execution
            answer = await self._busy(message)
        return None if isinstance(answer, _Busy) else answer

    def _store(self, messages: Sequence[ProgressMessage], *, waits: bool) -> Sequence[_Answer]:
        try:
            with self._database.write() as connection:
                answers, deliveries = self._stored(connection, messages, waits)
        except ApiError:
            raise
        except IntegrityError:  # a repetition of a message was stored meanwhile, by another process
            return [None] * len(messages)
        except Exception:
            LOG.warning("messages could not be stored together, and are stored one by one", exc_info=True)
            return [None] * len(messages)  # the one that cannot be stored fails alone
        if deliveries:
            self._wake()
        return answers

    def _stored(
        self, connection: Connection, messages: Sequence[ProgressMessage], waits: bool
    ) -> tuple[list[_Answer], int]:
        """Store the ordinary ones of some messages; return all answers, and the number of deliveries."""
        locked = executions.lock_all(connection, {each.execution_id for each in messages}, waits=waits)
        before = {name: each for name, each in locked.items() if _is_ordinary(each)}
        answers: list[_Answer] = [None if each.execution_id in locked else _BUSY for each in messages]
        is_new = idempotency.are_new(connection, [each.idempotency for each in messages])
        candidates = {
            number: each
            for number, each in enumerate(messages)
            if is_new[number] and each.execution_id in before
        }
        ordinary = _ordinary_messages(connection, candidates)
        after = dict(before)
        shards: dict[str, list[ShardChange]] = {}
        for (number, each), change in zip(
            ordinary.items(), _put(connection, before, list(ordinary.values())), strict=True
        ):
            name = each.message.execution_id
            after[name], changed, interval = self._applied(after[name], each, change)
            shards.setdefault(name, []).extend(changed)
            answers[number] = wire.EventAccepted(
                event=each.message.received.name,
                execution_id=name,
                execution_status=after[name].status,
                progress_interval=interval,
                shard_id=each.assigned,
            )
        deliveries = _save(connection, list(ordinary.values()), before, after, shards)
        idempotency.keep_all(
            connection, [(each.message.idempotency, answers[number]) for number, each in ordinary.items()]
        )
        return answers, deliveries

    def _applied(
        self, execution: Execution, ordinary: _Ordinary, change: Change
    ) -> tuple[Execution, list[ShardChange], int]:
        """Return an execution and its shards after a message, and the interval of further ones."""
        received, own = ordinary.message.received, ordinary.own
        is_new = own is not None and ordinary.before is None
        expected = max(execution.shards_total, execution.shards_seen + is_new)
        interval = self._rate_limits.progress_interval(expected)
        until = 0
        if self._silence and received.is_live:
            until = received.now + states.silence_timeout(self._silence, received.data.interval or interval)
        changed: list[ShardChange] = []
        if own is not None:
            report = shard_report(received, received.data.shard_id or own.shard_id)
            if report.source.runner is not None and report.source.ci_attempt:
                own = replace(own, ci_attempt=report.source.ci_attempt)
            own = shard_reports.progressed(own, report, change, received.now, received.then, until)
            execution = execution.with_shard(ordinary.before, own)
            changed.append((ordinary.before, own))
        if until:
            for name, shard in ordinary.others.items():
                tests = received.in_flight.get(name)
                heard = replace(
                    shard,
                    in_flight=shard.in_flight if tests is None else tuple(tests),
                    last_reported_at=received.now,
                    silence_deadline_at=until,
                )
                changed.append((shard, heard))
        return execution.timed(received.now, until), changed, interval


class _Ordinary(NamedTuple):
    """An ordinary message, and the shards that it changes.

    ``own`` is the shard that it is about, and ``before`` the same as it is stored; None if it is new.
    ``others`` are by the names that the message gives them. ``assigned`` is the shard that its runner was
    assigned.
    """

    message: ProgressMessage
    own: Shard | None
    before: Shard | None
    others: Mapping[str, Shard]
    assigned: str | None


def _put(
    connection: Connection, before: Mapping[str, Execution], ordinary: Sequence[_Ordinary]
) -> list[Change]:
    """Store the results of messages; return what those of each changed."""
    received = [
        ReceivedResults(
            before[each.message.execution_id],
            each.own.shard_id if each.own else "",
            each.own.attempt if each.own else 1,
            each.message.received.rows,
            each.own is None or each.own.derived.total == 0,
        )
        for each in ordinary
    ]
    return results.put_all(connection, received, max((e.message.received.now for e in ordinary), default=0))


def _save(
    connection: Connection,
    ordinary: Sequence[_Ordinary],
    before: Mapping[str, Execution],
    after: Mapping[str, Execution],
    shards: Mapping[str, Sequence[ShardChange]],
) -> int:
    """Store what messages changed, and the events; return the number of deliveries to webhooks."""
    changed = [(name, old, new) for name, of_execution in shards.items() for old, new in of_execution]
    executions.add_shards(connection, [(name, new) for name, old, new in changed if old is None])
    executions.save_shards(connection, [(name, new) for name, old, new in changed if old is not None])
    runners.add_all(
        connection,
        [
            (each.message.execution_id, runner, Assignment(each.own.shard_id, each.own.attempt))
            for each in ordinary
            if each.before is None and each.own is not None and (runner := each.message.received.runner)
        ],
    )
    received = [(each.message.execution_id, each.message.received) for each in ordinary]
    executions.add_events(
        connection,
        [(name, each.name, each.document, each.now) for name, each in received if not each.is_heartbeat],
    )
    urls = {each.message.execution_id: each.message.urls for each in ordinary}
    own = {(each.message.execution_id, each.own.shard_id) for each in ordinary if each.own is not None}
    now = max((each.now for _, each in received), default=0)
    changes = [
        ExecutionChange(
            urls[name],
            before[name],
            after[name],
            # Of other shards only the running tests are shown, not the times of reports.
            [
                (old, new)
                for old, new in of_execution
                if old is None or (name, new.shard_id) in own or old.in_flight != new.in_flight
            ],
        )
        for name, of_execution in shards.items()
    ]
    return save_executions(connection, changes, now)[1]


def _may_be_ordinary(received: ReceivedEvent) -> bool:
    is_start = received.name == "shard.started" and received.data.shard_id is not None
    return bool(received.shard_ids) and not received.has_time and (received.is_live or is_start)


def _is_ordinary(execution: Execution) -> bool:
    return execution.status == "running" and execution.queue_state is None


def _ordinary_messages(
    connection: Connection, messages: Mapping[int, ProgressMessage]
) -> dict[int, _Ordinary]:
    """Return the ordinary ones of some messages of locked executions; a shard occurs in one of them."""
    assignments = runners.find_all(
        connection, {(each.execution_id, each.received.runner or "") for each in messages.values()}
    )
    names = {
        number: _assigned(assignments.get((each.execution_id, each.received.runner or ""), ()), each.received)
        for number, each in messages.items()
    }
    shards = executions.find_shards(
        connection,
        {
            (messages[number].execution_id, shard_id)
            for number, of_message in names.items()
            for shard_id in of_message.values()
        },
    )
    found: dict[int, _Ordinary] = {}
    taken: set[tuple[str, str]] = set()
    for number, message in messages.items():
        its_shards = {
            name: shards[message.execution_id, shard_id]
            for name, shard_id in names[number].items()
            if (message.execution_id, shard_id) in shards
        }
        assigned = assignments.get((message.execution_id, message.received.runner or ""), ())
        each = _as_ordinary(message, assigned, its_shards)
        if each is None:
            continue
        changed = {
            (message.execution_id, shard.shard_id)
            for shard in (*each.others.values(), *([each.own] if each.own else []))
        }
        if not changed & taken:
            found[number] = each
            taken |= changed
    return found


def _assigned(assignments: Sequence[StoredAssignment], received: ReceivedEvent) -> dict[str, str]:
    """Return the shards that were assigned to the sender, by the names that its message gives them."""
    names = {each.requested: each.shard_id for each in assignments}
    return {name: names.get(name, name) for name in received.shard_ids}


def _as_ordinary(
    message: ProgressMessage, assignments: Sequence[StoredAssignment], shards: Mapping[str, Shard]
) -> _Ordinary | None:
    """Return a message as an ordinary one, None if it is not.

    ``shards`` are those that it names, as they are stored.
    """
    received = message.received
    own_name = None if received.data.shard_id is None else without_nul(received.data.shard_id)
    before = own = None
    if own_name is not None:
        before = shards.get(own_name)
        own = before or _new_shard(received, own_name, assignments)
        if own is None or (before is not None and not _is_current(before, received, own_name, assignments)):
            return None
    others = {
        name: shard
        for name, shard in shards.items()
        if name != own_name and (received.runner is None or shard.runner in (None, received.runner))
    }
    if any(shard.status == "lost" for shard in others.values()):
        return None
    running = {name: shard for name, shard in others.items() if shard.status == "running"}
    if len({shard.shard_id for shard in running.values()} - {own.shard_id if own else ""}) < len(running):
        return None  # two names of one shard
    assigned = own.shard_id if own is not None and received.runner is not None else None
    return _Ordinary(message, own, before, running, assigned)


def _new_shard(received: ReceivedEvent, name: str, assignments: Sequence[StoredAssignment]) -> Shard | None:
    """Return the shard that a message begins, None if its sender was assigned another one."""
    if any(name in (each.requested, each.shard_id) for each in assignments):
        return None
    ci_attempt = None if received.runner is None else received.data.attempt
    return Shard(shard_id=name, runner=received.runner, ci_attempt=ci_attempt)


def _is_current(
    shard: Shard, received: ReceivedEvent, name: str, assignments: Sequence[StoredAssignment]
) -> bool:
    """Return whether a message says that a stored shard still runs, and is of its current attempt."""
    is_assigned = (
        received.runner is None or StoredAssignment(name, shard.shard_id, shard.attempt) in assignments
    )
    return received.is_live and shard.status == "running" and shard.runner == received.runner and is_assigned
