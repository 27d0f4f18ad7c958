"""The durations by which a session divides the tests, the same for every shard of the execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_tms.journal.plan import read_plan
from pytest_tms.plugin.session.delivery import NOTICE_AFTER, ResultDelivery
from pytest_tms.sender.launch import SenderState

PLAN_TIMEOUT = 10.0
"""Seconds that the collection waits for the durations of tests."""


class SessionPlan:
    """Reads the durations once the sender has fetched them.

    ``path`` is the file that it writes, None if the tests are not divided by durations. ``notify`` receives
    the seconds that the session may have to wait.
    """

    def __init__(self, path: Path | None, delivery: ResultDelivery, notify: Callable[[float], None]) -> None:
        self.path = path
        self._delivery = delivery
        self._notify = notify
        self._durations: Mapping[str, int] | None = None
        self._has_read = False
        self.has_failed = False

    def durations(self) -> Mapping[str, int] | None:
        """Return milliseconds by node id, None if the tests are to be divided by their number.

        The first call waits for the TMS, at most ``PLAN_TIMEOUT`` seconds.
        """
        if self.path is not None and not self._has_read:
            self._has_read = True
            outcome = self._wait()
            self._durations = read_plan(self.path) if outcome == "fetched" else None
            self.has_failed = self._durations is None and outcome != "unknown"
        return self._durations

    def _wait(self) -> str:
        if self._delivery.is_waiting and not self._delivery.wait_until(_is_known, NOTICE_AFTER):
            self._notify(PLAN_TIMEOUT)
            self._delivery.wait_until(_is_known, PLAN_TIMEOUT - NOTICE_AFTER)
        return self._delivery.read().plan

    def remove(self) -> None:
        """Delete the file."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _is_known(state: SenderState) -> bool:
    return bool(state.plan)
