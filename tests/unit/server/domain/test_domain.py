"""The rules, for any counts, states and tests."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tms import wire
from pytest_tms.errors import Conflict
from pytest_tms.server.domain import counts, states, test_keys
from pytest_tms.server.domain.executions import Execution, Shard
from pytest_tms.server.domain.ids import new_id

small = st.integers(0, 50)
maybe = st.none() | small
given_counts = st.builds(
    wire.ReportedCounts, total=maybe, passed=maybe, failed=maybe, skipped=maybe, flaky=maybe
).filter(lambda each: not counts.problems(each, ""))


@st.composite
def whole_counts(draw: st.DrawFn) -> wire.Counts:
    passed, failed, skipped = draw(small), draw(small), draw(small)
    flaky = draw(st.integers(0, passed))
    return wire.Counts(
        total=passed + failed + skipped, passed=passed, failed=failed, skipped=skipped, flaky=flaky
    )


shard_states = st.sampled_from(["pending", "running", "completed", "failed", "error", "lost", "cancelled"])
execution_states = st.sampled_from(["created", "running", "completed", "failed", "cancelled"])
events = st.sampled_from(sorted(states._BY_EVENT))
quick = settings(deadline=None, max_examples=100)


@quick
@given(given_counts, whole_counts())
def test_completed_counts_add_up_and_keep_every_one_that_was_given(
    asked: wire.ReportedCounts, derived: wire.Counts
) -> None:
    whole = counts.complete(asked, derived)
    if whole is None:
        assert asked == wire.ReportedCounts()
        return
    assert whole.total == whole.passed + whole.failed + whole.skipped
    assert 0 <= whole.flaky <= whole.passed
    for name in ("total", "passed", "failed", "skipped"):
        if (value := getattr(asked, name)) is not None:
            assert getattr(whole, name) == value
    assert min(whole.passed, whole.failed, whole.skipped) >= 0


@quick
@given(whole_counts(), st.none() | whole_counts())
def test_the_counts_to_show_never_hide_a_failure(sent: wire.Counts, given_counts: wire.Counts | None) -> None:
    shown = counts.effective(sent, given_counts)
    assert shown.total >= sent.total
    assert shown.failed == max(sent.failed, given_counts.failed if given_counts else 0)
    assert shown.total == shown.passed + shown.failed + shown.skipped
    assert 0 <= shown.flaky <= shown.passed
    assert min(shown.passed, shown.skipped) >= 0
    if given_counts is None or (given_counts.total >= sent.total and given_counts.failed >= sent.failed):
        assert shown == (given_counts or sent)


@quick
@given(st.lists(whole_counts(), min_size=1), st.data())
def test_a_change_leads_from_one_sum_to_the_next(rows: list[wire.Counts], data: st.DataObject) -> None:
    before, after = data.draw(st.sampled_from(rows)), data.draw(whole_counts())
    others = list(rows)
    others.remove(before)
    assert counts.add([counts.add(rows), counts.change(before, after)]) == counts.add([*others, after])


def test_a_sum_stays_within_what_a_database_and_json_hold() -> None:
    most = wire.Counts(total=wire.MAX_COUNT, passed=wire.MAX_COUNT)
    assert counts.add([most] * 2000) == most
    assert counts.add([most, *[counts.change(most, counts.NONE)] * 2000]) == counts.NONE


@pytest.mark.parametrize(
    ("asked", "bad"),
    [
        (wire.ReportedCounts(total=3, passed=1, failed=1, skipped=1), []),
        (wire.ReportedCounts(total=4, passed=1, failed=1, skipped=1), ["r.total"]),
        (wire.ReportedCounts(total=1, passed=2), ["r.total"]),
        (wire.ReportedCounts(total=9, passed=2), []),
        (wire.ReportedCounts(passed=2, flaky=2), []),
        (wire.ReportedCounts(total=1, passed=2, flaky=3), ["r.total", "r.flaky"]),
    ],
)
def test_counts_that_do_not_add_up_are_named(asked: wire.ReportedCounts, bad: list[str]) -> None:
    assert [problem.field for problem in counts.problems(asked, "r")] == bad


@quick
@given(execution_states, st.lists(events))
def test_an_execution_never_leaves_its_end_nor_goes_back(state: wire.ExecutionState, sent: list[str]) -> None:
    order = {"created": 0, "running": 1, "completed": 2, "failed": 2, "cancelled": 2}
    for event in sent:
        after = states.execution_after(state, event)
        assert after == state if state in states.ENDED else order[after] >= order[state]
        assert states.execution_after(after, event) == after
        state = after


@quick
@given(shard_states, st.lists(shard_states.filter(lambda state: state != "pending")))
def test_a_shard_stays_ended_unless_it_was_only_lost_and_a_cancelled_one_cancelled(
    state: wire.ShardState, reports: list[wire.ShardState]
) -> None:
    for report in reports:
        after = states.shard_after(state, report)
        assert after in states.FINISHED or state not in states.REPORTED_ENDS
        assert after == "cancelled" or state != "cancelled"
        assert states.shard_after(after, report) == after
        state = after


@quick
@given(
    st.integers(1, 5),
    st.lists(
        st.tuples(st.sampled_from("abcdef"), shard_states.filter(lambda s: s != "pending"), whole_counts())
    ),
)
def test_sums_are_those_of_the_shards_whatever_they_report_in_whatever_order(
    total: int, reports: list[tuple[str, wire.ShardState, wire.Counts]]
) -> None:
    execution = Execution(
        id="exec_x", test_suite="all", environment="dev", provider="p", trigger_source="api", configuration={},
        metadata={}, extra={}, token_hash="", created_at=0, shards_total=total,
    )  # fmt: skip
    shards: dict[str, Shard] = {}
    for name, status, sent in reports:
        before = shards.get(name)
        after = Shard(shard_id=name, derived=sent) if before is None else before
        after = Shard(shard_id=name, status=after.status, derived=sent).reported(status, now=1)
        execution = execution.with_shard(before, after)
        shards[name] = after
    assert execution.summed == counts.add([counts.NONE, *(shard.results for shard in shards.values())])
    assert execution.shards_finished == sum(shard.is_finished for shard in shards.values())
    assert execution.expected_shards == max(total, len(shards))


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_a_cancel_that_comes_too_late_names_the_state(state: wire.ExecutionState) -> None:
    with pytest.raises(Conflict, match=state):
        states.check_cancel(state, reports=False)
    states.check_cancel(state, reports=True)


names = st.sampled_from(["a", "a #2", "a #3", "b", "x" * 400, "x" * 399 + "y", "a\x00", "a\ufffd"])


@quick
@given(st.lists(st.builds(wire.TestResult, title=names, status=st.just("passed"), node_id=st.none() | names)))
def test_keys_are_as_many_as_the_tests_the_same_again_and_fit_an_index(tests: list[wire.TestResult]) -> None:
    keys = list(test_keys.keys(tests))
    assert len(set(keys)) == len(tests)
    assert keys == list(test_keys.keys(tests))
    assert all(len(key.encode()) < 2000 and "\x00" not in key for key in keys)


def test_ids_are_documented_unique_and_sorted_by_time() -> None:
    made = [new_id("exec") for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(len(each) == 31 and each.startswith("exec_") for each in made)
    assert sorted(each[:15] for each in made) == [each[:15] for each in made]
