"""The shards of a run: what was planned, what happened, and what another number of shards would save."""

from __future__ import annotations

from litestar import Response, get

from pytest_tms.server.domain import clock, states
from pytest_tms.server.domain.shard_balance import RanTests, balance
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.run_links import test_path, tests_path
from pytest_tms.server.pages.run_page import run_page
from pytest_tms.server.services.shard_plans import planned_times
from pytest_tms.server.store import executions, run_summaries, shard_times, test_lists
from pytest_tms.server.store.database import Database

MAX_SHARDS = 1_000
"""Shards that are read."""
LANE = 22
"""Units of the height of a lane."""
BARS = 14
"""Units of the height of a bar."""
AXIS = 22
"""Units of the height of the axis of time."""


@get("/runs/{execution_id:str}/shards", sync_to_thread=True)
def show_shards(database: Database, page_session: PageSession, execution_id: str) -> Response[str]:
    """Return the page of the shards of a run."""
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        shards = executions.shards(connection, execution_id, limit=MAX_SHARDS, with_metadata=False)
        is_large = execution.results.total > run_summaries.MAX_TIMED
        times = {} if is_large else shard_times.result_times(connection, execution.number)
        workers = {shard_id: each.workers for shard_id, each in times.items()}
        planned = planned_times(connection, execution, workers) if len(shards) > 1 else {}
        slowest = run_summaries.slowest(connection, execution.number, 1)
        longest = test_lists.by_sequence(connection, execution.number, slowest)
    is_live = execution.status not in states.ENDED
    now = clock.now() if is_live else execution.ended_at or clock.now()
    tests = {shard_id: RanTests(each.tests, each.start, each.longest) for shard_id, each in times.items()}
    found = balance(shards, tests, planned, now)
    return run_page(
        page_session,
        "shards.html",
        execution,
        "shards",
        balance=found,
        is_live=is_live,
        is_queue=execution.queue_state is not None,
        has_plan=bool(planned),
        longest=[(test, test_path(execution.id, test.test_id, test.shard_id)) for test in longest],
        height=(len(found.lanes) * LANE + AXIS) if found else 0,
        lane_height=LANE,
        bar_height=BARS,
        tests_path=tests_path,
    )
