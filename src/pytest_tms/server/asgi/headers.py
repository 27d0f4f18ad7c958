"""Header fields: those that every answer carries, and reading those of requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_tms.errors import ApiError

Headers = Iterable[tuple[bytes, bytes]]

SECURITY_HEADERS: Sequence[tuple[bytes, bytes]] = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # with no-referrer, browsers would send no Origin either
    (b"cache-control", b"no-store"),
)
"""Sent with every answer that does not set them itself."""


MAX_HEAD = 64 << 10
"""Bytes of a request's target and headers."""


class HeadersTooLarge(ApiError):
    """The request's target and headers are larger than 64 KB: send shorter ones."""

    status = 431
    code = "HEADERS_TOO_LARGE"


def check_size(target: bytes, headers: Headers) -> None:
    """Raise HeadersTooLarge for a head that is too large, whether it arrived in one piece or several."""
    if len(target) + sum(len(name) + len(text) + 4 for name, text in headers) > MAX_HEAD:
        raise HeadersTooLarge


def value(headers: Headers, name: bytes) -> str:
    """Return a field's value, several joined by commas as RFC 9110 allows; empty if it is absent."""
    return ", ".join(text.decode("latin-1") for each, text in headers if each.lower() == name)
