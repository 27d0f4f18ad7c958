"""The lines of a journal: what a run has to say, in the order in which it happened."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_tms import wire
from pytest_tms.text import clean


class Line(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True, tag_field="is"):
    """One line; ``at`` is when it happened, ISO 8601."""

    at: str = ""


class Opened(Line, kw_only=True, frozen=True, omit_defaults=True, tag="run"):
    """The first line: what to create, or which execution to join, and where."""

    version: int
    run: str
    url: str = ""
    request: wire.ExecutionRequest | None = None
    execution: str = ""
    provider: str = "custom"


class ShardStarted(Line, kw_only=True, frozen=True, omit_defaults=True, tag="shard"):
    """A shard began."""

    shard: str


class Tested(Line, kw_only=True, frozen=True, omit_defaults=True, tag="test", gc=False):
    """A test settled; ``again`` says that this replaces an earlier line of the same node id in the shard.

    Thousands are read at a time, and hold nothing that the garbage collector would have to look for.
    """

    shard: str
    again: bool = False
    test: msgspec.Raw


class ShardEnded(Line, kw_only=True, frozen=True, omit_defaults=True, tag="end"):
    """A shard ended; ``duration`` is milliseconds."""

    shard: str
    status: wire.SubmittedStatus
    results: wire.GivenCounts
    duration: int = 0
    artifacts: wire.ArtifactNames | None = None
    metadata: dict[str, Any] = {}


class Closed(Line, kw_only=True, frozen=True, omit_defaults=True, tag="close"):
    """The run ended; where it is the execution's only one, this ends the execution."""

    event: wire.EventName | None = None
    status: str = ""
    results: wire.GivenCounts | None = None
    duration: int = 0


AnyLine = Opened | ShardStarted | Tested | ShardEnded | Closed

TESTED = b'{"is":"test"'
"""How a ``Tested`` line begins."""


_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)


def decode(line: bytes) -> AnyLine:
    """One line of a journal. Raises ValueError where it is none."""
    try:
        return _DECODER.decode(line)
    except msgspec.MsgspecError as error:
        raise ValueError(f"a line of the journal cannot be read ({error}): {line[:80]!r}") from None


def encode(line: Line) -> bytes:
    """A line as it is written."""
    return as_json(line) + b"\n"


def as_json(message: msgspec.Struct) -> bytes:
    """A message as JSON; text that is not Unicode is written as escapes."""
    try:
        return _ENCODER.encode(message)
    except UnicodeEncodeError:
        return msgspec.json.encode(_cleaned(msgspec.to_builtins(message)))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def line_prefix(shard: str, *, again: bool = False) -> bytes:
    """What stands before the encoded test in a ``Tested`` line: one is written for every test."""
    return TESTED + b',"shard":' + msgspec.json.encode(shard) + b',"again":true' * again + b',"test":'
