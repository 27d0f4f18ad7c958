"""What the TMS knows of the tests of this session's shard: by it, the shard selects its tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pytest_tms.journal.plan import ShardPlan, read_plan
from pytest_tms.plugin.session.delivery import NOTICE_AFTER, ResultDelivery
from pytest_tms.sender.launch import PlanRequest, SenderState

PLAN_TIMEOUT = 10.0
"""Seconds that the collection waits for the plan."""


class SessionPlan:
    """Reads the plan once the sender has fetched it.

    ``request`` is None if the session needs no plan. ``notify`` receives the seconds that the session may
    have to wait. ``has_failed`` is whether a plan was needed and is missing.
    """

    def __init__(
        self, request: PlanRequest | None, delivery: ResultDelivery, notify: Callable[[float], None]
    ) -> None:
        self.has_failed = False
        self._request = request
        self._delivery = delivery
        self._notify = notify
        self._plan: ShardPlan | None = None
        self._has_read = False

    @property
    def is_by_duration(self) -> bool:
        """Whether the tests are to be divided by durations."""
        return self._request is not None and self._request.by_duration

    @property
    def is_by_queue(self) -> bool:
        """Whether the tests are to be taken from a queue."""
        return self._request is not None and self._request.by_queue

    def is_queued(self) -> bool:
        """Return whether the tests are taken from a queue; waits as ``get`` does."""
        plan = self.get() if self.is_by_queue else None
        return plan is not None and plan.is_queued

    def get(self) -> ShardPlan | None:
        """Return the plan, None if there is none.

        The first call waits for the TMS, at most ``PLAN_TIMEOUT`` seconds.
        """
        if self._request is not None and not self._has_read:
            self._has_read = True
            if self._wait() == "fetched":
                self._plan = read_plan(Path(self._request.path))
            self.has_failed = self._plan is None
        return self._plan

    def file(self) -> str:
        """Return the path of the file with the plan, empty if there is none; waits as ``get`` does."""
        return self._request.path if self._request is not None and self.get() is not None else ""

    def remove(self) -> None:
        """Delete the file."""
        if self._request is not None:
            Path(self._request.path).unlink(missing_ok=True)

    def _wait(self) -> str:
        if self._delivery.is_waiting and not self._delivery.wait_until(_is_known, NOTICE_AFTER):
            self._notify(PLAN_TIMEOUT)
            self._delivery.wait_until(_is_known, PLAN_TIMEOUT - NOTICE_AFTER)
        return self._delivery.read().plan


def _is_known(state: SenderState) -> bool:
    return bool(state.plan)
