"""Ids that become links by an operator's patterns."""

from __future__ import annotations

import re
import time

import pytest

from pytest_tms.server.domain.link_patterns import LinkPatterns

TWO = r"TC-\d+=https://tests.example.com/{0} #[0-9]{1,5}=https://x.example/?q={0}&a=b"


def test_ids_are_linked_and_the_text_is_preserved() -> None:
    patterns = LinkPatterns(TWO)
    parts = patterns.parts("TC-12, TC-x; #77")
    assert "".join(part.text for part in parts) == "TC-12, TC-x; #77"
    assert [part.url for part in parts if part.url] == [
        "https://tests.example.com/TC-12", "https://x.example/?q=%2377&a=b"
    ]  # fmt: skip
    assert LinkPatterns(str(patterns)) == patterns
    assert LinkPatterns().parts("TC-12") == [("TC-12", "")]


def test_a_word_cannot_change_the_url() -> None:
    assert LinkPatterns("x.*=https://a.example/{0}").url("x/../?b#c") == "https://a.example/x%2F..%2F%3Fb%23c"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("TC", "is not a link pattern"),
        ("TC=javascript:{0}", "is not a link pattern"),
        ("TC=https://x.example/", "is not a link pattern"),
        ("(a+)+=https://x.example/{0}", "may take too long"),
        (r"(a)\1=https://x.example/{0}", "may take too long"),
        ("a*a*a*a*=https://x.example/{0}", "may take too long"),
        ("a" * 201 + "=https://x.example/{0}", "may take too long"),
        ("[a=https://x.example/{0}", "is not a regular expression"),
    ],
)
def test_what_is_not_allowed_is_explained(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        LinkPatterns(text)


def test_long_texts_take_little_time() -> None:
    patterns = LinkPatterns(r"\w*\w*\w*x=https://x.example/{0}")
    start = time.process_time()
    text = "a" * 100 + " " + "b " * 100_000
    assert "".join(part.text for part in patterns.parts(text)) == text
    assert time.process_time() - start < 10
