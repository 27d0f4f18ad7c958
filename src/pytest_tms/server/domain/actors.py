"""Who did something, for the audit log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Actor:
    """The id of an API token, of an execution whose own token it was, or ``command``, ``server``, ``anyone``.

    ``name`` is the token's, or the user's who gave the command. A request has an id and an address.
    """

    id: str
    name: str = ""
    request_id: str = ""
    address: str = ""
