"""The chart of the shards of an execution."""

from __future__ import annotations

from typing import Any

from pytest_tms import wire
from pytest_tms.server.domain.executions import Shard
from pytest_tms.server.domain.shard_charts import LABEL, MAX_LANES, WIDTH, shard_chart

NOW = 1_700_000_000_000


def shard(name: str, start: int, end: int | None, status: Any = "completed") -> Shard:
    return Shard(
        shard_id=name,
        status=status,
        started_at=NOW + start,
        ended_at=None if end is None else NOW + end,
        derived=wire.Counts(total=1, passed=1),
    )


def test_one_shard_needs_no_chart() -> None:
    assert shard_chart([shard("1", 0, 10)], {}, NOW) is None
    assert shard_chart([shard("1", 0, 10), Shard(shard_id="2")], {}, NOW) is None


def test_bars_are_in_proportion_and_failures_in_their_place() -> None:
    found = shard_chart([shard("1", 0, 1000), shard("2", 500, 1000)], {"2": [(NOW + 750, 250)]}, NOW)
    assert found is not None
    one, two = found.lanes
    assert (one.x, one.width) == (LABEL, WIDTH - LABEL)
    assert (two.x, two.width) == (LABEL + (WIDTH - LABEL) / 2, (WIDTH - LABEL) / 2)
    assert two.failures == [(LABEL + (WIDTH - LABEL) * 3 / 4, (WIDTH - LABEL) / 4)]
    assert found.note == "Finished within 0 % of each other."


def test_a_shard_that_the_others_waited_for_is_named() -> None:
    found = shard_chart([shard("1", 0, 500), shard("2", 0, 1000)], {}, NOW)
    assert found is not None
    assert found.note == "Shard 2 finished last: the others waited up to 50 % of the time."


def test_what_still_runs_reaches_to_the_present_and_lost_shards_are_marked() -> None:
    shards = [shard("1", -1000, None, "running"), shard("2", -1000, -500, "lost")]
    found = shard_chart(shards, {"1": [(NOW - 900, 99_999_999), (NOW - 9000, 5)]}, NOW)
    assert found is not None
    assert [lane.kind for lane in found.lanes] == ["running", "lost"]
    assert found.note == ""
    assert all(0 <= x <= x + width <= WIDTH for lane in found.lanes for x, width in lane.failures)


def test_the_number_of_lanes_is_bounded() -> None:
    found = shard_chart([shard(str(n), 0, 10) for n in range(100)], {}, NOW)
    assert found is not None
    assert len(found.lanes) == MAX_LANES
