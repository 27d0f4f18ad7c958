"""Messages about tests in quarantine: the capability ``quarantine``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pytest_tms.wire.base import ClientMessage, Identifier, ServerMessage

QuarantineState = Literal["active", "expired", "removed"]

NodeId = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class QuarantineRequest(ClientMessage, frozen=True, kw_only=True):
    """A test that is to be in quarantine: POST /quarantine.

    ``node_id`` is that of a test that the project has run. ``until`` is the last day, as ``2026-03-02``, or
    the last moment, in ISO 8601. ``project`` is the name of the project, ``default`` unless given. ``owner``
    may be left out if the test has one.
    """

    node_id: NodeId
    reason: Reason
    until: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    owner: Identifier | None = None
    project: Identifier | None = None


class QuarantineEntry(ServerMessage, frozen=True, kw_only=True):
    """A test in quarantine, or one that was.

    ``until`` is the last moment at which a failure does not count. ``key`` identifies the test in the
    capability ``history``; it is empty if no result of the test is left. ``created_by`` and ``ended_by`` are
    names of tokens; the former is empty if the server added the test by its policy (``is_automatic``).
    ``ended_at`` is when the test was removed or replaced; null if the quarantine is active or has expired.
    """

    id: str
    project: str = ""
    node_id: str = ""
    key: str = ""
    reason: str = ""
    owner: str = ""
    until: str = ""
    state: QuarantineState = "active"
    is_automatic: bool = False
    created_at: str = ""
    created_by: str = ""
    ended_at: str | None = None
    ended_by: str | None = None


class QuarantinePage(ServerMessage, frozen=True, kw_only=True):
    """The response to GET /quarantine. ``cursor`` fetches the next page; it is null on the last one."""

    entries: list[QuarantineEntry] = []
    cursor: str | None = None
