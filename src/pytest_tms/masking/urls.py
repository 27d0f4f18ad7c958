"""Credentials in URLs."""

from __future__ import annotations


def without_credentials(url: str) -> str:
    """Return a URL without the user and password that it may contain."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
