"""Which base URLs of a TMS are refused before anything is sent."""

from __future__ import annotations

import pytest

from pytest_tms.settings.urls import url_problem


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense", ""),
        ("", ""),
        ("ftp://tms.example.com/api", ""),
        ("http://[::1", "the IPv6 address in brackets is malformed; "),
        ("http://[nonsense]/api", "the IPv6 address in brackets is malformed; "),
        ("http://", "the host is missing; "),
        ("http:///api", "the host is missing; "),
        ("http://:80/api", "the host is missing; "),
        ("http://a b/api", "it contains a space or a control character; "),
        ("http://tms:99999/api", "the port is not a number from 1 to 65535; "),
        ("http://tms:0/api", "the port is not a number from 1 to 65535; "),
        ("http://tms:word/api", "the port is not a number from 1 to 65535; "),
    ],
)
def test_a_malformed_url_is_named_with_what_is_wrong(url: str, reason: str) -> None:
    assert url_problem(url) == f"invalid TMS URL {url!r}: {reason}use http(s)://HOST/api, or local"


def test_a_malformed_url_is_shown_without_its_password() -> None:
    shown = url_problem("http://me:hidden@tms:word/api")
    assert shown.startswith("invalid TMS URL 'http://tms:word/api': the port is not ")


@pytest.mark.parametrize(
    "url",
    ["http://tms", "HTTPS://tms.example.com/api", "http://[::1]:8765/api", "https://me:word@tms:443/api/"],
)
def test_a_url_that_may_be_called_has_no_problem(url: str) -> None:
    assert url_problem(url) == ""
