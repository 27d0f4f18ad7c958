"""TmsClient: one method per endpoint; retry, timeouts and typed errors. Usable alone as the Python SDK.

from pytest_tms import TmsClient, wire

with TmsClient("https://tms.example.com/api", token) as tms:
    created = tms.create_execution(wire.ExecutionRequest(test_suite="smoke", environment="staging"))
"""

from __future__ import annotations

import gzip
import time
import uuid
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from pytest_tms import calls, wire
from pytest_tms.calls import Call
from pytest_tms.errors import BY_STATUS, ApiError, InFlight, InternalError, NotTms, Unreachable
from pytest_tms.transport import Answer, NoAnswer, Transport, retry_after

T = TypeVar("T")
Takes = TypeVar("Takes")
Gives = TypeVar("Gives")

SMALL_BODY = 2000
"""Bytes of a body that is not worth packing."""


class TmsClient:
    """Speaks the TMS API at ``base_url`` (its ``/api`` included) with ``token`` as the Bearer token.

    Every method raises ``Unreachable`` where no answer came, ``NotTms`` where what answered is no TMS, and
    the ``ApiError`` of the documented status otherwise. Answers of 429, 500, 502, 503 and 504, of 409 with a
    ``Retry-After``, and broken connections are tried again ``retries`` times, after 0.5 s, 1 s, 2 s … plus
    jitter, or after the server's ``Retry-After``; where that is more than a minute, the error is raised at
    once. ``connect_timeout`` and ``read_timeout`` are seconds for each attempt. POSTs carry
    an ``Idempotency-Key`` that stays the same over attempts; ``key`` gives one that also stays the same over
    calls.

    ``compress`` sends larger bodies as gzip; set it where the server announces the capability ``gzip``.
    ``answered`` is told of each answer how many seconds it took, and its headers. Proxies and trusted
    certificates are the environment's, see ``Transport``. A client is for one thread at a time.
    """

    def __init__(
        self,
        base_url: str,
        token: str = "",
        *,
        retries: int = 4,
        connect_timeout: float = 5,
        read_timeout: float = 30,
        answered: Callable[[float, HTTPMessage], None] | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._token = token
        self.compress = False
        self._answered = answered
        self._transport = Transport(retries, connect_timeout, read_timeout)

    def __enter__(self) -> TmsClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"TmsClient({self.base_url!r})"

    def close(self) -> None:
        """Close the connection; the client must not be used afterwards."""
        self._transport.close()

    def describe_service(self) -> wire.ServiceInfo:
        """Ask what the server is: GET on the base URL, an addition.

        Raises NotFound on a server that speaks only the document.
        """
        return self._call(calls.DESCRIBE_SERVICE)

    def create_execution(self, request: wire.ExecutionRequest, *, key: str = "") -> wire.ExecutionCreated:
        """Create an execution: "Create Test Execution" in the document.

        Raises Unprocessable where the server does not know the suite or environment.
        """
        return self._call(calls.CREATE_EXECUTION, request, key=key)

    def get_execution(self, execution_id: str) -> wire.ExecutionStatus:
        """Read an execution's status, counts and shards: "Get Execution Status" in the document.

        Durations are milliseconds, times ISO 8601. Raises NotFound.
        """
        return self._call(calls.GET_EXECUTION, execution_id=execution_id)

    def cancel_execution(self, execution_id: str) -> wire.ExecutionCancelled:
        """Cancel an execution: "Cancel Execution" in the document.

        Raises NotFound, and Conflict where it has ended already.
        """
        return self._call(calls.CANCEL_EXECUTION, execution_id=execution_id)

    def submit_results(
        self, submission: wire.ResultsSubmission[Any], *, key: str = ""
    ) -> wire.SubmissionAccepted:
        """Submit a shard's results: "Submit Test Results" in the document.

        Submitting a test of the same shard again replaces it. Durations are milliseconds.
        Raises NotFound for an unknown execution, Unprocessable with every bad field, TooLarge.
        """
        return self._call(calls.SUBMIT_RESULTS, submission, key=key)

    def list_tests(
        self,
        execution_id: str,
        *,
        status: wire.TestStatus | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> wire.TestPage:
        """Read one page (at most 200) of an execution's tests as they were sent; capability ``tests``.

        Raises NotFound.
        """
        params = {"status": status, "cursor": cursor, "limit": str(limit)}
        return self._call(calls.LIST_TESTS, params=params, execution_id=execution_id)

    def iter_tests(
        self, execution_id: str, *, status: wire.TestStatus | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield all of an execution's tests, fetching page after page."""
        cursor = None
        while True:
            page = self.list_tests(execution_id, status=status, cursor=cursor, limit=200)
            yield from page.tests
            cursor = page.cursor
            if cursor is None:
                return

    def send_event(
        self, event: wire.Event, *, webhook_url: str = "", webhook_token: str = "", key: str = ""
    ) -> wire.EventAccepted:
        """Report an event of an execution: "Execute Tests with Webhook Updates" in the document.

        ``webhook_url`` and ``webhook_token`` are those of the create answer; without them the event goes to
        the base URL with the API token. Raises NotFound, Conflict where the execution's state forbids it.
        """
        return self._call(
            calls.SEND_EVENT,
            event,
            url=webhook_url,
            token=webhook_token,
            key=key,
            execution_id=event.execution_id,
        )

    def create_webhook(self, request: wire.WebhookRequest, *, key: str = "") -> wire.Webhook:
        """Register a webhook: "Register Webhook" in the document.

        ``secret`` is in the answer where the request had none, and never again. Raises Unprocessable, also
        where the server may not send to the URL.
        """
        return self._call(calls.CREATE_WEBHOOK, request, key=key)

    def list_webhooks(self) -> list[wire.Webhook]:
        """Read all webhooks, the oldest first."""
        return self._call(calls.LIST_WEBHOOKS).webhooks

    def get_webhook(self, webhook_id: str) -> wire.Webhook:
        """Read one webhook. Raises NotFound."""
        return self._call(calls.GET_WEBHOOK, webhook_id=webhook_id)

    def update_webhook(self, webhook_id: str, change: wire.WebhookChange) -> wire.Webhook:
        """Change a webhook; ``status`` pauses it, resumes it, or revives one that was disabled.

        Raises NotFound, Unprocessable.
        """
        return self._call(calls.UPDATE_WEBHOOK, change, webhook_id=webhook_id)

    def delete_webhook(self, webhook_id: str) -> wire.WebhookDeleted:
        """Delete a webhook with its deliveries. Raises NotFound."""
        return self._call(calls.DELETE_WEBHOOK, webhook_id=webhook_id)

    def rotate_webhook_secret(
        self, webhook_id: str, rotation: wire.SecretRotation | None = None, *, key: str = ""
    ) -> wire.Webhook:
        """Give a webhook a new secret; the one before is valid for 24 more hours. Raises NotFound."""
        rotation = rotation or wire.SecretRotation()
        return self._call(calls.ROTATE_WEBHOOK_SECRET, rotation, key=key, webhook_id=webhook_id)

    def validate_webhook(self, webhook_id: str, *, key: str = "") -> wire.WebhookValidation:
        """Have a test payload sent: "Validate Webhook" in the document; up to 15 s. Raises NotFound."""
        return self._call(calls.VALIDATE_WEBHOOK, key=key, webhook_id=webhook_id)

    def list_deliveries(
        self,
        webhook_id: str,
        *,
        status: wire.DeliveryStatus | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> wire.DeliveryPage:
        """Read one page (at most 200) of a webhook's deliveries, the newest first. Raises NotFound."""
        params = {"status": status, "cursor": cursor, "limit": str(limit)}
        return self._call(calls.LIST_DELIVERIES, params=params, webhook_id=webhook_id)

    def replay_deliveries(self, webhook_id: str, delivery_id: str | None = None, *, key: str = "") -> int:
        """Send one delivery again, or all that failed; answers how many. Raises NotFound."""
        request = wire.ReplayRequest(delivery_id=delivery_id)
        return self._call(calls.REPLAY_DELIVERIES, request, key=key, webhook_id=webhook_id).deliveries

    def _call(
        self,
        call: Call[Takes, Gives],
        body: Takes | None = None,
        *,
        url: str = "",
        token: str = "",
        key: str = "",
        params: dict[str, str | None] | None = None,
        **path: str,
    ) -> Gives:
        quoted = {name: quote(value, safe="") for name, value in path.items()}
        url = url or self.base_url + call.path.format(**quoted)
        if params:
            url += "?" + urlencode({name: value for name, value in params.items() if value is not None})
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "pytest-tms"}
        if token or self._token:
            headers["Authorization"] = f"Bearer {token or self._token}"
        if call.method == "POST":
            headers["Idempotency-Key"] = key or uuid.uuid4().hex
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
            if self.compress and len(content) > SMALL_BODY:
                content = gzip.compress(content, compresslevel=1)
                headers["Content-Encoding"] = "gzip"
        begun = time.monotonic()
        try:
            answer = self._transport.send(call.method, url, headers, content)
        except ValueError:  # its text may hold the token, so it is not chained
            raise Unreachable(f"{_host(url)} cannot be called: the URL or the token is malformed.") from None
        except NoAnswer as error:
            raise Unreachable(f"{_host(url)} does not answer: {error}.") from error
        if self._answered is not None:
            self._answered(time.monotonic() - begun, answer.headers)
        return _read(answer, _host(url), call.gives)


def _read(answer: Answer, host: str, gives: type[T]) -> T:
    if 300 <= answer.status < 400:
        raise NotTms(f"{host} redirects elsewhere ({answer.status}): check the base URL.")
    if answer.status >= 400:
        raise _api_error(answer, host)
    try:
        return calls.decoder(gives).decode(answer.body or b"{}")
    except msgspec.MsgspecError as error:
        kind = answer.headers.get("Content-Type", "no content type").partition(";")[0]
        raise NotTms(
            f"{host} answered {answer.status} with {kind}, not as a TMS does: "
            f"check that the base URL includes /api."
        ) from error


def _api_error(answer: Answer, host: str) -> ApiError:
    kind = BY_STATUS.get(answer.status)
    if kind is None:
        kind = BY_STATUS[400] if answer.status < 500 else InternalError
    wait = retry_after(answer.headers)
    if kind.status == InFlight.status and wait is not None:
        kind = InFlight
    try:
        error = calls.decoder(wire.ErrorAnswer).decode(answer.body).error
    except msgspec.MsgspecError:
        error = wire.ErrorBody(message=f"{host} answered {answer.status} {answer.reason}.")
    return kind(
        error.message,
        details=error.details,
        hint=error.hint if isinstance(error.hint, str) else "",
        request_id=error.request_id or answer.headers.get("X-Request-Id", ""),
        code=error.code,
        retry_after=wait,
    )


def _host(url: str | None) -> str:
    """The part of a URL that is safe to show and enough to find a mistake: no credentials, no query."""
    scheme, _, rest = (url or "").partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}" if rest else str(url)
