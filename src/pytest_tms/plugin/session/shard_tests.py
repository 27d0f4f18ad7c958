"""Which tests the shard of this session runs: a fixed part, or those that arrive from a queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_tms.plugin.session.delivery import ResultDelivery
from pytest_tms.plugin.session.opening import no_queue_reason, no_queue_warning, plan_request, plan_warning
from pytest_tms.plugin.session.plan import SessionPlan
from pytest_tms.plugin.xdist.sharding import PLAN, ShardName, ShardSelection
from pytest_tms.sender.launch import PlanRequest
from pytest_tms.settings.table import Settings

if TYPE_CHECKING:
    from pytest_tms.plugin.session.queue import TestQueue


class ShardTests:
    """Selects the tests of ``shard``, None if the session is not a shard.

    ``request`` is what the selection needs from the TMS, None if nothing; ``connect`` sets ``plan``.
    """

    plan: SessionPlan

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        shard: ShardName | None,
        *,
        journal: Path,
        attempt: int,
        is_shared: bool,
        is_each: bool,
        problem: str,
    ) -> None:
        """Decide whether the shard takes its tests from a queue: see ``opening.no_queue_reason``.

        ``attempt`` is the number of the CI attempt.
        """
        self.request: PlanRequest | None = None
        self._config = config
        self._shard = shard
        self._journal = journal.absolute()
        self._no_queue = ""
        self._queue: TestQueue | None = None
        by_queue = False
        if settings.split == "queue" and shard is not None:
            self._no_queue = no_queue_reason(settings, is_shared=is_shared, is_each=is_each, problem=problem)
            by_queue = not self._no_queue
        if shard is not None and is_shared:  # shards of executions of their own have no plan
            self.request = plan_request(settings, shard, journal, attempt, by_queue=by_queue)

    def connect(
        self,
        delivery: ResultDelivery,
        *,
        mask: Callable[[str], str],
        check: Callable[[], bool],
        notify: Callable[[str], None],
        notify_of_wait: Callable[[float], None],
    ) -> None:
        """Use the sender of ``delivery``; see ``SessionPlan`` and ``QueueSession`` for the functions."""
        self.plan = SessionPlan(self.request, delivery, notify_of_wait)
        self._config.stash[PLAN] = self.plan.get
        if not self.plan.is_by_queue or self._shard is None:
            return
        from pytest_tms.plugin.session.queue import QueueSession, TestQueue
        from pytest_tms.plugin.session.queue_loop import QueueLoop

        self._queue = TestQueue(
            QueueSession(self._journal, self._shard, delivery, mask=mask, check=check, notify=notify)
        )
        self._config.pluginmanager.register(QueueLoop(self._queue, self.plan.is_queued), "tms-queue")

    @property
    def division(self) -> str:
        """How the tests were selected, empty if all are the shard's own."""
        selection = self._config.pluginmanager.getplugin("tms-shard")
        return selection.division if isinstance(selection, ShardSelection) else ""

    @property
    def queue(self) -> TestQueue | None:
        """The queue from which the shard takes tests, None if it does not."""
        return self._queue if self._queue is not None and self._queue.is_started else None

    def begun(self, names: Sequence[str]) -> Sequence[str]:
        """Return those of the collected ``names`` that are the shard's own."""
        return names if self.queue is None else [names[position] for position in self.queue.taken]

    def warnings(self, unshared: str) -> list[str]:
        """Return sentences about tests that were not selected as they were to.

        ``unshared`` is the warning that the shard shares no execution with others, empty if it does.
        """
        plan, shard, reason = self.plan, self._shard, self._no_queue
        if shard is None:
            return []
        if plan.is_by_queue and not plan.has_failed and not plan.is_queued():
            reason = "this TMS has none (no capability claims)"
        if reason:
            return [no_queue_warning(shard, reason, self.division)]
        found = [unshared] if unshared else []
        if plan.has_failed:
            name = f"{shard.id}/{shard.total}" if shard.total else shard.id
            found.append(plan_warning(name, is_by_duration=plan.is_by_duration, is_by_queue=plan.is_by_queue))
        return [*found, *(self._queue.warnings if self._queue is not None else ())]

    def close(self) -> None:
        """Delete the files of the plan and of the queue."""
        self.plan.remove()
        if self._queue is not None:
            self._queue.close()
