"""Header fields: security headers of responses, the size limit of requests, and reading fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_tms.errors import ApiError

Headers = Iterable[tuple[bytes, bytes]]

SECURITY_HEADERS: Sequence[tuple[bytes, bytes]] = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self' data:; media-src 'self'; script-src 'self'; "
        b"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # with no-referrer, browsers would send no Origin either
    (b"cache-control", b"no-store"),
)
"""Added to every response that does not set them itself."""


MAX_HEAD = 64 << 10
"""Bytes of a request's target and headers together."""


class HeadersTooLarge(ApiError):
    """The request's target and headers are larger than 64 KB: send shorter ones."""

    status = 431
    code = "HEADERS_TOO_LARGE"


def check_size(target: bytes, headers: Headers) -> None:
    """Check the size of a request's target and headers, which h11 does not if they arrive in one read.

    Raises:
        HeadersTooLarge: They have more than ``MAX_HEAD`` bytes.
    """
    if len(target) + sum(len(name) + len(text) + 4 for name, text in headers) > MAX_HEAD:
        raise HeadersTooLarge


def value(headers: Headers, name: bytes) -> str:
    """Return the value of a field, several joined by commas (RFC 9110, 5.3); empty if it is absent."""
    return ", ".join(text.decode("latin-1") for each, text in headers if each.lower() == name)
