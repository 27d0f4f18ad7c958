"""The layout of a timeline."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest

from pytest_tms.server.domain.timelines import (
    MAX_BARS,
    MAX_LANES,
    WIDTH,
    Kind,
    Stretch,
    Timeline,
    layout,
    ticks,
)

START = 1_700_000_000_000


def stretch(start: int, end: int, kind: Kind = "passed", worker: str = "gw0", tests: int = 1) -> Stretch:
    return Stretch("1", worker, kind, tests, START + start, START + end, end - start, start)


def drawn(stretches: Iterable[Stretch], **more: int) -> Timeline:
    found = layout(stretches, origin=START, **more)
    assert found is not None
    return found


def test_nothing_that_ran_gives_no_timeline() -> None:
    assert layout([], origin=START) is None


def test_bars_are_where_their_tests_ran_and_gaps_stay_visible() -> None:
    lane = drawn([stretch(0, 250), stretch(500, 1000, "failed")]).lanes[0]
    assert [(bar.x, bar.width, bar.kind) for bar in lane.bars] == [(0, 250, "passed"), (500, 500, "failed")]
    assert (lane.tests, lane.failed, lane.busy, lane.idle) == (2, 1, 750, 250)


def test_each_long_test_is_a_bar_of_its_own() -> None:
    bars = drawn([stretch(0, 500), stretch(500, 1000)]).lanes[0].bars
    assert [bar.sequence for bar in bars] == [0, 500]


def test_what_is_narrower_than_a_pixel_is_merged_and_counted() -> None:
    short = [stretch(n * 10, n * 10 + 10) for n in range(10_000)]
    bars = drawn(short).lanes[0].bars
    assert len(bars) == 1
    assert bars[0].tests == 10_000
    assert bars[0].sequence is None


def test_a_short_failure_among_short_tests_stays_a_failure() -> None:
    tests = [stretch(n * 10, n * 10 + 10, "failed" if n == 500 else "passed") for n in range(10_000)]
    bars = drawn(tests).lanes[0].bars
    failed = [bar for bar in bars if bar.kind == "failed"]
    assert len(failed) == 1
    assert failed[0].failed == 1
    assert failed[0].width < 5


def test_the_number_of_bars_is_bounded() -> None:
    tests = [
        stretch(n * 1000, n * 1000 + 500, "failed" if n % 2 else "skipped", f"gw{worker}")
        for n in range(900)
        for worker in range(20)
    ]
    found = drawn(tests)
    assert len(found.lanes) == 20
    assert 20 <= sum(len(lane.bars) for lane in found.lanes) <= MAX_BARS
    assert sum(bar.tests for lane in found.lanes for bar in lane.bars) == 900 * 20


def test_the_number_of_lanes_is_bounded() -> None:
    found = drawn([stretch(0, 10, worker=f"gw{n}") for n in range(MAX_LANES + 5)])
    assert len(found.lanes) == MAX_LANES
    assert found.left_out == 5
    assert [lane.worker for lane in found.lanes[:3]] == ["gw0", "gw1", "gw2"]


def test_a_part_has_what_reaches_into_it() -> None:
    found = drawn(
        [stretch(0, 600), stretch(700, 800), stretch(900, 1000)], start=START + 500, end=START + 850
    )
    assert [(bar.x, bar.tests) for bar in found.lanes[0].bars] == [(0, 1), (pytest.approx(571.43), 1)]
    assert all(0 <= bar.x <= bar.x + bar.width <= WIDTH for bar in found.lanes[0].bars)


@pytest.mark.parametrize("span", [1, 7, 999, 61_000, 3_600_000, 40 * 86_400_000])
def test_ticks_are_few_and_evenly_spaced(span: int) -> None:
    marks = ticks(START, START + span, START)
    assert 1 <= len(marks) <= 8
    assert marks[0] == (0, 0)
    assert len({after.at - before.at for before, after in pairwise(marks)}) <= 1


def test_ticks_count_from_the_origin() -> None:
    marks = ticks(START + 61_000, START + 119_000, START)
    assert [mark.at for mark in marks] == [70_000, 80_000, 90_000, 100_000, 110_000]
