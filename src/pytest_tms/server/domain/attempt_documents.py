"""The documents of earlier attempts of a test, as the API returns them: within bounds."""

from __future__ import annotations

import msgspec

MAX_EARLIER = 10
"""Earlier attempts of a test that are kept."""
MAX_DOCUMENT = 8_000
"""Characters of the document of an earlier attempt; a longer one loses its output, then more."""
MAX_TRACEBACK = 4_000
"""Characters that are kept of the end of a traceback in a document that is too long."""
_LONG = (
    "stdout",
    "stderr",
    "log",
    "attempts",
    "subtests",
    "artifacts",
    "properties",
    "parameters",
    "tags",
    "frames",
)
_SHORT = (
    "title",
    "file",
    "status",
    "nodeId",
    "outcome",
    "error",
    "duration",
    "retries",
    "startedAt",
    "worker",
)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])  # made at import: see calls.decoder


def bounded(document: msgspec.Raw, attempt: int) -> dict[str, msgspec.Raw]:
    """Return the fields of a document and its ``attempt``, of at most ``MAX_DOCUMENT`` characters."""
    fields = _within_bounds(document)
    fields["attempt"] = msgspec.Raw(msgspec.json.encode(attempt))
    return fields


def _within_bounds(document: msgspec.Raw) -> dict[str, msgspec.Raw]:
    fields = _FIELDS.decode(document)
    if len(bytes(document)) <= MAX_DOCUMENT:
        return fields
    for name in _LONG:
        fields.pop(name, None)
    if "longrepr" in fields:
        fields["longrepr"] = _cut(fields["longrepr"], MAX_TRACEBACK)
    if sum(len(bytes(each)) for each in fields.values()) <= MAX_DOCUMENT:
        return fields
    return {name: _cut(fields[name], MAX_DOCUMENT // 16) for name in _SHORT if name in fields}


def _cut(value: msgspec.Raw, most: int) -> msgspec.Raw:
    """Return a text without its beginning if it is too long; a traceback has its error at the end."""
    text = msgspec.json.decode(value)
    if not isinstance(text, str) or len(text) <= most:
        return value
    return msgspec.Raw(msgspec.json.encode(f"…{text[-most:]}"))
