"""The content type of a file follows its bytes, never its name."""

from __future__ import annotations

import pytest

from pytest_tms.content_types import HEAD, TEXT, UNKNOWN, content_type


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm", "video/webm"),
        (b"PK\x03\x04" + b"\0" * 60, "application/zip"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"", TEXT),
        (b"a log line\n", TEXT),
        ("über".encode() * 3000, TEXT),
        (b"\xef\xbb\xbf<!DOCTYPE HTML><p>", "text/html; charset=utf-8"),
        (b"  <html><script>alert(1)</script>", "text/html; charset=utf-8"),
        (b"<?xml version='1.0'?><svg onload='alert(1)'/>", "image/svg+xml"),
        (b"<?xml version='1.0'?><testsuite/>", "application/xml"),
        (b"a\0b", UNKNOWN),
        (b"\xff\xfe\xfd", UNKNOWN),
    ],
)
def test_the_type_is_that_of_the_bytes(head: bytes, expected: str) -> None:
    assert content_type(head[:HEAD]) == expected
