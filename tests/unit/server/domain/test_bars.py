from __future__ import annotations

from pytest_tms import wire
from pytest_tms.server.domain.bars import bar_of


def counts(**numbers: int) -> wire.Counts:
    return wire.Counts(**numbers)


def test_the_parts_fill_the_bar_in_order_of_their_importance() -> None:
    parts = bar_of(counts(total=10, passed=7, failed=2, skipped=1, flaky=1))
    assert [(part.kind, part.start, part.width) for part in parts] == [
        ("failed", 0, 20),
        ("flaky", 20, 10),
        ("passed", 30, 60),
        ("skipped", 90, 10),
    ]


def test_tests_that_did_not_run_leave_a_gap() -> None:
    assert bar_of(counts(total=5, passed=5), not_run=5)[-1].width == 50
    assert bar_of(counts(total=5, passed=5), collected=20)[-1].width == 25


def test_one_failure_and_one_test_that_did_not_run_are_seen_among_many() -> None:
    failed, passed = bar_of(counts(total=100_000, passed=99_999, failed=1), not_run=1)
    assert failed.width >= 0.8
    assert failed.width + passed.width <= 99.2


def test_without_results_the_bar_is_empty() -> None:
    assert bar_of(counts()) == []
