"""Tracebacks of pytest in each style, as frames."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms import wire
from pytest_tms.server.domain.tracebacks import TracebackPart, parse_traceback

LONG = """\
    def test_a():
>       helper("{")

test_x.py:8:
_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _

x = '{'

    def helper(x):
        # a comment
>       json.loads(x)
E       ValueError: no
E         more of it

/usr/lib/python3.11/json/__init__.py:346: ValueError"""
SHORT = """\
test_x.py:8: in test_a
    helper("{")
../lib/helpers.py:6: in inner
    json.loads(x)
    ^^^^^^^^^^^^^
E   ValueError: no"""
NATIVE = """\
Traceback (most recent call last):
  File "/home/me/test_x.py", line 8, in test_a
    helper("{")
ValueError: no"""
CHAINED = f"{SHORT}\n\nThe above exception was the direct cause of the following exception:\n{SHORT}"


def frames(parts: list[TracebackPart]) -> list[tuple[Any, ...]]:
    return [(part.path, part.line, part.function, part.is_own) for part in parts if part.kind == "frame"]


def test_the_style_long() -> None:
    parts = parse_traceback(LONG)
    assert frames(parts) == [
        ("test_x.py", 8, "test_a", True),
        ("/usr/lib/python3.11/json/__init__.py", 346, "helper", False),
    ]
    assert [(line.kind, line.number, line.text) for line in parts[0].lines] == [
        ("source", 7, "def test_a():"),
        ("current", 8, '    helper("{")'),
    ]
    assert [(line.kind, line.number) for line in parts[-1].lines if line.text] == [
        ("text", None), ("source", 344), ("source", 345), ("current", 346), ("error", None), ("error", None)
    ]  # fmt: skip
    assert parts[-1].error == "ValueError"


def test_the_style_short() -> None:
    parts = parse_traceback(SHORT)
    assert frames(parts) == [("test_x.py", 8, "test_a", True), ("lib/helpers.py", 6, "inner", False)]
    assert [line.kind for line in parts[-1].lines] == ["current", "source", "error"]


def test_the_style_native() -> None:
    parts = parse_traceback(NATIVE)
    assert frames(parts) == [("/home/me/test_x.py", 8, "test_a", False)]
    assert parts[-1].raw == "ValueError: no"


def test_frames_that_were_sent_decide() -> None:
    sent = [
        wire.Frame(path="src/test_x.py", line=8, function="test_sent", is_own=True),
        wire.Frame(path="other/helpers.py", line=6, function="not_this", is_own=True),
    ]
    assert frames(parse_traceback(SHORT, sent)) == [
        ("src/test_x.py", 8, "test_sent", True),
        ("lib/helpers.py", 6, "inner", False),
    ]
    native = [wire.Frame(path="me/test_x.py", line=8, function="test_a", is_own=True)]
    assert frames(parse_traceback(NATIVE, native)) == [("me/test_x.py", 8, "test_a", True)]


def test_chained_exceptions_are_separated() -> None:
    kinds = [part.kind for part in parse_traceback(CHAINED) if part.raw.strip()]
    assert kinds == ["frame", "frame", "chain", "frame", "frame"]


@pytest.mark.parametrize(
    "text", ["", "worker 'gw0' crashed", "003 >>> 1 / 0\nUNEXPECTED EXCEPTION: x", "a: b: c", "12:30: note"]
)
def test_what_is_no_traceback_stays_text(text: str) -> None:
    assert [part.kind for part in parse_traceback(text)] in (["text"], ["frame"])
    assert "\n".join(part.raw for part in parse_traceback(text)) == text


LINES = st.sampled_from(
    [*LONG.split("\n"), *CHAINED.split("\n"), *NATIVE.split("\n"), "\r", "E", "x.py:1: y"]
)


@given(st.lists(st.one_of(st.text(), LINES)).map("\n".join))
def test_text_is_preserved(text: str) -> None:
    assert "\n".join(part.raw for part in parse_traceback(text)) == text


@pytest.mark.parametrize(
    "unit", ["a.py:1: in b\n", "x:", "E   x\n", ">   x\n", "_ ", '  File "', "x.py:1: y\n", "\n"]
)
def test_long_texts_take_linear_time(unit: str) -> None:
    start = time.process_time()
    text = unit * (500_000 // len(unit))
    assert "\n".join(part.raw for part in parse_traceback(text)) == text
    assert time.process_time() - start < 10
