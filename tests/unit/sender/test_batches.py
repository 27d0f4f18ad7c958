"""Grouping of a journal's lines into messages."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from pytest_tms.journal import lines
from pytest_tms.journal.lines import AnyLine, Begun, ShardStarted
from pytest_tms.sender import batches
from pytest_tms.sender.batches import Batch, ReadLine, group_lines


def result_line(number: int, shard: str = "1", *, again: bool = False) -> lines.Tested:
    return lines.Tested(shard=shard, id=number, again=again, test=msgspec.Raw(b"{}"))


def read(each: Iterable[AnyLine]) -> list[ReadLine]:
    """Lines of ten bytes each."""
    return [ReadLine(10 * number, line, 10) for number, line in enumerate(each, 1)]


def test_tests_of_several_shards_are_one_batch() -> None:
    found = read([result_line(1, "1"), result_line(2, "2"), result_line(3, "1")])
    (batch,) = group_lines(found, {})
    assert isinstance(batch, Batch)
    assert batch.position == 30
    assert {shard: [test.id for test in tests] for shard, tests in batch.tests.items()} == {
        "1": [1, 3],
        "2": [2],
    }


def test_a_line_with_a_call_of_its_own_ends_a_batch() -> None:
    found = read([result_line(1), ShardStarted(shard="2"), result_line(2)])
    first, line, second = group_lines(found, {})
    assert (first.position, line.position, second.position) == (10, 20, 30)
    assert isinstance(line, ReadLine)
    assert line.line == ShardStarted(shard="2")


def test_a_line_without_a_call_belongs_to_the_batch_around_it() -> None:
    (batch,) = group_lines(
        read([result_line(1), Begun(n=2, name="a"), result_line(2), Begun(n=3, name="b")]), {}
    )
    assert batch.position == 40


def test_lines_without_calls_advance_the_position() -> None:
    assert list(group_lines(read([Begun(n=1, name="a")]), {})) == [Batch(10, {})]


def test_a_test_with_another_result_is_in_the_next_batch() -> None:
    first, second = group_lines(read([result_line(1), result_line(1, again=True)]), {})
    assert (first.position, second.position) == (10, 20)


def test_delivered_tests_of_a_shard_are_left_out() -> None:
    (batch,) = group_lines(read([result_line(1, "1"), result_line(2, "2"), result_line(3, "1")]), {"1": 10})
    assert isinstance(batch, Batch)
    assert [test.id for tests in batch.tests.values() for test in tests] == [2, 3]


@pytest.mark.parametrize(("name", "limit"), [("MAX_TESTS", 2), ("MAX_BYTES", 15)])
def test_a_batch_has_a_limit(name: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, name, limit)
    positions = [step.position for step in group_lines(read(map(result_line, range(1, 6))), {})]
    assert positions == [20, 40, 50]


def test_no_lines_are_no_batch() -> None:
    assert list(group_lines([], {})) == []


def test_further_results_of_tests_of_earlier_messages_are_one_batch() -> None:
    found: list[AnyLine] = [result_line(1), result_line(2), ShardStarted(shard="2")]
    again = [result_line(1, again=True), result_line(2, again=True), result_line(1, "2", again=True)]
    steps = list(group_lines(read([*found, *again, result_line(1, again=True)]), {}))
    sizes = [sum(map(len, step.tests.values())) if isinstance(step, Batch) else 0 for step in steps]
    assert sizes == [2, 0, 3, 1]
