"""What a run says to the TMS, in the protocol's order, with trouble kept instead of raised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from pytest_tms import wire
from pytest_tms.client import TmsClient
from pytest_tms.errors import Forbidden, NotFound, TmsError, Unauthorized, Unprocessable

T = TypeVar("T")

DOCUMENTED_TEST_FIELDS = ("title", "file", "status", "duration", "error", "retries", "tags")


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The execution that this run reports to. ``created``: by this run, which then also finishes it."""

    execution_id: str
    report_url: str
    webhook_url: str
    webhook_token: str
    created: bool
    capabilities: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """One shard's outcome: ``tests`` are encoded ``wire.TestResult``s, ``duration`` is milliseconds."""

    shard_id: str
    status: wire.SubmittedStatus
    counts: wire.Counts
    tests: Sequence[bytes]
    artifacts: wire.ArtifactNames | None
    duration: int
    metadata: dict[str, Any]


@dataclass
class Courier:
    """Sends for one run. What fails is kept in ``trouble``, one sentence each, and the run goes on."""

    client: TmsClient
    provider: str
    documented_only: bool = False
    trouble: list[str] = field(default_factory=list)

    def create(self, request: wire.ExecutionRequest) -> Joined | None:
        """Create an execution, or say in ``trouble`` why that was not possible."""
        created = self._try("no execution was created", lambda: self.client.create_execution(request))
        if created is None:
            return None
        return Joined(
            execution_id=created.execution_id,
            report_url=created.report_url or _report_url(self.client.base_url, created.execution_id),
            webhook_url=created.webhook_url,
            webhook_token=created.webhook_token,
            created=True,
            capabilities=created.capabilities,
        )

    def attach(self, execution_id: str, webhook_token: str) -> Joined | None:
        """Join an execution that somebody else created, or say in ``trouble`` why that was not possible."""
        status = self._try(
            f"execution {execution_id} was not joined", lambda: self.client.get_execution(execution_id)
        )
        if status is None:
            return None
        return Joined(
            execution_id=execution_id,
            report_url=status.artifacts.report_url or _report_url(self.client.base_url, execution_id),
            webhook_url="",
            webhook_token=webhook_token,
            created=False,
            capabilities=self._capabilities(),
        )

    def event(self, joined: Joined, name: wire.EventName, data: wire.EventData) -> None:
        """Report an event of the execution."""
        event = wire.Event(
            event=name, execution_id=joined.execution_id, timestamp=wire.timestamp(), data=data
        )
        self._try(
            f"{name} was not delivered",
            lambda: self.client.send_event(
                event, webhook_url=joined.webhook_url, webhook_token=joined.webhook_token
            ),
        )

    def results(self, joined: Joined, shard: ShardReport) -> bool:
        """Submit a shard's results; answers whether the TMS has them."""
        # Only servers that announce it know a shard that was cancelled.
        status = shard.status if shard.status != "cancelled" or "control" in joined.capabilities else "error"
        submission = wire.ResultsSubmission[msgspec.Raw](
            execution_id=joined.execution_id,
            shard_id=shard.shard_id,
            provider=self.provider,
            status=status,
            results=_given(shard.counts),
            tests=[msgspec.Raw(self._fit(test)) for test in shard.tests],
            artifacts=shard.artifacts,
            metadata=shard.metadata,
        )
        accepted = self._try(
            f"the results of shard {shard.shard_id} were not delivered",
            lambda: self.client.submit_results(submission),
        )
        return accepted is not None

    def shard_completed(self, joined: Joined, shard: ShardReport) -> None:
        """Report the end of a shard with its counts."""
        data = wire.EventData(
            shard_id=shard.shard_id,
            status=shard.status,
            results=_given(shard.counts),
            duration=shard.duration,
        )
        self.event(joined, "shard.completed", data)

    def execution_completed(self, joined: Joined, shards: Sequence[ShardReport]) -> None:
        """Report the end of the execution with the counts of all its shards."""
        statuses = {shard.status for shard in shards}
        name: wire.EventName = "execution.completed"
        status = "completed"
        if "cancelled" in statuses:
            name, status = "execution.cancelled", "cancelled"
        elif "error" in statuses:
            name, status = "execution.failed", "failed"
        fields = wire.Counts.__struct_fields__
        counts = wire.Counts(
            **{name: sum(getattr(shard.counts, name) for shard in shards) for name in fields}
        )
        duration = max(shard.duration for shard in shards)
        self.event(joined, name, wire.EventData(status=status, results=_given(counts), duration=duration))

    def _fit(self, test: bytes) -> bytes:
        if not self.documented_only:
            return test
        fields = msgspec.json.decode(test)
        return msgspec.json.encode({name: fields[name] for name in DOCUMENTED_TEST_FIELDS if name in fields})

    def _capabilities(self) -> Sequence[str]:
        try:
            return self.client.describe_service().capabilities
        except TmsError:  # a server that speaks only the document has none
            return ()

    def _try(self, what: str, send: Callable[[], T]) -> T | None:
        try:
            return send()
        except TmsError as error:
            self.trouble.append(f"{what}: {advice(error)}")
            return None


def advice(error: TmsError) -> str:
    """An error as one sentence that also says what to do next."""
    text = str(error).rstrip(".")
    if isinstance(error, Unauthorized):
        return f"{text}: set TMS_API_TOKEN to a valid token"
    if isinstance(error, Forbidden):
        return f"{text}: use a token with the scope executions:write"
    if isinstance(error, NotFound):
        return f"{text}: check --tms-url (it ends in /api) and --tms-execution"
    if isinstance(error, Unprocessable):
        return f"{text}: check --tms-suite and --tms-environment"
    return text


def _report_url(base_url: str, execution_id: str) -> str:
    return f"{base_url.removesuffix('/api')}/reports/{execution_id}"


def _given(counts: wire.Counts) -> wire.GivenCounts:
    return wire.GivenCounts(**msgspec.structs.asdict(counts))
