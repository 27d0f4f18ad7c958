"""Differences below failed assertions: which lines they are, and which words are marked."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.server.domain.assertion_diffs import DiffLine, diff_lines, has_difference


def shown(line: DiffLine) -> tuple[str, str]:
    """The kind of a line, and its text with marked words in brackets."""
    return line.kind, "".join(f"[{part.text}]" if part.is_changed else part.text for part in line.parts)


def test_changed_words_are_marked() -> None:
    lines = [
        "AssertionError: assert 'one two' == 'one three'",
        "  ",
        "  - one two tree",
        "  ?      ^^",
        "  + one two three",
        "    four",
    ]
    assert [shown(line) for line in diff_lines(lines)] == [
        ("text", lines[0]),
        ("text", "  "),
        ("removed", "  - one two [tree]"),
        ("pointer", "  ?      ^^"),
        ("added", "  + one two [three]"),
        ("text", "    four"),
    ]


def test_several_lines_are_paired_in_their_order() -> None:
    lines = ["assert [1] == [2]", "Full diff:", "- a = 1", "- b = 1", "+ a = 2", "+ b = 2", "+ c = 2"]
    assert [shown(line)[1] for line in diff_lines(lines)][2:] == [
        "- a = [1]", "- b = [1]", "+ a = [2]", "+ b = [2]", "+ c = 2"
    ]  # fmt: skip


def test_the_difference_of_unittest_is_recognised() -> None:
    lines = ["AssertionError: 'ab c' != 'ab d'", "- ab c", "?    ^", "+ ab d", "?    ^"]
    kinds = [line.kind for line in diff_lines(lines)]
    assert kinds == ["text", "removed", "pointer", "added", "pointer"]


@pytest.mark.parametrize(
    "lines",
    [
        ["ValueError: two problems", "- one", "+ two"],
        ["- one", "+ two"],
        ["assert x", "-one", "+two"],
        ["assert x", "--- a", "+++ b"],
    ],
)
def test_lists_in_other_messages_are_text(lines: list[str]) -> None:
    assert not has_difference(diff_lines(lines))


def test_lines_that_have_nothing_in_common_are_not_marked() -> None:
    lines = diff_lines(["assert 'a' == 'b'", "- aaaaaa bbbbbb", "+ cccccc dddddd"])
    assert [shown(line)[1] for line in lines[1:]] == ["- aaaaaa bbbbbb", "+ cccccc dddddd"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["- ", "+ ", "? ", "  - ", "assert ", ""]), st.text("ab \n'")).map("".join)
    )
)
def test_text_is_preserved(lines: list[str]) -> None:
    lines = ["assert 1", *lines]
    assert [line.text for line in diff_lines(lines)] == lines


@pytest.mark.parametrize(
    "lines",
    [
        ["- " + "a b " * 4000, "+ " + "a c " * 4000] * 20,
        ["- " + "a" * 100_000, "+ " + "a" * 100_000] * 20,
        ["- a", "+ b"] * 20_000,
        ["- a"] * 20_000 + ["? ^"] * 20_000 + ["+ a"] * 20_000,
        ["? ^"] * 50_000,
    ],
    ids=["words", "long", "pairs", "blocks", "pointers"],
)
def test_large_differences_take_little_time(lines: list[str]) -> None:
    start = time.process_time()
    diff_lines(["assert x", *lines])
    assert time.process_time() - start < 10
