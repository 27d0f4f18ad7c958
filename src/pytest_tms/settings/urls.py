"""The base URL of a TMS, as users write it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

USERINFO = re.compile(r"(?<=//)[^/?#]*@")


def url_problem(url: str) -> str:
    """Return why this is not the base URL of a TMS, in one sentence; an empty text if it may be one.

    The sentence has the URL without its user and password.
    """
    reason = _reason(url)
    if reason is None:
        return ""
    shown = repr(USERINFO.sub("", url))
    return f"invalid TMS URL {shown}: {reason}use http(s)://HOST/api, or local"


def _reason(url: str) -> str | None:
    """Return the part of a URL that is wrong, empty if that is its beginning; None if nothing is."""
    if not url.lower().startswith(("http://", "https://")):
        return ""
    if any(character.isspace() or not character.isprintable() for character in url):
        return "it contains a space or a control character; "
    try:
        parsed = urlsplit(url)
    except ValueError:
        return "the IPv6 address in brackets is malformed; "
    if not parsed.hostname:
        return "the host is missing; "
    try:
        is_valid = parsed.port != 0
    except ValueError:
        is_valid = False
    return None if is_valid else "the port is not a number from 1 to 65535; "
