"""The excerpt of a failure."""

from __future__ import annotations

from pytest_tms.server.domain.error_excerpts import MAX_LINES, ExcerptLine, excerpt

TRACEBACK = """\
    def test_vat():
>       assert vat("DE") == "1.90"
E       AssertionError: assert '0.19' == '1.90'
E
E         - 1.90
E         + 0.19
E        +  where '0.19' = vat('DE')

tests/prices/test_vat.py:41: AssertionError"""


def test_the_lines_of_the_error_and_its_place_are_shown() -> None:
    assert excerpt("AssertionError: assert '0.19' == '1.90'", TRACEBACK) == [
        ExcerptLine("", "AssertionError: assert '0.19' == '1.90'"),
        ExcerptLine("", ""),
        ExcerptLine("removed", "  - 1.90"),
        ExcerptLine("added", "  + 0.19"),
        ExcerptLine("", " +  where '0.19' = vat('DE')"),
        ExcerptLine("place", "tests/prices/test_vat.py:41: AssertionError"),
    ]


def test_of_several_errors_the_last_is_shown() -> None:
    chained = f"E   KeyError: 1\n\na.py:1: KeyError\n\nDuring handling of the above:\n\n{TRACEBACK}"
    assert excerpt("", chained)[0].text.startswith("AssertionError")


def test_without_a_traceback_the_error_is_shown() -> None:
    assert excerpt("worker 'gw3' crashed\nwhile running t", "") == [
        ExcerptLine("", "worker 'gw3' crashed"),
        ExcerptLine("", "while running t"),
    ]
    assert excerpt("", "") == []


def test_an_excerpt_is_short_and_plain() -> None:
    lines = excerpt("", "\n".join(["E   \x1b[31m" + "x" * 900] * 20))
    assert len(lines) == MAX_LINES + 1
    assert all(len(line.text) <= 400 and "\x1b" not in line.text for line in lines)
