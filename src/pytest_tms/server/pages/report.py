"""The report of an execution: verdict, counts, shards, failing tests, slowest tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from litestar import Response, get
from litestar.response import Redirect

from pytest_tms import wire
from pytest_tms.server.model.execution import Execution
from pytest_tms.server.pages.templates import page
from pytest_tms.server.pages.visitor import Visitor
from pytest_tms.server.store import executions, reports
from pytest_tms.server.store.database import Database

FAILURES = 50
"""Failing tests on one page."""
SHARDS = 200
"""Shards on the page."""
SLOWEST = 10
"""Slowest tests on the page."""
MAX_RENDERINGS = 4
"""Reports that are rendered at a time: each takes some megabytes, and more of them would not be faster."""


@dataclass(frozen=True)
class Verdict:
    """The first thing a person wants to know; ``kind`` is its colour."""

    kind: str
    title: str


@get("/reports/{execution_id:str}")
async def report(
    database: Database, visitor: Visitor, execution_id: str, report_limit: CapacityLimiter, after: str = "0"
) -> Response[str]:
    """The report page; ``after`` pages through the failing tests."""
    start = int(after) if after.isdecimal() and len(after) < 19 else 0
    return await run_sync(_report, database, visitor, execution_id, start, limiter=report_limit)


def _report(database: Database, visitor: Visitor, execution_id: str, start: int) -> Response[str]:
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        shards = reports.shards(connection, execution_id, limit=SHARDS)
        failures = reports.failing(connection, execution_id, after=start, limit=FAILURES + 1)
        slowest = reports.slowest(connection, execution_id, limit=SLOWEST)
    return page(
        visitor,
        "report.html",
        tab="reports",
        execution=execution,
        verdict=verdict(execution.status, execution.results),
        facts=facts(execution),
        whole=bar(execution.results),
        shards=[(shard, bar(shard.results)) for shard in shards],
        more_shards=max(0, execution.shards_seen - SHARDS),
        failures=failures[:FAILURES],
        following=failures[FAILURES - 1].id if len(failures) > FAILURES else None,
        first_page=start == 0,
        slowest=slowest,
        longest=max((test.duration for test in slowest), default=0),
    )


@get("/reports/{execution_id:str}/{shard:str}", sync_to_thread=False)
def shard(execution_id: str, shard: str) -> Redirect:
    """Where payloads look for a shard: it stands in the report."""
    return Redirect(f"/reports/{quote(execution_id, safe='')}")


def verdict(status: wire.ExecutionState, counts: wire.Counts) -> Verdict:
    """In words: what happened, and how bad it is."""
    failed = f"{counts.failed:,} {'test' if counts.failed == 1 else 'tests'} failed"
    if status == "cancelled":
        return Verdict("cancelled", f"Cancelled, {failed}" if counts.failed else "Cancelled")
    if status == "failed":
        return Verdict("failed", f"The run broke, {failed}" if counts.failed else "The run broke")
    if status == "completed":
        if counts.failed:
            return Verdict("failed", failed)
        if not counts.total:
            return Verdict("none", "No tests ran")
        return Verdict("passed", "All tests passed" if counts.passed else "All tests were skipped")
    state = "Running" if status == "running" else "Waiting for the first shard"
    return Verdict("failed" if counts.failed else "running", f"{state}, {failed}" if counts.failed else state)


def facts(execution: Execution) -> list[tuple[str, str]]:
    """What else there is to know about the run, as (name, value)."""
    known: dict[str, Any] = execution.metadata
    commit = known.get("commit")
    named = [
        ("suite", execution.test_suite),
        ("environment", execution.environment),
        ("branch", known.get("branch")),
        ("commit", commit[:12] if isinstance(commit, str) else commit),
        ("build", known.get("buildNumber")),
        ("by", known.get("triggeredBy")),
        ("provider", execution.provider),
    ]
    return [(name, str(value)) for name, value in named if value not in (None, "")]


def bar(counts: wire.Counts) -> list[tuple[str, float, float]]:
    """A stacked bar over a width of 100: (kind, from, width), nothing that is zero."""
    total = counts.total or 1
    left = 0.0
    parts = []
    for kind in ("failed", "passed", "skipped"):
        width = 100 * getattr(counts, kind) / total
        if width:
            parts.append((kind, round(left, 3), round(width, 3)))
        left += width
    return parts
