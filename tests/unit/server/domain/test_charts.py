"""Bars of charts are within the chart, in order, and visible."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tms.server.domain.charts import HEIGHT, MAX_BAR, WIDTH, bars, level


def test_the_largest_value_has_the_highest_bar() -> None:
    low, high, none = bars([1, 2, 0])
    assert (high.y, high.height, low.height) == (0, HEIGHT, HEIGHT / 2)
    assert none.height == 1


def test_few_bars_stand_beside_each_other_and_many_fill_the_chart() -> None:
    assert [(bar.x, bar.width) for bar in bars([1, 1])] == [(0, MAX_BAR), (MAX_BAR / 0.8, MAX_BAR)]
    assert bars([1] * 100)[-1].x == WIDTH * 0.99


def test_values_beyond_the_scale_end_at_its_edge() -> None:
    assert [level(5, 4), level(2, 4), level(0, 4), level(3, 0)] == [0, HEIGHT / 2, HEIGHT, HEIGHT]
    assert bars([]) == []


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.floats(0, 1e15), max_size=300))
def test_bars_are_within_the_chart(values: list[float]) -> None:
    found = bars(values)
    assert len(found) == len(values)
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH + 0.01 for bar in found)
    assert all(bar.y >= 0 and bar.height >= 1 and bar.y + bar.height <= HEIGHT + 0.01 for bar in found)
