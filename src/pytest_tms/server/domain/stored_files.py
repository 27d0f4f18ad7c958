"""Rules for files that the server stores: limits, how a browser receives them, parts of them."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote

from pytest_tms.content_types import TEXT

SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
MAX_NAME = 500
"""Characters of a name that are stored."""
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"})
"""Types that pages show as images."""
INLINE = IMAGES | {
    "video/mp4",
    "video/webm",
    "video/quicktime",
    "video/x-m4v",
    "audio/mpeg",
    "audio/ogg",
    "audio/x-wav",
    TEXT,
}
"""Types that a browser shows and does not run; files of all other types are downloaded."""
CONTENT_SECURITY_POLICY = "sandbox; default-src 'none'"


class StorageLimits(NamedTuple):
    """The most bytes of one file, of the files of one execution, and of all files."""

    file: int
    execution: int
    total: int


class StoredFile(NamedTuple):
    """A file of an execution.

    ``object`` is its key in the object store, ``encryption`` the header of the encrypted object, None
    if it is not encrypted. ``size`` is that of the file before its encryption.
    """

    sha256: str
    name: str
    size: int
    content_type: str
    created_at: int
    object: str = ""
    encryption: bytes | None = None


def disposition(content_type: str, name: str) -> str:
    """Return the Content-Disposition of a file (RFC 6266)."""
    kind = "inline" if content_type in INLINE else "attachment"
    return f"{kind}; filename*=UTF-8''{quote(name.rpartition('/')[2], safe='')}"


def requested_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte of a Range header, and the one after the last; None for the whole file.

    The whole file is also the response to a header that is invalid or has several ranges (RFC 9110, 14.2).

    Raises:
        ValueError: The range is outside the file.
    """
    found = re.fullmatch(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", header, re.ASCII)
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size or start >= end:
        raise ValueError(header)
    return start, end
