"""The timeline of a run: a lane for each worker of each shard, and a table of the lanes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from litestar import Request, Response, get
from sqlalchemy import Connection

from pytest_tms.server.domain import clock
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.timelines import WIDTH, Bar, Timeline, layout
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.run_links import run_path, test_path, tests_path
from pytest_tms.server.pages.run_page import run_page
from pytest_tms.server.pages.templates import duration
from pytest_tms.server.store import executions, run_summaries, test_lists
from pytest_tms.server.store.database import Database

SLOTS = 250
"""Slots of time into which the shown part is divided."""
NAMED = 150
"""Bars of one test that have its name and link: the longest ones."""
LANE = 22
"""Units of the height of a lane."""
BARS = 14
"""Units of the height of a bar."""
AXIS = 22
"""Units of the height of the axis of time."""
LONGEST = 366 * 86_400_000
"""Milliseconds from the start of a run to the end of the longest part that is shown."""


class ShownBar(NamedTuple):
    """A bar with its text, and the path of its test if it is only one."""

    bar: Bar
    text: str
    path: str


@get("/runs/{execution_id:str}/timeline", sync_to_thread=True)
def timeline(
    database: Database, request: Request[Any, Any, Any], page_session: PageSession, execution_id: str
) -> Response[str]:
    """Return the timeline of a run; ``from`` and ``to`` are milliseconds since its start."""
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        origin = _origin(connection, execution)
        part = _part(request.query_params)
        found = _timeline(connection, execution, origin, part)
        names = _names(connection, execution, found) if found else {}
    return run_page(
        page_session,
        "timeline.html",
        execution,
        "timeline",
        lanes=[
            (lane, _label(lane.shard_id, lane.worker), [_shown(bar, origin, names) for bar in lane.bars])
            for lane in (found.lanes if found else ())
        ],
        timeline=found,
        origin=origin,
        width=WIDTH,
        height=(len(found.lanes) * LANE + AXIS) if found else 0,
        lane_height=LANE,
        bar_height=BARS,
        zooms=_zooms(execution_id, found, origin, is_part=part is not None),
        is_large=_is_large(execution),
        tests_path=tests_path,
    )


def _timeline(
    connection: Connection, execution: Execution, origin: int, part: tuple[int, int] | None
) -> Timeline | None:
    start, end = (None, None) if part is None else (origin + part[0], origin + part[1])
    span = part[1] - part[0] if part else execution.runtime or max(1, clock.now() - origin)
    stretches = run_summaries.stretches(
        connection,
        execution.number,
        slot=max(1, span // SLOTS),
        start=start,
        end=end,
        is_large=_is_large(execution),
    )
    return layout(stretches, origin=origin, start=start, end=end)


def _origin(connection: Connection, execution: Execution) -> int:
    """Return the start of a run: its first test may have started before its runner reported."""
    reported = execution.started_at or execution.created_at
    return min(reported, run_summaries.first_start(connection, execution.number) or reported)


def _is_large(execution: Execution) -> bool:
    return execution.results.total > run_summaries.MAX_TIMED


def _part(query: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the chosen part of a timeline, None for all of it."""
    try:
        start, end = (int(query.get(name, "")[:15]) for name in ("from", "to"))
    except ValueError:
        return None
    return (start, end) if -LONGEST <= start < end <= LONGEST else None


def _names(connection: Connection, execution: Execution, found: Timeline) -> dict[int, tuple[str, str]]:
    """Return the title and the path of the tests that have a wide bar of their own, by sequence."""
    alone = [bar for lane in found.lanes for bar in lane.bars if bar.sequence is not None]
    longest = sorted(alone, key=lambda bar: (bar.kind != "failed", bar.start - bar.end))[:NAMED]
    tests = test_lists.by_sequence(
        connection, execution.number, [bar.sequence for bar in longest if bar.sequence is not None]
    )
    return {
        test.sequence: (test.title[:200], test_path(execution.id, test.test_id, test.shard_id))
        for test in tests
    }


def _shown(bar: Bar, origin: int, names: Mapping[int, tuple[str, str]]) -> ShownBar:
    title, path = names.get(bar.sequence or 0, ("", ""))
    what = title or (f"{bar.tests:,} tests" if bar.tests > 1 else f"1 {bar.kind} test")
    if bar.tests > 1 and bar.failed:
        what += f", {bar.failed:,} failed"
    elif title:
        what += f", {bar.kind}"
    at = duration(bar.start - origin) if bar.start >= origin else f"{duration(origin - bar.start)} before"
    return ShownBar(bar, f"{what}: {duration(bar.end - bar.start)} from {at}", path)


def _label(shard_id: str, worker: str) -> str:
    return f"{shard_id[:40]} · {worker[:40]}" if worker else f"shard {shard_id[:40]}"


def _zooms(
    execution_id: str, found: Timeline | None, origin: int, *, is_part: bool
) -> list[tuple[str, str, str]]:
    """Return the links to other parts as (text, path, what it shows)."""
    if found is None:
        return []
    start, end = found.start - origin, found.end - origin
    span = end - start
    own = run_path(execution_id, "timeline")

    def path(first: int, last: int) -> str:
        return f"{own}?{urlencode({'from': max(-LONGEST, first), 'to': min(LONGEST, last)})}"

    links = []
    if span > 4:
        half, quarter = span // 2, span // 4
        links = [
            ("First half", path(start, start + half), "zoom in"),
            ("Middle", path(start + quarter, end - quarter), "zoom in"),
            ("Second half", path(end - half, end), "zoom in"),
        ]
    if is_part:
        links += [
            ("Earlier", path(start - span // 2, end - span // 2), "move"),
            ("Later", path(start + span // 2, end + span // 2), "move"),
            ("Zoom out", path(start - span // 2, end + span // 2), "zoom out"),
            ("Whole run", own, "zoom out"),
        ]
    return links
