"""TmsClient: one method per endpoint; retry, timeouts and typed errors. Usable alone as the Python SDK.

from pytest_tms import TmsClient, wire

with TmsClient("https://tms.example.com/api", token) as tms:
    created = tms.create_execution(wire.ExecutionRequest(test_suite="smoke", environment="staging"))
"""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3 import exceptions as urllib3_errors
from urllib3.util import Retry

from pytest_tms import calls, wire
from pytest_tms.calls import Call
from pytest_tms.errors import BY_STATUS, ApiError, InFlight, InternalError, NotTms, Unreachable

T = TypeVar("T")
Takes = TypeVar("Takes")
Gives = TypeVar("Gives")

RETRIED = (429, 500, 502, 503, 504)
"""Statuses worth another attempt, by "Retry Logic" in the integration document."""
SMALL_BODY = 2000
"""Bytes of a body that is not worth packing."""
LONGEST_WAIT = 60
"""Seconds that one wait between two attempts may last."""


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
    ``adapter`` replaces the transport. A client is for one thread at a time.
    """

    def __init__(
        self,
        base_url: str,
        token: str = "",
        *,
        retries: int = 4,
        connect_timeout: float = 5,
        read_timeout: float = 30,
        adapter: HTTPAdapter | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._token = token
        self._timeout = (connect_timeout, read_timeout)
        self.compress = False
        self._session = requests.Session()
        adapter = adapter or HTTPAdapter(max_retries=retry_policy(retries))
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

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
        self._session.close()

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
        headers = {"Accept": "application/json"}
        if call.method == "POST":
            headers["Idempotency-Key"] = key or uuid.uuid4().hex
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
            if self.compress and len(content) > SMALL_BODY:
                content = gzip.compress(content, compresslevel=1)
                headers["Content-Encoding"] = "gzip"
        try:
            response = self._session.request(
                call.method,
                url,
                params=params,
                data=content,
                headers=headers,
                auth=_Bearer(token or self._token),
                timeout=self._timeout,
                allow_redirects=False,
            )
        except ValueError:  # its text may hold the token, so it is not chained
            raise Unreachable(f"{_host(url)} cannot be called: the URL or the token is malformed.") from None
        except requests.RequestException as error:
            raise Unreachable(f"{_host(url)} does not answer: {_reason(error)}.") from error
        return _read(response, call.gives)


class _Bearer(requests.auth.AuthBase):
    """Sets the token last, so that a ~/.netrc entry for the host cannot replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Retry(Retry):
    """urllib3's policy, but for a server that asks to wait long: its answer is for the caller to see."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        in_flight = status_code == InFlight.status and has_retry_after
        return in_flight or super().is_retry(method, status_code, has_retry_after)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: TracebackType | None = None,
    ) -> _Retry:
        if response is not None and (self.get_retry_after(response) or 0) > LONGEST_WAIT:
            raise urllib3_errors.MaxRetryError(_pool, url or "")
        return super().increment(method, url, response, error, _pool, _stacktrace)


def retry_policy(retries: int) -> Retry:
    """When to try a call again: the documented statuses and broken connections, on every method."""
    return _Retry(
        total=retries,
        redirect=0,
        allowed_methods=None,
        status_forcelist=RETRIED,
        backoff_factor=0.5,
        backoff_jitter=0.25,
        backoff_max=LONGEST_WAIT,
        raise_on_status=False,
    )


def _read(response: requests.Response, gives: type[T]) -> T:
    if 300 <= response.status_code < 400:
        raise NotTms(
            f"{_host(response.url)} redirects elsewhere ({response.status_code}): check the base URL."
        )
    if response.status_code >= 400:
        raise _api_error(response)
    try:
        return calls.decoder(gives).decode(response.content or b"{}")
    except msgspec.MsgspecError as error:
        kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
        raise NotTms(
            f"{_host(response.url)} answered {response.status_code} with {kind}, not as a TMS does: "
            f"check that the base URL includes /api."
        ) from error


def _api_error(response: requests.Response) -> ApiError:
    kind = BY_STATUS.get(response.status_code)
    if kind is None:
        kind = BY_STATUS[400] if response.status_code < 500 else InternalError
    retry_after = Retry(respect_retry_after_header=True).get_retry_after(response.raw)
    if kind.status == InFlight.status and retry_after is not None:
        kind = InFlight
    try:
        body = calls.decoder(wire.ErrorAnswer).decode(response.content).error
    except msgspec.MsgspecError:
        body = wire.ErrorBody(
            message=f"{_host(response.url)} answered {response.status_code} {response.reason}."
        )
    return kind(
        body.message,
        details=body.details,
        request_id=body.request_id or response.headers.get("X-Request-Id", ""),
        code=body.code,
        retry_after=retry_after,
    )


def _host(url: str | None) -> str:
    """The part of a URL that is safe to show and enough to find a mistake: no credentials, no query."""
    scheme, _, rest = (url or "").partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}" if rest else str(url)


def _reason(error: requests.RequestException) -> str:
    """What broke, in words: requests wraps urllib3's error, and that one the cause."""
    cause: object = error.args[0] if error.args else error
    cause = getattr(cause, "reason", None) or cause
    for kind, words in _REASONS:
        if isinstance(error, kind) or isinstance(cause, kind):
            return words
    return type(cause).__name__


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (requests.exceptions.SSLError, "its TLS certificate is not accepted"),
    (urllib3_errors.NameResolutionError, "the name does not resolve"),
    (requests.exceptions.ProxyError, "the proxy does not reach it"),
    (urllib3_errors.NewConnectionError, "the connection is refused"),
    (urllib3_errors.TimeoutError, "it timed out"),
    (requests.Timeout, "it timed out"),
    (urllib3_errors.ProtocolError, "the connection was cut off"),
    (requests.exceptions.RequestException, "the connection failed"),
)
