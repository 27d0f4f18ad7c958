"""The shards of a run compared with its plan and the ideal."""

from __future__ import annotations

from pytest_tms import wire
from pytest_tms.server.domain.executions import Shard
from pytest_tms.server.domain.shard_balance import MAX_LANES, Balance, RanTests, balance

START = 1_750_000_000_000


def shard(shard_id: str, start: int, end: int | None, status: wire.ShardState = "completed") -> Shard:
    """A shard by its times in seconds since the start of the run."""
    return Shard(
        shard_id=shard_id,
        status=status,
        started_at=START + 1000 * start,
        ended_at=None if end is None else START + 1000 * end,
    )


def ran(start: int, longest: int = 5) -> RanTests:
    return RanTests(10, START + 1000 * start, 1000 * longest)


def made(found: Balance | None) -> Balance:
    assert found is not None
    return found


def test_lanes_have_starts_ends_plans_and_idle_times() -> None:
    shards = [shard("1", 0, 100), shard("2", 20, 60), shard("3", 45, 110)]
    times = {"1": ran(10), "2": ran(25), "3": ran(50)}
    found = made(balance(shards, times, {"1": 80_000, "3": 70_000}, now=START))
    assert [(lane.shard_id, lane.start, lane.ready, lane.end, lane.idle) for lane in found.lanes] == [
        ("1", 0, 10_000, 100_000, 10_000),
        ("2", 20_000, 25_000, 60_000, 50_000),
        ("3", 45_000, 50_000, 110_000, 0),
    ]
    assert [lane.planned for lane in found.lanes] == [80_000, None, 70_000]
    assert [lane.actual for lane in found.lanes] == [90_000, 35_000, 60_000]
    assert (found.took, found.idle) == (110_000, 60_000)
    # 185 seconds of work; the first shard does 15 and both 50 before the third is ready, which leaves 120.
    assert found.ideal == 90_000
    assert (found.x(0), found.x(55_000), found.x(110_000), found.x(999_000)) == (0, 50, 100, 100)


def test_the_ideal_is_not_before_the_end_of_the_longest_test() -> None:
    shards = [shard("1", 0, 100), shard("2", 0, 10)]
    found = made(balance(shards, {"1": ran(0, 95), "2": ran(0, 1)}, {}, now=START))
    assert (found.ideal, found.took) == (95_000, 100_000)


def test_more_shards_are_advised_if_they_save_time() -> None:
    shards = [shard("1", 0, 310), shard("2", 0, 310)]
    found = made(balance(shards, {"1": ran(10, 60), "2": ran(10, 60)}, {}, now=START))
    assert found.advised is not None
    assert (found.advised.shards, found.advised.time, found.advised.saved) == (10, 70_000, 240_000)
    assert [each.shards for each in found.options] == [1, 2, 3, 4, 10]
    assert found.options[1].saved == 0


def test_fewer_shards_are_advised_if_they_take_no_longer() -> None:
    shards = [shard(str(number), 0, 40 if number else 100) for number in range(8)]
    times = {str(number): ran(30, 10 if number else 70) for number in range(8)}
    found = made(balance(shards, times, {}, now=START))
    assert found.advised is not None
    assert (found.advised.shards, found.advised.saved) == (2, 0)


def test_nothing_is_advised_if_little_is_saved() -> None:
    shards = [shard("1", 0, 100), shard("2", 0, 100)]
    assert made(balance(shards, {"1": ran(30, 70), "2": ran(30, 70)}, {}, now=START)).advised is None


def test_shards_that_run_end_now_and_those_without_times_of_tests_are_ready_at_once() -> None:
    shards = [shard("1", 0, None, "running"), shard("2", 5, 20)]
    found = made(balance(shards, {}, {}, now=START + 30_000))
    assert [(lane.ready, lane.end, lane.idle) for lane in found.lanes] == [
        (0, 30_000, 0),
        (5_000, 20_000, 10_000),
    ]
    assert balance([Shard(shard_id="1")], {}, {}, now=START) is None


def test_tests_by_another_clock_and_runs_of_no_length_are_drawn() -> None:
    found = made(balance([shard("1", 0, 10)], {"1": ran(-500)}, {}, now=START))
    assert (found.lanes[0].ready, found.lanes[0].actual) == (0, 10_000)
    found = made(balance([shard("1", 0, 10)], {"1": ran(500)}, {}, now=START))
    assert (found.lanes[0].ready, found.lanes[0].actual) == (10_000, 0)
    found = made(balance([shard("1", 0, 0)], {}, {}, now=START))
    assert (found.took, found.ideal, found.advised) == (1, 0, None)


def test_the_number_of_lanes_is_limited() -> None:
    shards = [shard(str(number), 0, 10) for number in range(MAX_LANES + 5)]
    found = made(balance(shards, {}, {}, now=START))
    assert (len(found.lanes), found.left_out) == (MAX_LANES, 5)
