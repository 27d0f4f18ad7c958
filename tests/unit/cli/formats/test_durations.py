"""Durations of every locale and unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.cli.formats.durations import milliseconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.5", 1500),
        ("1,5", 1500),
        ("0,25", 250),
        (".5", 500),
        ("2.", 2000),
        ("1e-3", 1),
        ("1,5E-02", 15),
        ("+1.5", 1500),
        ("1.234,5", 1_234_500),
        ("1,234.5", 1_234_500),
        ("1 234,5", 1_234_500),
        ("1\u00a0234,5", 1_234_500),
        ("1\u202f234,5", 1_234_500),
        ("1'234.5", 1_234_500),
        ("1’234.5", 1_234_500),
        ("1_234.5", 1_234_500),
        ("1.234.567,5", 1_234_567_500),
        ("1,234,567", 1_234_567_000),
        ("12,34,567.5", 1_234_567_500),
        ("١٫٥", 1500),
        ("80ms", 80),
        ("80 ms", 80),
        ("1.5s", 1500),
        ("1,5 s", 1500),
        ("1,234.5 ms", 1234),
        ("5 seconds", 5000),
        ("1500µs", 2),
        ("2m3s", 123_000),
        ("1h 2m 3.5s", 3_723_500),
        ("1 minute, 3 seconds", 63_000),
        ("PT1.5S", 1500),
        ("PT1H2M3,5S", 3_723_500),
        ("P1DT1S", 86_401_000),
        ("00:01:02.5", 62_500),
        ("01:02", 62_000),
        ("1.02:03:04.5", 93_784_500),
        ("0", 0),
        ("-0.0", 0),
    ],
)
def test_durations_of_every_locale_and_unit_are_understood(text: str, expected: int) -> None:
    assert milliseconds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            None,
            "nan",
            "NaN",
            "inf",
            "-Infinity",
            "-1",
            "−1",
            "-80ms",
            "soon",
            "1.2.3",
            "1 2 3",
            "P",
            "PT",
        ),
        *("1:2:3:4", "12 apples", "0x10", "1e400", "9" * 400, "1..5", "ms", "1ms2", "--1"),
    ],
)
def test_what_is_not_a_duration_is_left_out(text: str | None) -> None:
    assert milliseconds(text) is None


@given(st.text() | st.text("0123456789.,' eE+-:PTHMSDmsh\u202f"))
def test_any_duration_is_a_number_or_nothing(text: str) -> None:
    found = milliseconds(text)
    assert found is None or 0 <= found <= 10**12
