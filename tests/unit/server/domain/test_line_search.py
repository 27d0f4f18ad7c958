"""Search in the lines of a text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.server.domain.line_search import matching_lines


def test_matching_lines_are_numbered() -> None:
    assert matching_lines("One\ntwo\r\nnone", "ONE") == "     1  One\n     3  none\n"
    assert matching_lines("One\ntwo", "three") == "No line has this text.\n"


@given(st.text(), st.text(min_size=1, max_size=5))
def test_every_line_with_the_words_is_found_and_no_other(text: str, words: str) -> None:
    expected = [line for line in text.splitlines() if words.casefold() in line.casefold()]
    found = matching_lines(text, words)
    assert found.count("\n") >= max(1, len(expected))
    for line in expected:
        assert f"  {line}\n" in found
