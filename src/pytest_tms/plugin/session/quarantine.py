"""The failures of a session whose tests are in quarantine, and whether they alone failed the session."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import pytest

from pytest_tms.plugin.session.delivery import NOTICE_AFTER, ResultDelivery
from pytest_tms.sender.launch import SenderState
from pytest_tms.sender.quarantine import QuarantinedTest, read_list
from pytest_tms.wire.results import TestResult

LIST_TIMEOUT = 5.0
"""Seconds that the end of a session with failed tests waits for the list of the TMS."""
COPY = re.compile(r"( @\S+)?( #\d+)?$")
"""What distinguishes runs of one test in a shard: see ``naming.identity_in_shard``."""


class QuarantinedFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A failed test in quarantine; ``until`` is the last day, as 2026-03-31, ``owner`` who looks after it."""

    node_id: str
    until: str
    reason: str
    owner: str


class SessionQuarantine:
    """Counts the failures of a session, and finds those in quarantine once the list is known.

    ``path`` is the file of the list, None if quarantine is switched off. ``is_offline`` says that no sender
    fetches it, so that the kept list counts. ``read_state`` returns the state of the sender, ``mask`` returns
    a node id as it is sent, ``clock`` returns seconds since 1970.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        is_offline: bool,
        read_state: Callable[[], SenderState],
        mask: Callable[[str], str],
        clock: Callable[[], float],
    ) -> None:
        self._path = path
        self._is_offline = is_offline
        self._read_state = read_state
        self._mask = mask
        self._clock = clock
        self._tests: Mapping[str, QuarantinedTest] | None = None if path is not None else {}
        self._reports: dict[str, int] = {}
        self._names: dict[str, set[str]] = {}
        self._unmarked: set[str] = set()

    @property
    def is_due(self) -> bool:
        """Whether there are failures for which the list is needed and not known."""
        return bool(self._reports) and self._tests is None

    def count_report(self, nodeid: str) -> None:
        """Count a failed report, as pytest does."""
        self._reports[nodeid] = self._reports.get(nodeid, 0) + 1

    def mark(self, nodeid: str, result: TestResult) -> TestResult:
        """Return a failed result, marked if its test is known to be in quarantine.

        ``nodeid`` is that of its reports.
        """
        if self._path is None:
            return result
        name = self._mask(result.node_id or nodeid)
        self._names.setdefault(nodeid, set()).add(name)
        if self._tests is None and (self._is_offline or self._read_state().quarantine == "fetched"):
            self._tests = read_list(self._path, self._clock())  # None if the test replaces the file system
        if self._tests is None:
            self._unmarked.add(name)
        elif self._find(name) is not None:
            return msgspec.structs.replace(result, quarantined=True)
        return result

    def wait_for_list(
        self, delivery: ResultDelivery, seconds: float, notify_of_wait: Callable[[float], None]
    ) -> None:
        """Wait at most ``seconds`` for the list of the TMS, unless a list of an earlier run replaces it.

        ``notify_of_wait`` is called with ``seconds`` when the wait takes longer than usual.
        """

        def is_known(state: SenderState) -> bool:
            return bool(state.quarantine or (state.problem and self._has_kept_list()))

        try:
            notice = min(NOTICE_AFTER, seconds)
            if delivery.wait_until(is_known, notice) or not delivery.is_waiting or delivery.read().problem:
                return
            notify_of_wait(seconds)
            delivery.wait_until(lambda state: is_known(state) or bool(state.problem), seconds - notice)
        except KeyboardInterrupt:  # the list is skipped, not the delivery
            return

    def load(self) -> None:
        """Read the list that the sender has fetched, else the one that is kept of an earlier run."""
        if self._path is not None and self._tests is None:
            is_refused = self._read_state().quarantine == "refused"
            self._tests = (None if is_refused else read_list(self._path, self._clock())) or {}

    def _has_kept_list(self) -> bool:
        """Return whether an earlier run left a list that can be used."""
        return self._path is not None and read_list(self._path, self._clock()) is not None

    def take_unmarked(self) -> set[str]:
        """Return the names of tests in quarantine whose results were written before the list was known."""
        found = {name for name in self._unmarked if self._find(name) is not None}
        self._unmarked.clear()
        return found

    def covers(self, failed_reports: int) -> bool:
        """Return whether all failures are of tests in quarantine.

        ``failed_reports`` is what pytest counted: if it differs, another plugin failed the session.
        """
        return (
            bool(self._reports)
            and sum(self._reports.values()) == failed_reports
            and all(self._find(name) is not None for name in self._failed_names(self._reports))
        )

    def warnings(self) -> list[str]:
        """Return why the list is not known, if that concerns failures and the TMS refused it."""
        state = self._read_state()
        concerns = self._path is not None and bool(self._reports) and state.quarantine == "refused"
        return [state.quarantine_problem] if concerns and state.quarantine_problem else []

    def failures(self) -> list[QuarantinedFailure]:
        """Return the failed tests in quarantine, in the order of their failures."""
        found = []
        for name in dict.fromkeys(self._failed_names(self._reports)):
            test = self._find(name)
            if test is not None:
                found.append(
                    QuarantinedFailure(
                        node_id=name, until=test.until[:10], reason=test.reason, owner=test.owner
                    )
                )
        return found

    def _failed_names(self, nodeids: Iterable[str]) -> list[str]:
        """Return the names under which failed tests are sent; one without a result has its node id."""
        return [
            name for nodeid in nodeids for name in sorted(self._names.get(nodeid) or (self._mask(nodeid),))
        ]

    def _find(self, name: str) -> QuarantinedTest | None:
        tests = self._tests or {}
        return tests.get(name) or tests.get(COPY.sub("", name))


class ExitStatus:
    """Decides on the exit status of a session before other plugins do, so that theirs are kept."""

    def __init__(self, decide: Callable[[pytest.Session], None]) -> None:
        self._decide = decide

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Decide, once every test has ended."""
        self._decide(session)
