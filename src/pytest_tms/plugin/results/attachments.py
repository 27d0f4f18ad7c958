"""Kinds of attached files, and the stash keys that hold attachments until they are reported."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from pytest_tms.plugin.results.attachment_store import AttachmentStore

AttachmentKind = Literal["screenshot", "video", "trace", "log", "file"]

KINDS: dict[str, AttachmentKind] = {
    ".png": "screenshot",
    ".jpg": "screenshot",
    ".jpeg": "screenshot",
    ".webp": "screenshot",
    ".webm": "video",
    ".mp4": "video",
    ".zip": "trace",
    ".log": "log",
    ".txt": "log",
}
"""The kinds of files by the suffix of their names; any other is a ``file``."""

ATTACHED: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
"""On a test: its attachments, as ``artifacts`` (name, kind, path) and ``properties``, plain values."""

REPORTING: pytest.StashKey[dict[str, str]] = pytest.StashKey()
"""On the config of a reporting process: ``execution`` (if it is known), ``shard``, ``journal``, the
``folder`` for attached bytes, and ``cancel``, the file that notifies xdist's workers of a cancellation."""

STORE: pytest.StashKey[AttachmentStore] = pytest.StashKey()
"""On the config of a reporting process."""
