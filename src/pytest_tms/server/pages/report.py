"""The report page of an execution: verdict, counts, failing tests, shards and slowest tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from litestar import Response, get

from pytest_tms import wire
from pytest_tms.server.domain import clock, states
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.forecast import Forecast, forecast
from pytest_tms.server.domain.stored_files import IMAGES
from pytest_tms.server.domain.verdicts import verdict
from pytest_tms.server.pages.files import file_url
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.templates import page
from pytest_tms.server.services import executions as execution_services
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import artifacts, executions, page_queries
from pytest_tms.server.store.database import Database
from pytest_tms.text import is_notable_exit

FAILURES = 50
"""Failing tests on one page."""
SHARDS = 200
"""Shards on the page."""
SLOWEST = 10
"""Slowest tests on the page."""
NAMES = 20
"""Names of tests without a result, per shard."""
ALL_NAMES = 200
"""The same on the whole page."""
MAX_RENDERINGS = 4
"""Reports that are rendered at a time: each takes some megabytes, and more of them would not be faster."""

EXPORTS = (
    ("HTML", "html"),
    ("JUnit XML", "xml"),
    ("CTRF", "ctrf.json"),
    ("JSON", "json"),
    ("CSV", "csv"),
    ("Markdown", "md"),
)
"""The links to exports: what each is called, and the extension of its file."""


@dataclass(frozen=True)
class TestsWithoutResult:
    """Names of tests of a shard without a result; ``more`` is the number of those that are not listed."""

    shard_id: str
    title: str
    names: list[str]
    more: int


@get("/runs/{execution_id:str}")
async def report(
    database: Database,
    settings: ServerSettings,
    page_session: PageSession,
    execution_id: str,
    report_limit: CapacityLimiter,
    after: str = "0",
) -> Response[str]:
    """Return the report page; ``after`` is the cursor of the failing tests."""
    start = int(after) if after.isdecimal() and len(after) < 19 else 0
    return await run_sync(
        _report, database, settings, page_session, execution_id, start, limiter=report_limit
    )


def _report(
    database: Database, settings: ServerSettings, page_session: PageSession, execution_id: str, start: int
) -> Response[str]:
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        shards = page_queries.shards(connection, execution_id, limit=SHARDS)
        failures = page_queries.failing(connection, execution_id, after=start, limit=FAILURES + 1)
        hashes = [file.sha256 for test in failures for file in test.details.files if file.sha256]
        uploaded = artifacts.uploaded(connection, execution_id, hashes)
        slowest = page_queries.slowest(connection, execution_id, limit=SLOWEST)
        is_reporting = execution_services.is_reporting(connection, settings, execution, clock.now())
    expected = _expected(execution, shards)
    not_run = expected.not_run or 0
    return page(
        page_session,
        "report.html",
        tab="reports",
        execution=execution,
        verdict=verdict(execution.status, execution.results, not_run, expected.expected),
        facts=facts(execution),
        exports=EXPORTS,
        whole=bar(execution.results, not_run),
        not_run=not_run,
        expected=expected,
        names=unfinished(shards, expected.missing),
        may_cancel=execution.status != "cancelled"
        and states.is_cancellable(execution.status, reports=is_reporting),
        shards=[
            (shard, bar(shard.results, expected.missing.get(shard.shard_id, 0)), _exit(shard))
            for shard in shards
        ],
        more_shards=max(0, execution.shards_seen - SHARDS),
        failures=failures[:FAILURES],
        uploaded=uploaded,
        file_url=file_url,
        images=IMAGES,
        following=failures[FAILURES - 1].id if len(failures) > FAILURES else None,
        first_page=start == 0,
        slowest=slowest,
        longest=max((test.duration for test in slowest), default=0),
    )


def unfinished(shards: list[Shard], missing: Mapping[str, int]) -> list[TestsWithoutResult]:
    """Return the tests without a result by shard: running now, running at its end, or not run."""
    lists = []
    room = ALL_NAMES
    for shard in shards:
        title = "Running now" if shard.status == "running" else f"Running when it ended: {shard.status}"
        not_run = missing.get(shard.shard_id, 0)
        why = f"Did not run: {shard.not_run_reason}" if shard.not_run_reason else "Did not run"
        in_flight = [test.node_id for test in shard.in_flight]
        for words, names, total in (
            (title, in_flight, len(in_flight)),
            (why, list(shard.not_run_tests), max(not_run, len(shard.not_run_tests))),
        ):
            if total and room:
                shown = names[: min(NAMES, room)]
                room -= len(shown)
                lists.append(TestsWithoutResult(shard.shard_id, words, shown, total - len(shown)))
    return lists


def _expected(execution: Execution, shards: list[Shard]) -> Forecast:
    """Return the forecast of all shards; with more shards than the page shows, what was stored at the end."""
    found = forecast(shards, execution.results, clock.now())
    if execution.shards_seen <= SHARDS:
        return found
    return Forecast(execution.tests_expected, execution.not_run or None, found.reason)


def _exit(shard: Shard) -> int | None:
    return shard.exit_status if is_notable_exit(shard.exit_status, shard.results.failed) else None


def facts(execution: Execution) -> list[tuple[str, str]]:
    """Return suite, environment, branch and other facts of an execution as (name, value)."""
    metadata: dict[str, Any] = execution.metadata
    commit = metadata.get("commit")
    named = [
        ("suite", execution.test_suite),
        ("environment", execution.environment),
        ("branch", metadata.get("branch")),
        ("commit", commit[:12] if isinstance(commit, str) else commit),
        ("build", metadata.get("buildNumber")),
        ("triggered by", metadata.get("triggeredBy")),
        ("provider", execution.provider),
    ]
    return [(name, str(value)) for name, value in named if value not in (None, "")]


def bar(counts: wire.Counts, not_run: int = 0) -> list[tuple[str, float, float]]:
    """Return the parts of a stacked bar as (kind, start, width), of a total width of 100.

    Parts of width 0 are left out; tests that did not run leave a gap at the end.
    """
    total = counts.total + not_run or 1
    left = 0.0
    parts = []
    for kind in ("failed", "passed", "skipped"):
        width = 100 * getattr(counts, kind) / total
        if width:
            parts.append((kind, round(left, 3), round(width, 3)))
        left += width
    return parts
