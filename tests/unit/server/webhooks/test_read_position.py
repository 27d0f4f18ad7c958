"""Where due deliveries are read: from the start, unless that takes long."""

from __future__ import annotations

from pytest_tms.server.store.deliveries import DueDelivery
from pytest_tms.server.webhooks.delivery_worker import READ_ALL_INTERVAL, SETTLED, SLOW_READ, ReadPosition

NOW = 1_000_000_000


def rows(*numbers: int, age: int = SETTLED + 1) -> list[DueDelivery]:
    return [DueDelivery(each, f"msg_{each}", "exec_1", "x", "{}", 0, NOW - age) for each in numbers]


def test_fast_reads_begin_at_the_start() -> None:
    position = ReadPosition()
    for now in (1.0, 1.1, 1.2):
        assert position.start(now) == 0
        position.record(rows(5, 9), SLOW_READ / 2, now, NOW)


def test_after_a_slow_read_the_next_ones_begin_where_it_ended_for_a_while() -> None:
    position = ReadPosition()
    position.record(rows(5, 9), SLOW_READ, 1.0, NOW)
    assert position.start(1.1) == 9
    position.record(rows(12), SLOW_READ / 10, 1.1, NOW)
    assert position.start(1.2) == 12
    position.record([], SLOW_READ / 10, 1.2, NOW)
    assert position.start(1.0 + READ_ALL_INTERVAL) == 0
    position.record(rows(20), 1.0, 1.0 + READ_ALL_INTERVAL, NOW)
    assert position.start(20.0) == 20  # a very slow read is repeated more rarely
    assert position.start(22.1) == 0


def test_deliveries_that_were_just_written_are_not_passed() -> None:
    """A transaction with a lower number may not have been committed yet."""
    position = ReadPosition()
    position.record([*rows(5), *rows(9, age=SETTLED // 2)], SLOW_READ, 1.0, NOW)
    assert position.start(1.1) == 5
