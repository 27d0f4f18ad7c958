"""Escape sequences of terminals: colours become classes, everything else is removed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.server.domain import ansi
from pytest_tms.server.domain.ansi import Span

ESCAPES = st.sampled_from(
    [
        "\x1b[31m",
        "\x1b[0m",
        "\x1b[1;38;5;208m",
        "\x1b[48;2;1;2;3m",
        "\x1b[2K",
        "\x1b]8;;x\x07",
        "\x1b",
        "\x1b[",
    ]
)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("", []),
        ("plain\n", [("plain\n", "")]),
        ("\x1b[31mred\x1b[0m end", [("red", "ansi-red"), (" end", "")]),
        ("\x1b[1;4mx\x1b[22my", [("x", "ansi-bold ansi-underline"), ("y", "ansi-underline")]),
        ("\x1b[91;42mx", [("x", "ansi-red ansi-on-green")]),
        ("\x1b[38;5;196mx\x1b[39my", [("x", "ansi-red"), ("y", "")]),
        ("\x1b[38;5;250mx", [("x", "ansi-white")]),
        ("\x1b[48:2:0:0:250mx", [("x", "ansi-on-blue")]),
        ("\x1b[31ma\x1b[31mb", [("ab", "ansi-red")]),
        ("a\x1b[2Kb\x1b]0;title\x07c\x1b]8;;http://x\x1b\\d\x1b(Be", [("abcde", "")]),
        ("\x1b[31", []),
        ("end\x1b", [("end", "")]),
        ("\x1b[mx\x1b[99999999999my", [("xy", "")]),
    ],
)
def test_colours_become_classes(text: str, spans: list[tuple[str, str]]) -> None:
    assert ansi.spans(text) == [Span(*each) for each in spans]


@given(st.lists(st.one_of(st.text(max_size=20), ESCAPES), max_size=20).map("".join))
def test_text_is_preserved(text: str) -> None:
    spans = ansi.spans(text)
    assert "".join(span.text for span in spans) == ansi.plain(text)
    assert all(span.text for span in spans)
    assert "\x1b" not in ansi.plain(text)
    names = {f"{on}{name}" for name in ansi.NAMES for on in ("ansi-", "ansi-on-")}
    names |= {f"ansi-{name}" for name in ("bold", "dim", "italic", "underline", "inverse", "strike")}
    assert {name for span in spans for name in span.classes.split()} <= names


def test_spans_are_limited_and_the_text_is_whole() -> None:
    text = "\x1b[31ma\x1b[32mb" * 1000
    spans = ansi.spans(text, 10)
    assert len(spans) <= 11
    assert "".join(span.text for span in spans) == "ab" * 1000


@pytest.mark.parametrize("unit", ["\x1b[", "\x1b]", "\x1b]x", "\x1bP", "\x1b[0;", "\x1b[31m", "\x1b[0"])
def test_hostile_text_takes_linear_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    start = time.process_time()
    ansi.spans(text)
    ansi.spans(unit + "0" * 1_000_000)
    assert time.process_time() - start < 10
