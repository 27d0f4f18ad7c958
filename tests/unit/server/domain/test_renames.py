"""Which tests may be earlier ones under another name."""

from __future__ import annotations

import pytest

from pytest_tms.server.domain.renames import MAX_PAIRS, NamedTest, possible_renames


def named(first: int, *node_ids: str, title: str = "") -> list[NamedTest]:
    return [
        NamedTest(number, title or each.partition("::")[2], each.partition("::")[0], each)
        for number, each in enumerate(node_ids, first)
    ]


@pytest.mark.parametrize(
    ("ended", "begun", "expected"),
    [
        (["a.py::test_x"], ["b.py::test_x"], [(10, 1, "the same name in another file")]),
        (["a.py::test_pay_card"], ["a.py::test_pays_card"], [(10, 1, "a similar name in the same file")]),
        (
            ["a.py::test_alpha"],
            ["a.py::test_zzz"],
            [(10, 1, "the only test that ended and began in the file")],
        ),
        (["a.py::test_alpha"], ["b.py::test_zzz"], []),
        (["a.py::test_q", "a.py::test_w"], ["a.py::test_zzzzzzzzzzzzzzz"], []),  # which one?
        (["a.py::test_x", "b.py::test_x"], ["c.py::test_x"], []),  # which one?
        (
            ["a.py::test_old[1]", "a.py::test_old[2]"],
            ["a.py::test_older[1]", "a.py::test_older[2]"],
            [(10, 1, "a similar name in the same file"), (11, 2, "a similar name in the same file")],
        ),
        (["a.py::test_old[1]"], ["a.py::test_old[2]"], []),  # another parameter is another test
        (
            ["a.py::test_pays", "a.py::test_pays_by_card"],
            ["a.py::test_pays_by_cards", "a.py::test_pay"],
            [(10, 2, "a similar name in the same file"), (11, 1, "a similar name in the same file")],
        ),
        (["a.py::A::test_x"], ["a.py::B::test_x"], [(10, 1, "a similar name in the same file")]),
        ([], ["a.py::test_x"], []),
    ],
)
def test_pairs(ended: list[str], begun: list[str], expected: list[tuple[int, int, str]]) -> None:
    found = possible_renames(named(1, *ended), named(10, *begun))
    assert sorted(found) == sorted(expected)


def test_a_title_of_its_own_identifies_a_test() -> None:
    ended, begun = named(1, "a.py::test_x", title="Pays"), named(2, "b.py::test_y", title="Pays")
    assert possible_renames(ended, begun) == [(2, 1, "the same title")]


def test_tests_without_a_node_id_have_their_title() -> None:
    found = possible_renames(
        [NamedTest(1, "pays by card", "a.js", "")], [NamedTest(2, "pays by card", "b.js", "")]
    )
    assert found == [(2, 1, "the same name in another file")]


def test_many_tests_are_compared_in_bounded_time() -> None:
    number = MAX_PAIRS // 10
    ended = named(1, *(f"a.py::test_old_{n}" for n in range(number)))
    begun = named(10_000, *(f"a.py::test_new_{n}" for n in range(number)))
    assert len(possible_renames(ended, begun)) <= number
