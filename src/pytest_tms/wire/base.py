"""What the messages of all resources share: base classes, limits, names of states, and times."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Literal

import msgspec

TriggerSource = Literal["api", "manual", "scheduled"]
ExecutionState = Literal["created", "running", "completed", "failed", "cancelled"]
ShardState = Literal["pending", "running", "completed", "failed", "error", "lost", "cancelled"]
SubmittedStatus = Literal["completed", "failed", "error", "cancelled"]
"""How a shard ended, as its runner reports; ``cancelled`` is an addition announced as ``control``."""
TestStatus = Literal["passed", "failed", "skipped"]
ExportFormat = Literal["junit", "json", "csv", "ctrf", "markdown", "html"]
EventName = Literal[
    "execution.started",
    "execution.progress",
    "execution.completed",
    "execution.failed",
    "execution.cancelled",
    "shard.started",
    "shard.completed",
]

WebhookFormat = Literal["json", "slack", "teams", "discord"]
WebhookStatus = Literal["active", "paused", "disabled"]
DeliveryStatus = Literal["pending", "delivered", "failed"]

SUITES = ("smoke", "regression", "api", "ui", "all")
"""The documented values of ``testSuite``; an operator may list others."""
ENVIRONMENTS = ("dev", "staging", "production")
"""The documented values of ``environment``; an operator may list others."""

MAX_COUNT = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_COUNT)]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2000, extra_json_schema={"format": "uri"})]
Text = Annotated[str, msgspec.Meta(max_length=10_000_000)]
MAX_NOT_RUN_TESTS = 1000
"""Node ids in ``notRunTests``; ``notRun`` counts all tests that did not run."""
NotRunTests = Annotated[list[Text], msgspec.Meta(max_length=MAX_NOT_RUN_TESTS)]
ExitStatus = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**32 - 1)]
"""The exit status of a process: a signal's number is negative on POSIX, and Windows has 32 unsigned bits."""


class ServerMessage(msgspec.Struct, kw_only=True, frozen=True, rename="camel"):
    """A message of the server: every field is written, also one with its default value."""


class ClientMessage(msgspec.Struct, kw_only=True, frozen=True, rename="camel", omit_defaults=True):
    """A message of a runner: fields with their default value are omitted."""


def timestamp(moment: datetime | None = None) -> str:
    """Return ``moment`` (now if None) as ISO 8601 in UTC with milliseconds and ``Z``."""
    moment = moment or datetime.now(timezone.utc)
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(milliseconds: int) -> datetime:
    """Return the time that is ``milliseconds`` after the start of 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def parse_time(text: str) -> datetime:
    """Return the time of an ISO 8601 text; one without a zone is in UTC.

    Raises:
        ValueError: the text is not a time.
    """
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment
