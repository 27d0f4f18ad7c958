"""What a browser receives of a file: parts of it, shown or downloaded."""

from __future__ import annotations

import pytest

from pytest_tms.server.domain.stored_files import disposition, requested_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        ("bytes=0-0", (0, 1)),
        ("bytes=2-", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=4-99", (4, 10)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
    ],
)
def test_a_range_is_within_the_file_or_the_whole_file(header: str, expected: tuple[int, int] | None) -> None:
    assert requested_range(header, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match="bytes"):
        requested_range(header, 10)


@pytest.mark.parametrize(
    ("content_type", "name", "expected"),
    [
        ("image/png", "a b.png", "inline; filename*=UTF-8''a%20b.png"),
        ("text/plain; charset=utf-8", "../x.log", "inline; filename*=UTF-8''x.log"),
        ("image/svg+xml", "a.png", "attachment; filename*=UTF-8''a.png"),
        ("application/pdf", "ü\r\nX: y.pdf", "attachment; filename*=UTF-8''%C3%BC%0D%0AX%3A%20y.pdf"),
        ("application/octet-stream", '"', "attachment; filename*=UTF-8''%22"),
    ],
)
def test_only_what_a_browser_does_not_run_is_shown(content_type: str, name: str, expected: str) -> None:
    assert disposition(content_type, name) == expected
