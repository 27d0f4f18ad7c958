"""Request targets that are not a path: ``GET http://host/path`` (RFC 9112, 3.2.2) and ``OPTIONS *``."""

from __future__ import annotations

import re
from urllib.parse import unquote

from litestar.types import Scope

from pytest_tms.errors import BadRequest

_ABSOLUTE = re.compile(rb"https?://([^/]*)(/.*)?", re.IGNORECASE | re.DOTALL)


def to_origin_form(scope: Scope) -> None:
    """Replace an absolute target by its path, the Host header by its host, and ``*`` by the base URL.

    Raises:
        BadRequest: The target names a user, or no host.
    """
    if scope["raw_path"] == b"*":  # the server as a whole (RFC 9110, 9.3.7): the API
        scope["raw_path"], scope["path"] = b"/api/", "/api/"
        return
    found = _ABSOLUTE.fullmatch(scope["raw_path"])
    if found is None:
        return
    host, path = found[1], found[2] or b"/"
    if not host or b"@" in host:
        raise BadRequest("The request target must be a path, or a URL with a host and without a user.")
    scope["raw_path"] = path
    scope["path"] = unquote(path.decode("ascii"))
    scope["headers"] = [
        (b"host", host),
        *((name, value) for name, value in scope["headers"] if name != b"host"),
    ]
