"""The lines of a journal: one struct for each kind of event in a run, and their JSON. No pytest imports."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_tms.text import clean
from pytest_tms.wire.base import EventName, SubmittedStatus
from pytest_tms.wire.executions import ExecutionRequest, ReportedCounts
from pytest_tms.wire.results import ArtifactNames

VERSION = 2
"""The format of the lines; readers also accept version 1, which has no ``Begun``, ``OnWorker``, ``Collected``
and ``TimeLimit``."""


class Line(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True, tag_field="is"):
    """One line; ``at`` is the time of the event, ISO 8601."""

    at: str = ""


class Opened(Line, kw_only=True, frozen=True, omit_defaults=True, tag="run"):
    """The first line: which execution to create (``request``) or to join (``execution``), and at which URL.

    ``attempt`` is the number of the CI attempt, 0 if it is not known. ``documented`` restricts the payload to
    the documented fields. ``upload`` and ``upload_limit`` (in MB) are the settings of those names.
    """

    version: int
    run: str
    url: str = ""
    request: ExecutionRequest | None = None
    execution: str = ""
    provider: str = "custom"
    attempt: int = 0
    documented: bool = False
    upload: str = "failed"
    upload_limit: int = 50


class ShardStarted(Line, kw_only=True, frozen=True, omit_defaults=True, tag="shard"):
    """A shard began."""

    shard: str


class Collected(Line, kw_only=True, frozen=True, omit_defaults=True, tag="collected"):
    """How many tests a shard will run."""

    shard: str
    tests: int


class Begun(Line, kw_only=True, frozen=True, omit_defaults=True, tag="begin"):
    """A test began: its number in this run, its node id, and the time in milliseconds since 1970."""

    n: int
    name: str
    shard: str = ""
    t: int = 0


class OnWorker(Line, kw_only=True, frozen=True, omit_defaults=True, tag="worker"):
    """The xdist worker that runs test number ``n``, once that is known, and the shard of the worker."""

    n: int
    worker: str
    shard: str


class TimeLimit(Line, kw_only=True, frozen=True, omit_defaults=True, tag="limit"):
    """Test number ``n`` ends the process after ``seconds``, by pytest-timeout's method ``thread``."""

    n: int
    seconds: float


class Tested(Line, kw_only=True, frozen=True, omit_defaults=True, tag="test", gc=False):
    """A test with a complete result.

    ``n`` is the number of its ``Begun`` line, 0 if it has none. ``id`` identifies the test within its shard,
    whatever the test's own fields hold; ``again`` is set if an earlier line of the shard has the same ``id``.
    Thousands are read at a time, so the garbage collector does not track them.
    """

    shard: str
    n: int = 0
    id: int = 0
    again: bool = False
    test: msgspec.Raw


class ShardEnded(Line, kw_only=True, frozen=True, omit_defaults=True, tag="end"):
    """A shard ended; ``duration`` is in milliseconds.

    ``collected``, ``not_run``, ``not_run_reason``, ``not_run_tests``, ``division`` and ``exit_status`` are
    those of ``wire.EventData``; ``reason`` is why a shard ended as ``cancelled`` or ``error``. ``files`` are
    paths of files that belong to no test.
    """

    shard: str
    status: SubmittedStatus
    results: ReportedCounts
    duration: int = 0
    artifacts: ArtifactNames | None = None
    metadata: dict[str, Any] = {}
    reason: str = ""
    collected: int | None = None
    not_run: int | None = None
    not_run_reason: str = ""
    division: str = ""
    not_run_tests: list[str] = []
    files: list[str] = []
    exit_status: int | None = None


class Closed(Line, kw_only=True, frozen=True, omit_defaults=True, tag="close"):
    """The run ended; if it is all there is of its execution, ``event`` ends the execution.

    ``wait`` is how many seconds the session waits for the delivery of what is left.
    """

    event: EventName | None = None
    status: str = ""
    results: ReportedCounts | None = None
    duration: int = 0
    reason: str = ""
    wait: float = 0


AnyLine = Opened | ShardStarted | Collected | Begun | OnWorker | TimeLimit | Tested | ShardEnded | Closed

TESTED = b'{"is":"test"'
"""How a ``Tested`` line begins."""
CLOSED = b'{"is":"close"'
"""How a ``Closed`` line begins."""


_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)


def decode(line: bytes) -> AnyLine:
    """Return one line of a journal.

    Raises:
        ValueError: it is not a line of a journal.
    """
    try:
        return _DECODER.decode(line)
    except msgspec.MsgspecError as error:
        raise ValueError(f"a line of the journal cannot be read ({error}): {line[:80]!r}") from None


def encode(line: Line) -> bytes:
    """Return a line as it is written."""
    return as_json(line) + b"\n"


def as_json(message: object) -> bytes:
    """Return a message as JSON; text that is not Unicode is written as escapes."""
    try:
        return _ENCODER.encode(message)
    except UnicodeEncodeError:
        return msgspec.json.encode(_cleaned(msgspec.to_builtins(message)))


def text_as_json(text: str) -> bytes:
    """Return a text as JSON."""
    return _ENCODER.encode(clean(text))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def encode_begun(n: int, name: str, milliseconds: int) -> bytes:
    """Return a ``Begun`` line. One is written for every test."""
    return b'{"is":"begin","n":%d,"name":%b,"t":%d}\n' % (n, text_as_json(name), milliseconds)


def encode_tested(
    shard: bytes, test: bytes, *, n: int = 0, test_number: int = 0, again: bool = False
) -> bytes:
    """Return a ``Tested`` line; ``shard`` and ``test`` are JSON. One is written for every test."""
    return b'%b,"shard":%b,"n":%d,"id":%d%b,"test":%b}\n' % (
        TESTED,
        shard,
        n,
        test_number,
        b',"again":true' if again else b"",
        test,
    )
