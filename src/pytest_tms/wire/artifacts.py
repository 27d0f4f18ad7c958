"""Messages about files of tests: PUT and GET /executions/{id}/artifacts/{sha256}."""

from __future__ import annotations

from pytest_tms.wire.base import ServerMessage


class StoredArtifact(ServerMessage, frozen=True, kw_only=True):
    """A file that the server stores for an execution; ``size`` is in bytes.

    ``sha256`` is the hash of its content in hexadecimal digits. ``content_type`` is derived from the content.
    """

    sha256: str
    size: int = 0
    content_type: str = ""
    uploaded_at: str = ""
