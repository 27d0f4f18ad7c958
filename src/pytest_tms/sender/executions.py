"""The execution that a journal reports to: created or joined once, and the messages that are sent to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pytest_tms.client import TmsClient
from pytest_tms.errors import (
    ApiError,
    BadRequest,
    NotFound,
    NotTms,
    RateLimited,
    ServiceUnavailable,
    TooLarge,
    Unprocessable,
    Unreachable,
)
from pytest_tms.journal.lines import Opened, as_json
from pytest_tms.wire.base import EventName, timestamp
from pytest_tms.wire.events import Event, EventAccepted, EventData
from pytest_tms.wire.executions import ExecutionCreated, ExecutionRequest
from pytest_tms.wire.results import ResultsSubmission

REJECTIONS = (BadRequest, Unprocessable, TooLarge)
"""Errors by which the TMS rejects a message because of its content."""


class JoinedExecution(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The execution that a run reports to. Its own token is never written to disk.

    ``is_shared`` is whether jobs find it by a run key, so that none of them ends it.
    """

    execution_id: str
    report_url: str = ""
    webhook_url: str = ""
    webhook_token: str = ""
    capabilities: Sequence[str] = ()
    is_shared: bool = False


class ExecutionReporter:
    """Sends the messages of one run to its execution.

    ``execution_status`` is the newest that the TMS returned, ``progress_interval`` the seconds that it
    requests between two reports of progress (None if it requests none). With ``is_replay`` messages have the
    time of their event, if the TMS has the capability ``replay``.

    Methods raise what ``TmsClient`` raises.
    """

    def __init__(
        self, client: TmsClient, opened: Opened, execution: JoinedExecution, *, is_replay: bool = False
    ) -> None:
        self.execution = execution
        self.execution_status = ""
        self.progress_interval: float | None = None
        self._client = client
        self._opened = opened
        self._is_replay = is_replay
        client.compress = "gzip" in execution.capabilities

    @property
    def takes_live_tests(self) -> bool:
        """Whether tests are sent while their shard runs: not if only documented messages may be sent."""
        return self.has("live-tests") and not self._opened.documented

    def has(self, capability: str) -> bool:
        """Return whether the TMS announced a capability."""
        return capability in self.execution.capabilities

    def happened_at(self, at: str) -> str | None:
        """Return the time of an event if it is to be sent."""
        return at or None if self._is_replay and self.has("replay") else None

    def send_event(self, name: EventName, data: EventData, at: str = "") -> EventAccepted:
        """Send an event that happened at the time ``at``, now if empty."""
        if self.has("attempts"):
            data = msgspec.structs.replace(data, runner=self._opened.run)
        event = Event(
            event=name,
            execution_id=self.execution.execution_id,
            timestamp=at or timestamp(),
            happened_at=self.happened_at(at),
            data=data,
        )
        accepted = self._post_event(event)
        self.execution_status = accepted.execution_status or self.execution_status
        if accepted.progress_interval:
            self.progress_interval = accepted.progress_interval / 1000
        return accepted

    def submit(self, submission: ResultsSubmission[Any]) -> None:
        """Submit results of a shard."""
        self._client.submit_results(submission, key=_key(self._opened.run, submission))

    def _post_event(self, event: Event) -> EventAccepted:
        """Send an event to the ``webhookUrl``; if that is not the URL of a TMS, to the base URL."""
        execution, key = self.execution, _key(self._opened.run, event)
        own = f"{self._client.base_url}/webhooks/executions/{execution.execution_id}"
        try:
            return self._client.send_event(
                event, webhook_url=execution.webhook_url, webhook_token=execution.webhook_token, key=key
            )
        except (Unreachable, NotTms, NotFound):
            if not execution.webhook_url or execution.webhook_url == own:
                raise
        accepted = self._client.send_event(event, webhook_token=execution.webhook_token, key=key)
        self.execution = msgspec.structs.replace(execution, webhook_url="")
        return accepted


def join_execution(
    client: TmsClient, opened: Opened, webhook_token: str, overrides: Mapping[str, str]
) -> tuple[JoinedExecution, list[str]]:
    """Create the execution that a run requests, or join the one that it names; return it and warnings.

    ``webhook_token`` is that of an execution which another process created. ``overrides`` replaces fields of
    the request. Raises what ``TmsClient`` raises.

    A run key is sent only to a TMS that announces it. The capabilities are asked for before, which costs one
    request, and only a run with a key: those in the response to the creation come too late, since every job
    would then have created an execution that stays empty.
    """
    if opened.request is None:
        status = client.get_execution(opened.execution)
        execution = JoinedExecution(
            execution_id=opened.execution,
            report_url=status.artifacts.report_url or _report_url(client, opened.execution),
            webhook_token=webhook_token,
            capabilities=_capabilities(client),
        )
        return execution, []
    request = msgspec.structs.replace(opened.request, **overrides)
    lone_shard: list[str] = []
    if request.run_key is not None and "run-key" not in _capabilities(client):
        request, lone_shard = _without_run_key(request)
    created, warnings = _create(client, opened.run, request)
    execution = JoinedExecution(
        execution_id=created.execution_id,
        report_url=created.report_url or _report_url(client, created.execution_id),
        webhook_url=created.webhook_url,
        webhook_token=created.webhook_token,
        capabilities=created.capabilities,
        is_shared=request.run_key is not None,
    )
    return execution, [*lone_shard, *warnings]


def _without_run_key(request: ExecutionRequest) -> tuple[ExecutionRequest, list[str]]:
    """Return a request of an execution for this process alone, and a warning that says what to do instead.

    An execution that declares the shards of other jobs would wait for them and fail.
    """
    configuration = request.configuration
    shards = configuration.shards if configuration is not None and configuration.shards else 1
    if configuration is not None:
        configuration = msgspec.structs.replace(configuration, shards=1)
    create = "tms execution create" + (f" --shards {shards}" if shards > 1 else "")
    warning = (
        "this TMS cannot bring the jobs of a run together (no capability run-key), so this run is an "
        f"execution of its own: run `{create}` once and pass --tms-execution to all jobs"
    )
    return msgspec.structs.replace(request, configuration=configuration, run_key=None), [warning]


def _create(client: TmsClient, run: str, request: ExecutionRequest) -> tuple[ExecutionCreated, list[str]]:
    """Create an execution; without its metadata if the TMS rejects these alone."""
    try:
        return client.create_execution(request, key=_key(run, request)), []
    except REJECTIONS as error:
        fields = {problem.field.partition(".")[0] for problem in error.details}
        if not request.metadata or fields != {"metadata"}:
            raise
        warning = f"the metadata of the execution were refused: {error}"
    request = msgspec.structs.replace(request, metadata=None)
    return client.create_execution(request, key=_key(run, request)), [warning]


def _capabilities(client: TmsClient) -> Sequence[str]:
    try:
        return client.describe_service().capabilities
    except (RateLimited, ServiceUnavailable):  # of a server that may have some: the caller tries again
        raise
    except (ApiError, NotTms):  # a server that implements the API document only has none
        return ()


def _report_url(client: TmsClient, execution_id: str) -> str:
    return f"{client.base_url.removesuffix('/api')}/reports/{execution_id}"


def _key(run: str, message: object) -> str:
    """Return an idempotency key: the same for the same message of the same run, in every attempt."""
    return hashlib.sha256(run.encode() + as_json(message)).hexdigest()[:32]
