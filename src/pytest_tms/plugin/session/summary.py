"""The summary of a finished session, for the terminal and the hook ``pytest_tms_finished``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pytest_tms.journal.lines import ShardEnded
from pytest_tms.journal.writer import JournalWriter
from pytest_tms.plugin.session.ending import NotRun
from pytest_tms.plugin.session.quarantine import QuarantinedFailure
from pytest_tms.sender.launch import UNKNOWN, SenderState
from pytest_tms.settings.table import Settings
from pytest_tms.wire.executions import ReportedCounts

if TYPE_CHECKING:
    from pytest_tms.plugin.session.queue import TestQueue
    from pytest_tms.wire.history import RunChanges


class Repeats(msgspec.Struct, frozen=True, kw_only=True):
    """The tests that ``--tms-detect-flaky`` ran several times, and those of them that differed.

    ``flaky`` has the node id, the number of runs and that of failures.
    """

    tests: int
    flaky: Sequence[tuple[str, int, int]] = ()


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A finished session: ``collected`` are ``results`` and the tests that did not run.

    ``results`` are the tests that have one; of these ``delivered`` are in the TMS. ``kept_in`` is the file or
    folder that holds the others, None if nothing is kept. ``refused`` names the tests that the TMS rejected,
    ``running`` the tests in flight when the session was stopped, ``not_started`` those that had not begun,
    ``not_run_reason`` is why. ``backlog`` are earlier sessions that were delivered now, and their tests;
    ``waiting`` are those that are still being sent. ``problem`` is why not everything was delivered,
    ``changes`` compares the tests of these shards with the previous run; None if none failed or the TMS does
    not know. ``is_part`` is whether other jobs may report to the same execution.
    ``queue`` is a sentence about the tests that came from a queue, empty without one.
    ``warnings`` are other sentences, ``required`` is why a session that is required to report has failed.
    ``quarantined`` are the failed tests in quarantine; ``is_passed_by_quarantine`` is whether the exit status
    is 0 because no other test failed. ``repeated`` are the tests that were run several times, None if the
    detection of flaky tests is off.
    """

    report_url: str
    shards: Sequence[tuple[str, str, ReportedCounts]]
    collected: int
    results: int
    delivered: int
    refused: Sequence[str]
    kept_in: Path | None
    not_run_reason: str
    running: Sequence[str]
    not_started: Sequence[str]
    problem: str
    warnings: Sequence[str]
    backlog: tuple[int, int] = (0, 0)
    waiting: int = 0
    is_offline: bool = False
    required: str = ""
    quarantined: Sequence[QuarantinedFailure] = ()
    is_passed_by_quarantine: bool = False
    changes: RunChanges | None = None
    repeated: Repeats | None = None
    is_part: bool = False
    queue: str = ""

    @property
    def not_run(self) -> int:
        """How many collected tests have no result."""
        return self.collected - self.results

    @property
    def undelivered(self) -> int:
        """How many results the TMS does not have."""
        return self.results - self.delivered


def summarise(
    ends: Sequence[ShardEnded],
    state: SenderState,
    not_run: NotRun,
    settings: Settings,
    writer: JournalWriter,
    warnings: Sequence[str],
    *,
    quarantined: Sequence[QuarantinedFailure] = (),
    is_passed_by_quarantine: bool = False,
    repeated: Repeats | None = None,
    queue: str = "",
) -> Summary:
    """Return the summary of a session from the ends of its shards and the last state of its delivery."""
    results = sum(end.results.total or 0 for end in ends)
    is_complete = state.is_done and not state.refused
    kept_in = None
    if not is_complete and writer.is_on_disk:
        kept_in = writer.path.parent if settings.offline else writer.path
    required = ""
    if settings.required and not is_complete:
        offline = "--tms-offline sends nothing" if settings.offline else ""
        required = f"required, but not everything was reported: {offline or state.problem or 'refused'}"
    journal_problem = [writer.problem] if writer.problem and not state.is_done else []
    return Summary(
        report_url=state.report_url,
        shards=[(state.names.get(end.shard, end.shard), end.status, end.results) for end in ends],
        collected=results + not_run.tests,
        delivered=min(results, state.delivered),
        refused=state.refused,
        results=results,
        kept_in=kept_in,
        backlog=state.backlog,
        waiting=state.waiting,
        not_run_reason=not_run.reason,
        running=not_run.running,
        not_started=not_run.not_started,
        problem=state.problem,
        warnings=[*warnings, *state.warnings, *journal_problem],
        is_offline=bool(settings.offline),
        required=required,
        quarantined=quarantined,
        is_passed_by_quarantine=is_passed_by_quarantine,
        changes=_changes(state),
        repeated=repeated,
        queue=queue,
        is_part=bool(settings.execution or settings.shard or settings.run_key),
    )


def queue_sentence(queue: TestQueue, *, is_stopped: bool) -> str:
    """Return how many tests a session took from a queue, and which it did not."""
    taken, others = len(queue.taken), queue.collected - queue.left_out - len(queue.taken)
    batches = ("", " in 1 batch")[taken > 0] if queue.batches < 2 else f" in {queue.batches:,} batches"
    did = "are left to" if is_stopped or queue.is_without_tms else "ran in"
    rest = f"; {others:,} {did} other shards" if others else ""
    left_out = ""
    if queue.left_out:
        left_out = f"; {queue.left_out:,} not run again: passed or skipped before (--tms-rerun all runs all)"
    tests = f"{queue.collected:,} test{'s' * (queue.collected != 1)}"
    return f"queue: {taken:,} of {tests} here{batches}{rest}{left_out}"


def _changes(state: SenderState) -> RunChanges | None:
    """Return what changed, with at least one failure to say it about."""
    if bytes(state.changes) == bytes(UNKNOWN):
        return None
    from pytest_tms.wire.history import RunChanges  # only runs with failed tests load it

    found = msgspec.json.decode(state.changes, type=RunChanges)
    has_failures = found.new_failures.count or found.known_failures.count
    return found if found.compared_with and has_failures else None
