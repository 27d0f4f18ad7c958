"""Failures of one cause have one fingerprint, whatever their numbers, addresses and quoted values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tms import wire
from pytest_tms.server.domain.failure_causes import (
    MAX_LOCATION,
    MAX_MESSAGE,
    FailureCause,
    Frame,
    cause,
    cause_of,
    fingerprint_of,
    normalise,
    number_of,
)

IN_HELPER = """\
    def test_pay():
>       charge(3)

tests/test_pay.py:10:
_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _

amount = 3

    def charge(amount):
>       raise ValueError(amount)
E       ValueError: 3

shop/payment.py:25: ValueError"""
IN_LIBRARY = """\
    def test_pay():
>       requests.get(URL)

tests/test_pay.py:10:
_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _

    def get(url):
>       raise ConnectionError(url)
E       requests.exceptions.ConnectionError: refused

/venv/lib/python3.11/site-packages/requests/adapters.py:700: ConnectionError"""
NATIVE = """\
Traceback (most recent call last):
  File "tests/conftest.py", line 3, in database
    connect()
  File "/usr/lib/python3.11/socket.py", line 800, in connect
    raise OSError(111)
OSError: [Errno 111] Connection refused"""


def test_only_a_failed_test_has_a_cause() -> None:
    assert cause_of(wire.TestResult(title="a", status="passed")) is None
    assert cause_of(wire.TestResult(title="a", status="skipped", error="not on Windows")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("assert 3 == 4", "assert # == #"),
        ("user 'ada' has 3 'keys'", "user '…' has # '…'"),
        ('can\'t open "x.txt"', 'can\'t open "…"'),
        ("<Page object at 0x7f00deadbeef>", "<Page object at <address>>"),
        ("order 123e4567-e89b-12d3-a456-426614174000 is lost", "order <uuid> is lost"),
        ("late since 2026-11-26T10:00:00.123Z, at 10:00:01", "late since <time>, at <time>"),
        ("no file /tmp/pytest-of-me/pytest-3/a.txt: gone", "no file <temporary path>: gone"),
        ("commit 0123456789abcdef is unknown", "commit <hash> is unknown"),
        ("took 1.5e3 ms (limit -2)", "took # ms (limit #)"),
        ("port8080 of web-2", "port# of web-#"),
        ("  two\n lines\t", "two lines"),
    ],
)
def test_values_that_differ_are_replaced(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_the_exception_is_not_repeated_in_the_message() -> None:
    found = cause(error="shop.errors.PaymentError: card 4711 refused")
    assert (found.exception, found.message) == ("shop.errors.PaymentError", "card # refused")
    sent = cause(error="PaymentError: card 4711 refused", exception="shop.errors.PaymentError")
    assert (sent.exception, sent.message) == (found.exception, found.message)


def test_the_location_is_the_last_own_frame() -> None:
    found = cause(error="ValueError: 3", traceback=IN_HELPER, function="test_pay")
    assert found.location == "shop/payment.py in charge"
    assert cause(error="OSError: x", traceback=NATIVE).location == "tests/conftest.py in database"
    assert cause(error="", traceback=NATIVE).message == "[Errno #] Connection refused"


def test_an_error_that_a_library_raises_in_many_tests_has_one_cause() -> None:
    one = cause(error="ConnectionError: refused", traceback=IN_LIBRARY, function="test_pay")
    other = cause(
        error="ConnectionError: refused",
        traceback=IN_LIBRARY.replace("test_pay", "test_order"),
        function="test_order",
    )
    assert one.location == ""
    assert one == other


def test_assertions_of_different_tests_have_different_causes() -> None:
    found = {
        cause(
            error="assert 500 == 200",
            frames=[Frame("tests/test_a.py", name, True)],
            function=name,
        ).fingerprint
        for name in ("test_one", "test_two")
    }
    assert len(found) == 2


def test_a_failure_without_any_text_has_its_outcome() -> None:
    assert cause(error="", outcome="crashed").message == "crashed"
    assert cause(error="").message == "failed"


def test_a_fingerprint_is_stored_as_a_number() -> None:
    found = cause(error="x")
    assert fingerprint_of(found.number) == found.fingerprint
    for wrong in ("", "xyz", "0" * 17, "A" * 16, "0" * 15 + "\n"):
        with pytest.raises(ValueError, match="16 hexadecimal digits"):
            number_of(wrong)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(min_value=0), st.integers(min_value=0), st.text("abc xyz:=<>", max_size=30))
def test_numbers_do_not_change_the_cause(one: int, other: int, words: str) -> None:
    def found(number: int) -> FailureCause:
        return cause(error=f"ValueError: {words} {number} {words}")

    assert found(one) == found(other)


@settings(deadline=None)  # the machine may be busy
@given(st.text(), st.text(), st.text(), st.text())
def test_any_text_has_a_cause_within_its_limits(error: str, traceback: str, function: str, name: str) -> None:
    found = cause(error=error, traceback=traceback, function=function, exception=name)
    assert len(found.message) <= MAX_MESSAGE
    assert len(found.location) <= MAX_LOCATION
    assert "\x00" not in "".join(found)
    assert number_of(found.fingerprint) == found.number
