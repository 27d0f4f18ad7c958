"""JUnit XML: messages, tracebacks and reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_tms.cli.formats.bounded_text import BoundedText
from pytest_tms.text import clean
from tests.helpers.report_files import result_of_case


@pytest.mark.parametrize(
    ("inside", "error", "longrepr"),
    [
        ("<failure>one <b>x</b> two</failure>", "one x two", "one x two"),
        ("<failure>one <b>x <i>y</i></b> <![CDATA[<two>]]></failure>", "one x y <two>", "one x y <two>"),
        ('<failure message="Expected: 1&#10;But was: 2"/>', "Expected: 1\nBut was: 2", "Expected: 1\nBut was: 2"),
        ('<error message="Expected: 1&#10;But was: 2">at A</error>', "Expected: 1\nBut was: 2", "Expected: 1\nBut was: 2\n\nat A"),
        ('<failure message="a&#10;b">E: a\n  b\nat A</failure>', "a", "E: a\n  b\nat A"),
        ('<failure message="a">at A</failure>', "a", "at A"),
        ('<failure message="a&#10;b">&gt; assert 0\nE   a\nE     b</failure>', "a", "> assert 0\nE   a\nE     b"),
        ('<failure message="a"/><failure message="b"/>', "a", "a\n\nb"),
        ('<failure message="a">at A</failure><error message="b">at B</error>', "a", "a\n\nat A\n\nb\n\nat B"),
        ('<failure message="a">E a</failure><error message="b">B: b!</error>', "a", "E a\n\nB: b!"),
        ('<failure message="no" type="x.BadError">\n    at A\n      at B\n</failure>', "x.BadError: no", "    at A\n      at B"),
        ("<failure/>", None, None),
        ("<assertions><failure>deep</failure></assertions>", "deep", "deep"),
        ("<failure><message>m</message><stack-trace>at A</stack-trace></failure>", "m", "at A"),
        ("<failure>a<testcase name='x'/><failure>b</failure></failure>", "ab", "ab"),
        ("<skipped>later</skipped><failure>no</failure>", "no", "no"),
    ],
)  # fmt: skip
def test_the_whole_text_of_a_failure_is_kept(
    tmp_path: Path, inside: str, error: str | None, longrepr: str | None
) -> None:
    result = result_of_case(tmp_path, inside)
    assert (result.status, result.error, result.longrepr) == ("failed", error, longrepr)


def test_a_message_of_one_long_line_is_kept_whole(tmp_path: Path) -> None:
    message = "x" * 1500 + "the end"
    result = result_of_case(tmp_path, f'<failure message="{message}">at A</failure>')
    assert result.longrepr == f"{message}\n\nat A"
    assert result.error is not None
    assert len(result.error) <= 1000


@pytest.mark.parametrize(
    ("inside", "error", "longrepr"),
    [
        ("<skipped/>", None, None),
        ('<skipped message="later"/>', "later", None),
        ("<skipped>\n later\n</skipped>", "later", None),
        ("<skipped>needs\na database</skipped>", "needs\na database", None),
        ('<skipped message="needs&#10;a database"/>', "needs\na database", None),
        ('<skipped message="a"/><skipped message="b"/>', "a", "a\n\nb"),
        ('<skipped message="a">File "x.py", line 3</skipped>', "a", 'File "x.py", line 3'),
    ],
)
def test_every_line_of_a_skip_is_kept(
    tmp_path: Path, inside: str, error: str | None, longrepr: str | None
) -> None:
    result = result_of_case(tmp_path, inside)
    assert (result.status, result.error, result.longrepr) == ("skipped", error, longrepr)


def test_a_long_text_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(100_000))
    result = result_of_case(tmp_path, f"<failure>{text}</failure><system-out>{text}</system-out>")
    for kept in (result.longrepr, result.stdout):
        assert kept is not None
        assert kept.startswith("line 0\nline 1\n")
        assert kept.rstrip().endswith("line 99999")
        assert "characters left out" in kept
        assert len(kept) < 110_000


@pytest.mark.parametrize("length", [0, 1, 99_999, 100_000, 100_001, 199_999, 350_000, 1_000_000])
@pytest.mark.parametrize("size", [7, 1000, 250_000])
def test_text_in_pieces_is_cut_as_whole_text_is(length: int, size: int) -> None:
    whole = "".join(chr(97 + number % 26) for number in range(length))
    text = BoundedText()
    for start in range(0, length, size):
        text.append(whole[start : start + size])
    assert str(text) == clean(whole, limit=100_000)
