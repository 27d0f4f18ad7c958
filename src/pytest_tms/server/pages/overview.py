"""The overview of a run: verdict, context, counts, causes of failures, shards, slowest tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from litestar import Response, get
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.server.domain import clock, states
from pytest_tms.server.domain.duration_changes import DurationChange, duration_change
from pytest_tms.server.domain.error_excerpts import ExcerptLine, excerpt
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.failure_causes import number_of
from pytest_tms.server.domain.forecast import Forecast, forecast
from pytest_tms.server.domain.rerun_commands import MAX_TESTS, rerun_command
from pytest_tms.server.domain.run_progress import activities, progress
from pytest_tms.server.domain.shard_charts import shard_chart
from pytest_tms.server.domain.verdicts import verdict
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.result_dots import Dots, result_dots
from pytest_tms.server.pages.run_facts import facts
from pytest_tms.server.pages.run_links import run_path, test_path, tests_path
from pytest_tms.server.pages.run_page import run_page
from pytest_tms.server.services import executions as execution_services
from pytest_tms.server.services.queue_status import queue_status
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import (
    audit,
    executions,
    failures,
    run_changes,
    run_summaries,
    test_history,
    test_lists,
)
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.failures import Cause
from pytest_tms.server.store.run_changes import RunChanges
from pytest_tms.server.store.test_lists import ListedTest, TestFilter
from pytest_tms.text import is_notable_exit

CAUSES = 10
"""Causes of failures on one page."""
MAX_CAUSES = 1000
"""Causes that are counted."""
TESTS_OF_CAUSE = 3
"""Tests that are listed of each cause."""
FLAKY = 10
"""Flaky tests on the page."""
OWNERS = 20
"""Owners of failed tests on the page."""
FILES = 50
"""Files with failed tests on the page."""
REASONS = 10
"""Reasons of skipped tests on the page."""
SHARDS = 24
"""Shards that are listed on one page."""
MAX_SHARDS = 200
"""Shards that are read."""
SLOWEST = 10
"""Slowest tests on the page."""
NAMES = 20
"""Names of tests without a result, per shard."""
ALL_NAMES = 100
"""The same on the whole page."""
FAILED_TIMES = 300
"""Failed tests that the chart of the shards shows."""
DOTS = 10
"""Past results of a test that are shown as dots."""
MAX_BANNERS = 5
"""Shards, and names of tests, that banners list."""
MAX_RENDERINGS = 4
"""Pages that are rendered at a time: each takes some megabytes, and more of them would not be faster."""

EXPORTS = (
    ("HTML", "html"),
    ("JUnit XML", "xml"),
    ("CTRF", "ctrf.json"),
    ("JSON", "json"),
    ("CSV", "csv"),
    ("Markdown", "md"),
)
"""The links to exports: what each is called, and the extension of its file."""
OUTCOMES = ("error", "crashed", "timeout", "xfailed", "xpassed")
"""Outcomes that are counted beside the statuses, in the order of the page."""


class Count(NamedTuple):
    """A number as a link to the tests that it counts; ``kind`` is a class of colours, ``key`` a key."""

    kind: str
    label: str
    number: int
    path: str
    key: str = ""
    is_more: bool = False


class Names(NamedTuple):
    """Names of tests of a shard without a result; ``more`` is the number of those that are not listed."""

    shard_id: str
    title: str
    names: list[str]
    more: int


class ShownTest(NamedTuple):
    """A test with the path of its result and its past results."""

    test: ListedTest
    path: str
    dots: Dots | None


class CauseGroup(NamedTuple):
    """A cause with its first tests; ``lines`` is the first error of the cause, if the group is open."""

    cause: Cause
    tests: list[ShownTest]
    lines: list[ExcerptLine]


@get("/runs/{execution_id:str}")
async def overview(
    database: Database,
    settings: ServerSettings,
    page_session: PageSession,
    execution_id: str,
    report_limit: CapacityLimiter,
    by: str = "",
    after: str = "",
    shards: str = "0",
) -> Response[str]:
    """Return the overview of a run.

    ``by`` groups failures by ``file`` instead of by cause, ``after`` is the cursor of the causes, ``shards``
    the number of shards to leave out at the beginning of their list.
    """
    first_shard = int(shards) if shards.isdecimal() and len(shards) < 5 else 0
    return await run_sync(
        _overview,
        database,
        settings,
        page_session,
        execution_id,
        by == "file",
        _cause_cursor(after),
        first_shard,
        limiter=report_limit,
    )


def _overview(
    database: Database,
    settings: ServerSettings,
    page_session: PageSession,
    execution_id: str,
    is_by_file: bool,
    after: tuple[int, str] | None,
    first_shard: int,
) -> Response[str]:
    now = clock.now()
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        shards = executions.shards(connection, execution_id, limit=MAX_SHARDS, with_metadata=False)
        is_reporting = execution_services.is_reporting(connection, settings, execution, now)
        changes = run_changes.find(connection, execution, limit=0)
        canceller = _canceller(connection, execution)
        found = _OverviewResults(connection, execution, is_by_file, after)
        queue = queue_status(connection, execution)
    counts = execution.results
    is_live = execution.status not in states.ENDED
    expected = _expected(execution, shards)
    not_run = expected.not_run or 0
    times: dict[str, list[tuple[int, int]]] = {}
    for shard_id, at, duration in found.failed_times:
        times.setdefault(shard_id, []).append((at, duration))
    heading = verdict(
        execution.status,
        counts,
        not_run,
        expected.expected,
        new=changes.new_failures.count if changes.previous else None,
        known=changes.known_failures.count if changes.previous else None,
        quarantined=changes.quarantined.count,
        cancelled_by=canceller,
    )
    listed = sorted(shards, key=_importance)
    return run_page(
        page_session,
        "overview.html",
        execution,
        "overview",
        heading,
        branch=str(execution.metadata.get("branch") or ""),
        banners=[
            *_banners(execution, shards, expected.reason if not_run else None),
            *([] if queue is None else _queue_banners(queue, shards)),
        ],
        facts=facts(execution),
        exports=EXPORTS,
        rerun=found.rerun,
        comparison=changes if changes.previous else None,
        changes=_changes(execution_id, changes),
        is_live=is_live,
        may_cancel=execution.status != "cancelled"
        and states.is_cancellable(execution.status, reports=is_reporting),
        progress=progress(execution, expected, now, changes.previous.runtime if changes.previous else None),
        whole=bar(counts, not_run, expected.expected if is_live else None),
        bar_label=_bar_label(counts, not_run, expected.expected),
        chips=_counts(
            execution_id, counts, not_run, expected.expected, found.outcomes, changes.quarantined.count
        ),
        activities=activities(shards, now) if is_live else None,
        by_file=is_by_file,
        files=found.files,
        owners=found.owners,
        causes=found.causes,
        number_of_causes=found.number_of_causes,
        has_more_causes=found.number_of_causes >= MAX_CAUSES,
        more_causes=found.more_causes,
        is_first_page=after is None,
        flaky=found.flaky,
        reasons=found.reasons,
        are_all_reasons=found.are_all_reasons,
        reasons_read=run_summaries.MAX_REASONS,
        not_run=not_run,
        names=unfinished(shards, expected.missing) if not is_live or not_run else [],
        chart=shard_chart(shards, times, now),
        shards=[(shard, _exit(shard)) for shard in listed[first_shard : first_shard + SHARDS]],
        first_shards=first_shard > 0,
        following_shards=first_shard + SHARDS if len(listed) > first_shard + SHARDS else None,
        more_shards=max(0, execution.shards_seen - MAX_SHARDS),
        slowest=found.slowest,
        tests_path=tests_path,
    )


class _OverviewResults:
    """What the overview reads of the results of an execution."""

    def __init__(
        self,
        connection: Connection,
        execution: Execution,
        is_by_file: bool,
        after: tuple[int, str] | None,
    ) -> None:
        self._connection = connection
        self._execution = execution
        number, counts = execution.number, execution.results
        self.outcomes = run_summaries.outcome_counts(connection, number, OUTCOMES)
        self.rerun = None
        self.files: list[run_summaries.FileCount] = []
        self.owners: list[run_summaries.OwnerCount] = []
        self.failed_times: list[run_summaries.Timed] = []
        causes: list[Cause] = []
        self.number_of_causes = 0
        if counts.failed:
            ids = run_summaries.failed_node_ids(connection, number, MAX_TESTS)
            self.rerun = rerun_command(ids)
            self.failed_times = run_summaries.failed_times(connection, number, FAILED_TIMES)
            owners = run_summaries.failed_owners(connection, number, OWNERS)
            self.owners = owners if any(each.owner for each in owners) else []
            if is_by_file:
                self.files = run_summaries.failed_files(connection, number, FILES)
            else:
                causes = failures.causes(connection, number, limit=CAUSES + 1, after=after)
                self.number_of_causes = failures.number_of_causes(connection, number, MAX_CAUSES)
        self.more_causes = (
            f"{causes[CAUSES - 1].failures}-{causes[CAUSES - 1].fingerprint}" if len(causes) > CAUSES else ""
        )
        by_cause = [
            (cause, self._tests(TestFilter(cause=cause.fingerprint), TESTS_OF_CAUSE))
            for cause in causes[:CAUSES]
        ]
        flaky = self._tests(TestFilter(is_flaky=True), FLAKY) if counts.flaky else []
        slowest = test_lists.by_sequence(
            connection, number, run_summaries.slowest(connection, number, SLOWEST)
        )
        every = [*flaky, *slowest, *(test for _, tests in by_cause for test in tests)]
        self._recent = test_history.recent(connection, number, {test.test_id for test in every}, limit=DOTS)
        self.causes = [
            CauseGroup(cause, self._shown(tests), self._lines(cause) if place == 0 and after is None else [])
            for place, (cause, tests) in enumerate(by_cause)
        ]
        self.flaky = self._shown(flaky)
        self.slowest = [(each.test, each.path, self._change(each.test)) for each in self._shown(slowest)]
        self.reasons, self.are_all_reasons = (
            run_summaries.skip_reasons(connection, number, REASONS) if counts.skipped else ([], True)
        )

    def _tests(self, wanted: TestFilter, limit: int) -> list[ListedTest]:
        return test_lists.find(self._connection, self._execution.number, wanted, limit=limit)[0]

    def _shown(self, tests: Sequence[ListedTest]) -> list[ShownTest]:
        return [
            ShownTest(
                test,
                test_path(self._execution.id, test.test_id, test.shard_id),
                result_dots([each.status for each in reversed(self._recent.get(test.test_id, []))]),
            )
            for test in tests
        ]

    def _change(self, test: ListedTest) -> DurationChange:
        recent = self._recent.get(test.test_id, [])
        past = [
            each.duration
            for each in recent
            if each.execution != self._execution.number and each.status == "passed"
        ]
        return duration_change(test.duration, past)

    def _lines(self, cause: Cause) -> list[ExcerptLine]:
        error, traceback = run_summaries.error_texts(
            self._connection, self._execution.number, cause.first_sequence
        )
        return excerpt(error, traceback)


def _cause_cursor(text: str) -> tuple[int, str] | None:
    """Return the number of failures and the fingerprint of a cursor; None if it is not one."""
    number, _, fingerprint = text.partition("-")
    if not (number.isascii() and number.isdecimal()) or len(number) > 18:
        return None
    try:
        number_of(fingerprint)
    except ValueError:
        return None
    return int(number), fingerprint


def _canceller(connection: Connection, execution: Execution) -> str:
    """Return the name of the person who cancelled an execution, empty if it is not known."""
    if not execution.cancelled_by_user or execution.ended_at is None:
        return ""
    found = audit.actor_of(connection, "execution.cancelled", execution.id, execution.ended_at)
    return found.name if found else ""


def _banners(execution: Execution, shards: Sequence[Shard], stopped_by: str | None) -> list[tuple[str, str]]:
    """Return what a user must know before the numbers, as (kind, text)."""
    found = []
    if execution.reason:
        found.append(("failed" if execution.status == "failed" else "cancelled", execution.reason))
    if len({shard.division for shard in shards if shard.division}) > 1:
        found.append(("failed", _different_divisions(shards)))
    if stopped_by and stopped_by != execution.reason:
        found.append(("failed", f"Stopped early: {stopped_by}"))
    if len(execution.declared_shards) > 1:
        numbers = [str(number) for number in execution.declared_shards]
        listed = f"{', '.join(numbers[:-1])} and {numbers[-1]}"
        found.append(
            ("flaky", f"Its jobs declared different numbers of shards: {listed}. The larger one counts.")
        )
    return found


def _queue_banners(queue: wire.QueueStatus, shards: Sequence[Shard]) -> list[tuple[str, str]]:
    """Return what a user must know of the shards that take tests from a queue, as (kind, text)."""
    ended = [shard for shard in shards if shard.status in states.ABRUPT and shard.reason]
    found = [
        ("flaky", f"Shard {shard.shard_id} ended early: {shard.reason}.") for shard in ended[:MAX_BANNERS]
    ]
    if len(ended) > MAX_BANNERS:
        found.append(("flaky", f"{len(ended) - MAX_BANNERS} more shards ended early."))
    missing = [each for each in queue.differences if each.missing]
    if missing:
        found.append(("failed", _different_collections(missing, queue.tests)))
    return found


def _different_collections(missing: Sequence[wire.CollectedTests], tests: int) -> str:
    """Return a sentence about shards that did not collect all tests of the queue."""
    listed = []
    for each in missing[:MAX_BANNERS]:
        names = ", ".join(each.missing_tests[:MAX_BANNERS])
        more = f" and {each.missing - MAX_BANNERS:,} more" if each.missing > MAX_BANNERS else ""
        ids = f"shard{'s' * (len(each.shards) > 1)} {', '.join(each.shards[:10])}"
        listed.append(f"{ids} did not collect {names}{more}")
    return (
        f"The shards collected different tests, {tests:,} together: {'; '.join(listed)}. "
        "Only shards that collected a test run it. Let all jobs collect the same tests."
    )


def _different_divisions(shards: Sequence[Shard]) -> str:
    """Return a sentence about shards that did not divide the same tests in the same way."""
    by_division: dict[str, list[str]] = {}
    for shard in shards:
        if shard.division:
            by_division.setdefault(shard.division, []).append(shard.shard_id)
    listed = [
        f"shard{'s' * (len(ids) > 1)} {', '.join(ids[:10])}: {division.rpartition(', ')[0]}"
        for division, ids in by_division.items()
    ]
    return (
        "The shards did not divide the same tests in the same way, so tests may have run twice or not at all "
        f"({'; '.join(listed[:5])}). Let all jobs collect the same tests, or use --tms-split count."
    )


def _changes(execution_id: str, changes: RunChanges) -> list[tuple[str, int, str, str]]:
    """Return the changes since the previous run as (label, number, kind, path)."""
    if changes.previous is None:
        return []
    compare = f"{run_path(execution_id, 'compare')}?with={changes.previous.id}"
    return [
        ("New failures", changes.new_failures.count, "failed", tests_path(execution_id, new=True)),
        ("Still failing", changes.known_failures.count, "known", f"{compare}#still-failing"),
        ("Fixed", changes.fixed.count, "passed", f"{compare}#fixed"),
    ]


def _counts(
    execution_id: str,
    counts: wire.Counts,
    not_run: int,
    expected: int | None,
    outcomes: Mapping[str, run_summaries.OutcomeCount],
    quarantined: int,
) -> list[Count]:
    """Return the counts of the page: all statuses, and those outcomes that occurred."""
    shown = [Count("failed", "failed", counts.failed, tests_path(execution_id, status="failed"), "f")]

    def add(*names: str) -> None:
        for name in names:
            if found := outcomes.get(name):
                path = tests_path(execution_id, outcome=name)
                label = {"crashed": "crashed", "timeout": "timed out"}.get(name, name)
                kind = "failed" if name in ("error", "crashed", "timeout") else "skipped"
                shown.append(Count(kind, label, found.tests, path, is_more=not found.is_complete))

    if quarantined:
        path = tests_path(execution_id, quarantined=True)
        shown.append(Count("known", "failed in quarantine", quarantined, path))
    add("error", "crashed", "timeout")
    shown.append(Count("flaky", "flaky", counts.flaky, tests_path(execution_id, flaky=True)))
    shown.append(Count("passed", "passed", counts.passed, tests_path(execution_id, status="passed")))
    add("xpassed")
    shown.append(Count("skipped", "skipped", counts.skipped, tests_path(execution_id, status="skipped")))
    add("xfailed")
    if not_run:
        shown.append(Count("not-run", "did not run", not_run, f"{run_path(execution_id)}#not-run"))
    collected = max(expected or 0, counts.total + not_run)
    label = "collected" if expected else "test" if collected == 1 else "tests"
    shown.append(Count("", label, collected, tests_path(execution_id)))
    return shown


def bar(counts: wire.Counts, not_run: int = 0, expected: int | None = None) -> list[tuple[str, float, float]]:
    """Return the parts of a stacked bar as (kind, start, width), of a total width of 100.

    It is over the tests that were collected: ``expected``, or those with a result and those that did not run.
    Parts of width 0 are left out; tests without a result leave a gap at the end.
    """
    flaky = min(counts.flaky, counts.passed)
    total = max(counts.total + not_run, expected or 0) or 1
    left = 0.0
    parts = []
    for kind, number in (
        ("failed", counts.failed),
        ("flaky", flaky),
        ("passed", counts.passed - flaky),
        ("skipped", counts.skipped),
    ):
        width = 100 * number / total
        if width:
            parts.append((kind, round(left, 3), round(width, 3)))
        left += width
    return parts


def _bar_label(counts: wire.Counts, not_run: int, expected: int | None) -> str:
    total = max(counts.total + not_run, expected or 0)
    named = (
        ("failed", counts.failed),
        ("flaky", counts.flaky),
        ("passed", counts.passed),
        ("skipped", counts.skipped),
        ("did not run", not_run),
    )
    parts = [f"{number:,} {name}" for name, number in named if number]
    return f"{', '.join(parts) or 'no results'}, of {total:,} tests"


def unfinished(shards: Sequence[Shard], missing: Mapping[str, int]) -> list[Names]:
    """Return the tests without a result by shard: running at its end, or not run."""
    lists = []
    room = ALL_NAMES
    for shard in shards:
        title = f"Running when the shard ended: {shard.status}"
        not_run = missing.get(shard.shard_id, 0)
        why = f"Did not run: {shard.not_run_reason}" if shard.not_run_reason else "Did not run"
        in_flight = [] if shard.status == "running" else [test.node_id for test in shard.in_flight]
        for words, names, total in (
            (title, in_flight, len(in_flight)),
            (why, list(shard.not_run_tests), max(not_run, len(shard.not_run_tests))),
        ):
            if total and room:
                shown = names[: min(NAMES, room)]
                room -= len(shown)
                lists.append(Names(shard.shard_id, words, shown, total - len(shown)))
    return lists


def _importance(shard: Shard) -> int:
    """Return the place of a shard in the list: those that broke, then those with failures, first."""
    if shard.status in states.ABRUPT:
        return 0
    return 1 if shard.results.failed else 2 if shard.status == "running" else 3


def _expected(execution: Execution, shards: list[Shard]) -> Forecast:
    """Return the forecast of all shards; with more shards than the page reads, what was stored at the end."""
    found = forecast(shards, execution, clock.now())
    if execution.shards_seen <= MAX_SHARDS:
        return found
    return Forecast(execution.tests_expected, execution.not_run or None, found.reason)


def _exit(shard: Shard) -> int | None:
    return shard.exit_status if is_notable_exit(shard.exit_status, shard.results.failed) else None
