"""TmsClient, the Python SDK: one method per API call, with retries, timeouts and typed errors.

from pytest_tms import TmsClient, wire

with TmsClient("https://tms.example.com/api", token) as tms:
    created = tms.create_execution(wire.ExecutionRequest(test_suite="smoke", environment="staging"))
"""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import requests

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.client.calls import Call
from pytest_tms.client.http_session import HttpSession, UploadBody
from pytest_tms.client.job_token import JobToken
from pytest_tms.client.responses import decode, error_of, origin_of
from pytest_tms.errors import NotFound

Takes = TypeVar("Takes")
Gives = TypeVar("Gives")

MIN_COMPRESSED = 2000
"""Bytes from which on a request body is compressed, if the server accepts gzip."""


class TmsClient:
    """A client of the TMS API at ``base_url``, which includes ``/api``, with ``token`` as the Bearer token.

    ``token`` may also be a ``JobToken``, which exchanges the ID token of a CI job, and replaces the token in
    time. A call that the server refuses with 401 is then sent again once, with another token.

    A call is tried at most ``1 + retries`` times, by the rules of ``retry_policy.ApiRetry``. POST calls carry
    an ``Idempotency-Key`` that is the same in every attempt; pass ``key`` to use the same one in several
    calls. ``connect_timeout`` and ``read_timeout`` are in seconds and apply to each attempt.

    Proxies and trusted certificates come from the environment, as requests reads it: ``HTTPS_PROXY``,
    ``NO_PROXY``, ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``; if neither of these two is set, also
    ``SSL_CERT_FILE``. A netrc entry is used only for calls without a token. Redirects are not followed.

    Set ``compress`` if the server announces the capability ``gzip``: larger bodies are compressed then.
    Use a client in one thread at a time, and close it.

    Every method can raise:
        Unreachable: no response, or the URL, the token or the proxy cannot be used.
        NotTms: the response is not that of a TMS.
        IdTokenError: with a ``JobToken``: there is no ID token, or the TMS does not accept it.
        ApiError: the subclass of the documented status, as `errors.BY_STATUS` lists them.
    """

    def __init__(
        self,
        base_url: str,
        token: str | JobToken = "",
        *,
        retries: int = 4,
        connect_timeout: float = 5,
        read_timeout: float = 30,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.compress = False
        self._session = HttpSession(token, retries, connect_timeout, read_timeout)

    def __enter__(self) -> TmsClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"TmsClient({self.base_url!r})"

    @property
    def last_response(self) -> requests.Response | None:
        """The last response of the server, with its time and headers; None before the first."""
        return self._session.last_response

    def close(self) -> None:
        """Close the connections; the client must not be used afterwards."""
        self._session.close()

    def describe_service(self) -> wire.ServiceInfo:
        """Return the server's name, version and capabilities: GET on the base URL, an addition to the API.

        Raises:
            NotFound: the server implements the API document only.
        """
        return self._call(calls.DESCRIBE_SERVICE)

    def exchange_id_token(self, id_token: str) -> wire.IssuedToken:
        """Return an API token for the ID token of a CI job; needs the capability ``id-tokens``.

        ``token`` of the response is its text, valid for ``expires_in`` seconds. A ``JobToken`` does this
        for a client, and again before the token expires.

        Raises:
            Unauthorized: the ID token is not valid, or the server does not trust its issuer.
            Forbidden: no rule of the server matches the claims of the ID token.
        """
        return self._call(calls.EXCHANGE_ID_TOKEN, wire.TokenRequest(id_token=id_token))

    def create_execution(self, request: wire.ExecutionRequest, *, key: str = "") -> wire.ExecutionCreated:
        """Create an execution: "Create Test Execution" in the API document.

        With a ``run_key``, which needs the capability ``run-key``, return the execution that an earlier
        request with the same key, suite and environment created; ``joined`` is whether there is one.

        Raises:
            Unprocessable: a field is invalid, or the server does not accept the suite or environment.
        """
        return self._call(calls.CREATE_EXECUTION, request, key=key)

    def get_execution(self, execution_id: str) -> wire.ExecutionStatus:
        """Return an execution's status, counts and shards: "Get Execution Status" in the API document.

        Durations are in milliseconds, times in ISO 8601.

        Raises:
            NotFound: the execution does not exist.
        """
        return self._call(calls.GET_EXECUTION, execution_id=execution_id)

    def list_executions(
        self,
        *,
        test_suite: str | None = None,
        environment: str | None = None,
        branch: str | None = None,
        status: wire.ExecutionState | None = None,
        provider: str | None = None,
        commit: str | None = None,
        project: str | None = None,
        author: str | None = None,
        since: str | None = None,
        until: str | None = None,
        q: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> wire.ExecutionPage:
        """Return a page of the executions, the newest first; needs the capability ``executions``.

        ``commit`` is the beginning of one, ``q`` a part of the id, branch, commit, suite or author, ``since``
        and ``until`` are times of creation in ISO 8601. ``limit`` is at most 200; ``cursor`` is that of the
        page before. A page may have fewer executions than ``limit`` and still a cursor.

        Raises:
            Unprocessable: a filter is not valid.
        """
        params = {
            "testSuite": test_suite,
            "environment": environment,
            "branch": branch,
            "status": status,
            "provider": provider,
            "commit": commit,
            "project": project,
            "author": author,
            "since": since,
            "until": until,
            "q": q,
            "cursor": cursor,
            "limit": str(limit),
        }
        return self._call(calls.LIST_EXECUTIONS, params=params)

    def list_failures(
        self, execution_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> wire.FailurePage:
        """Return a page of the causes of an execution's failures, those with most failures first.

        Needs the capability ``history``. ``limit`` is at most 200; ``cursor`` is that of the page before.

        Raises:
            NotFound: the execution does not exist.
        """
        params = {"cursor": cursor, "limit": str(limit)}
        return self._call(calls.LIST_FAILURES, params=params, execution_id=execution_id)

    def get_changes(
        self, execution_id: str, *, shards: Sequence[str] = (), limit: int = 100
    ) -> wire.RunChanges:
        """Return new and known failures, fixed and flaky tests of an execution.

        Needs the capability ``history``. It is compared with the previous execution of the same suite,
        environment and branch. With ``shards`` only tests of these count. ``limit`` is the number of tests of
        each list, at most 200.

        Raises:
            NotFound: the execution does not exist.
            Unprocessable: ``limit`` is out of range, or there are more than 200 shards.
        """
        params = {"shard": shards, "limit": str(limit)}
        return self._call(calls.GET_CHANGES, params=params, execution_id=execution_id)

    def compare_executions(
        self, execution_id: str, other: str | None = None, *, limit: int = 100
    ) -> wire.ExecutionComparison:
        """Compare an execution with ``other``, an earlier one; needs the capability ``history``.

        Unless given, the other is the previous execution of the same suite, environment and branch. ``limit``
        is the number of tests of each list, at most 200.

        Raises:
            NotFound: an execution does not exist, or ``other`` is not given and no execution precedes it.
            Unprocessable: ``limit`` is out of range, or the executions belong to different projects.
        """
        params = {"with": other, "limit": str(limit)}
        return self._call(calls.COMPARE_EXECUTIONS, params=params, execution_id=execution_id)

    def list_registered_tests(
        self,
        *,
        q: str | None = None,
        test_suite: str | None = None,
        environment: str | None = None,
        branch: str | None = None,
        owner: str | None = None,
        flaky: bool = False,
        without_case: bool = False,
        cursor: str | None = None,
        limit: int = 100,
    ) -> wire.RegisteredTestPage:
        """Return a page of the tests of all executions; needs the capability ``history``.

        With ``test_suite``, ``environment`` or ``branch``, they are those of the latest such execution. With
        ``flaky``, they are sorted by flakiness. With ``without_case``, they carry the id of no test case. A
        page may have fewer than ``limit`` and still a cursor.

        Raises:
            Unprocessable: a filter is not valid.
        """
        params = {
            "q": q,
            "testSuite": test_suite,
            "environment": environment,
            "branch": branch,
            "owner": owner,
            "flaky": "true" if flaky else None,
            "withoutCase": "true" if without_case else None,
            "cursor": cursor,
            "limit": str(limit),
        }
        return self._call(calls.LIST_REGISTERED_TESTS, params=params)

    def get_test_history(
        self,
        test_key: str,
        *,
        test_suite: str | None = None,
        environment: str | None = None,
        branch: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> wire.TestHistory:
        """Return a page of the results of a test, the newest first; needs the capability ``history``.

        ``test_key`` is the ``key`` of ``list_registered_tests``.

        Raises:
            NotFound: the test does not exist.
        """
        params = {
            "testSuite": test_suite,
            "environment": environment,
            "branch": branch,
            "cursor": cursor,
            "limit": str(limit),
        }
        return self._call(calls.GET_TEST_HISTORY, params=params, test_key=test_key)

    def list_known_tests(self, execution_id: str) -> wire.KnownTests:
        """Return hashes of the tests that ran before an execution; needs the capability ``known-tests``.

        Raises:
            NotFound: the execution does not exist.
        """
        return self._call(calls.LIST_KNOWN_TESTS, execution_id=execution_id)

    def decide_rename(self, test_key: str, earlier_key: str, *, is_same: bool) -> wire.RenamedTest:
        """Join the history of an earlier test to a test, or reject it; needs the capability ``history``.

        Raises:
            NotFound: a test does not exist.
            Conflict: the tests cannot be joined.
        """
        decision = wire.RenameDecision(earlier_key=earlier_key, is_same=is_same)
        return self._call(calls.DECIDE_RENAME, decision, test_key=test_key)

    def list_cases(
        self,
        *,
        project: str | None = None,
        q: str | None = None,
        case_id: str | None = None,
        kind: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> wire.CasePage:
        """Return a page of test cases with their tests and latest results; needs the capability ``cases``.

        ``kind`` is ``planned``, ``missing`` (planned, without a test) or ``unplanned``. A page may have fewer
        than ``limit`` and still a cursor.

        Raises:
            Unprocessable: a filter is not valid.
        """
        params = {
            "project": project,
            "q": q,
            "id": case_id,
            "kind": kind,
            "cursor": cursor,
            "limit": str(limit),
        }
        return self._call(calls.LIST_CASES, params=params)

    def import_cases(self, plan: wire.CasePlan) -> wire.PlanChange:
        """Replace the plan of test cases of a project; needs a token with the scope ``admin``.

        Raises:
            Unprocessable: an id is blank, or given twice.
        """
        return self._call(calls.IMPORT_CASES, plan)

    def get_timings(
        self, *, test_suite: str, environment: str, branch: str | None = None, project: str | None = None
    ) -> wire.Timings:
        """Return the median durations of tests in the latest runs; needs the capability ``timings``.

        Without ``branch``, those of executions that have none count.

        Raises:
            Unprocessable: a parameter is not valid.
        """
        params = {
            "testSuite": test_suite,
            "environment": environment,
            "branch": branch,
            "project": project,
        }
        return self._call(calls.GET_TIMINGS, params=params)

    def fix_plan(self, execution_id: str) -> wire.ExecutionPlan:
        """Return the durations by which all shards of an execution divide its tests.

        Needs the capability ``timings``. The first call fixes them.

        Raises:
            NotFound: the execution does not exist.
        """
        return self._call(calls.FIX_PLAN, execution_id=execution_id)

    def claim_tests(
        self, execution_id: str, request: wire.ClaimRequest, *, webhook_token: str = ""
    ) -> wire.Claim:
        """Take the next batch of tests from the queue of an execution; needs the capability ``claims``.

        A request with a repeated ``number`` returns the same batch. ``webhook_token`` is the token of the
        execution; without it, the client's own token is used.

        Raises:
            NotFound: the execution does not exist.
            Unprocessable: the request is not valid, or the first one of its runner lists no tests.
        """
        return self._call(calls.CLAIM_TESTS, request, token=webhook_token, execution_id=execution_id)

    def list_settled(self, execution_id: str, shard_id: str) -> wire.SettledTests:
        """Return the tests of a shard that passed or were skipped; needs the capability ``rerun``.

        Raises:
            NotFound: the execution does not exist.
        """
        params = {"shardId": shard_id}
        return self._call(calls.LIST_SETTLED, params=params, execution_id=execution_id)

    def list_quarantine(
        self,
        *,
        project: str | None = None,
        execution: str | None = None,
        node_id: str | None = None,
        owner: str | None = None,
        state: Literal["active", "ended"] | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> wire.QuarantinePage:
        """Return a page of the tests in quarantine, the newest first; needs the capability ``quarantine``.

        ``execution`` is the id of one, whose project is meant. With the state ``active``, only tests whose
        failures do not count now are listed, with ``ended`` only those that have expired or were removed.

        Raises:
            NotFound: ``execution`` does not exist.
            Unprocessable: a filter is not valid.
        """
        params = {
            "project": project,
            "execution": execution,
            "nodeId": node_id,
            "owner": owner,
            "state": state,
            "cursor": cursor,
            "limit": str(limit),
        }
        return self._call(calls.LIST_QUARANTINE, params=params)

    def add_to_quarantine(self, request: wire.QuarantineRequest, *, key: str = "") -> wire.QuarantineEntry:
        """Put a test into quarantine; needs a token with the scope ``quarantine:write``.

        An entry that the test has already is replaced.

        Raises:
            Unprocessable: the project has not run such a test, or the end is not valid.
        """
        return self._call(calls.ADD_TO_QUARANTINE, request, key=key)

    def remove_from_quarantine(self, entry_id: str) -> wire.QuarantineEntry:
        """Remove a test from quarantine; needs a token with the scope ``quarantine:write``.

        Raises:
            NotFound: the entry does not exist.
            Conflict: its quarantine has ended already.
        """
        return self._call(calls.REMOVE_FROM_QUARANTINE, entry_id=entry_id)

    def delete_execution(self, execution_id: str) -> wire.ExecutionDeleted:
        """Delete an execution that has ended, with all its results; needs a token with the scope ``admin``.

        Raises:
            NotFound: the execution does not exist.
            Conflict: it has not ended; cancel it first.
        """
        return self._call(calls.DELETE_EXECUTION, execution_id=execution_id)

    def cancel_execution(self, execution_id: str) -> wire.ExecutionCancelled:
        """Cancel an execution: "Cancel Execution" in the API document.

        Raises:
            NotFound: the execution does not exist.
            Conflict: it has already ended.
        """
        return self._call(calls.CANCEL_EXECUTION, execution_id=execution_id)

    def submit_results(
        self, submission: wire.ResultsSubmission[Any], *, key: str = ""
    ) -> wire.SubmissionAccepted:
        """Submit a shard's results: "Submit Test Results" in the API document.

        A test that is submitted again for the same shard replaces the earlier result. Durations are in
        milliseconds.

        Raises:
            NotFound: the execution does not exist.
            Unprocessable: fields are invalid; ``details`` lists all of them.
            TooLarge: the body is larger than the server accepts; submit fewer tests at a time.
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
        """Return a page of an execution's tests, as they were submitted; needs the capability ``tests``.

        ``limit`` is at most 200; ``cursor`` is that of the page before.

        Raises:
            NotFound: the execution does not exist.
        """
        params = {"status": status, "cursor": cursor, "limit": str(limit)}
        return self._call(calls.LIST_TESTS, params=params, execution_id=execution_id)

    def iter_tests(
        self, execution_id: str, *, status: wire.TestStatus | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield all tests of an execution; see ``list_tests``."""
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
        """Report an event of an execution: "Execute Tests with Webhook Updates" in the API document.

        ``webhook_url`` and ``webhook_token`` come from the response to ``create_execution``. Without them the
        event goes to the base URL, with the client's token.

        Raises:
            NotFound: the execution does not exist.
            Conflict: the state of the execution does not allow the event.
        """
        return self._call(
            calls.SEND_EVENT,
            event,
            url=webhook_url,
            token=webhook_token,
            key=key,
            execution_id=event.execution_id,
        )

    def get_artifact(self, execution_id: str, sha256: str) -> wire.StoredArtifact:
        """Return what is stored of a file of an execution; needs the capability ``artifacts``.

        Raises:
            NotFound: it was not uploaded, or the execution does not exist.
        """
        return self._call(calls.GET_ARTIFACT, execution_id=execution_id, sha256=sha256)

    def has_artifact(self, execution_id: str, sha256: str) -> bool:
        """Return whether a file was uploaded; needs the capability ``artifacts``."""
        url = self._url(calls.GET_ARTIFACT, {"execution_id": execution_id, "sha256": sha256})
        response = self._session.send_authorized("HEAD", url)
        if response.status_code == NotFound.status:
            return False
        if response.status_code != calls.GET_ARTIFACT.status:
            raise error_of(response, origin_of(url))
        return True

    def read_artifact(self, execution_id: str, sha256: str, *, limit: int | None = None) -> bytes:
        """Return the content of a file, or its first ``limit`` bytes; needs the capability ``artifacts``.

        Raises:
            NotFound: it was not uploaded, or the execution does not exist.
        """
        url = self._url(calls.READ_ARTIFACT, {"execution_id": execution_id, "sha256": sha256})
        if limit is not None:
            url += f"?limit={limit}"
        response = self._session.send_authorized("GET", url)
        if response.status_code != calls.READ_ARTIFACT.status:
            raise error_of(response, origin_of(url))
        return response.content

    def upload_artifact(
        self, execution_id: str, sha256: str, content: bytes | UploadBody, *, name: str = ""
    ) -> wire.StoredArtifact:
        """Upload a file of an execution, once for each content; needs the capability ``artifacts``.

        ``content`` is bytes or a file that is open to read bytes, which is not read into memory as a whole.
        ``sha256`` is the hash of it in hexadecimal digits. ``name`` is the one that pages show.

        Raises:
            NotFound: the execution does not exist.
            Unprocessable: the content has another hash.
            TooLarge: it is larger than the server accepts.
            QuotaExceeded: the execution or the server has no room for it.
        """
        url = self._url(calls.UPLOAD_ARTIFACT, {"execution_id": execution_id, "sha256": sha256})
        if name:
            url += "?" + urlencode({"name": name}, errors="replace")
        headers = {"Content-Type": "application/octet-stream"}
        response = self._session.send_authorized("PUT", url, headers, content)
        return decode(response, origin_of(url), wire.StoredArtifact)

    def create_webhook(self, request: wire.WebhookRequest, *, key: str = "") -> wire.Webhook:
        """Register a webhook: "Register Webhook" in the API document.

        If the request has no ``secret``, the server generates one and returns it in this response only.

        Raises:
            Unprocessable: a field is invalid, or the egress policy of the server forbids the URL.
        """
        return self._call(calls.CREATE_WEBHOOK, request, key=key)

    def list_webhooks(self) -> list[wire.Webhook]:
        """Return all webhooks, the oldest first."""
        return self._call(calls.LIST_WEBHOOKS).webhooks

    def get_webhook(self, webhook_id: str) -> wire.Webhook:
        """Return a webhook.

        Raises:
            NotFound: the webhook does not exist.
        """
        return self._call(calls.GET_WEBHOOK, webhook_id=webhook_id)

    def update_webhook(self, webhook_id: str, change: wire.WebhookChange) -> wire.Webhook:
        """Change a webhook. ``status`` pauses it, or activates one that is paused or disabled.

        Raises:
            NotFound: the webhook does not exist.
            Unprocessable: a field is invalid.
        """
        return self._call(calls.UPDATE_WEBHOOK, change, webhook_id=webhook_id)

    def delete_webhook(self, webhook_id: str) -> wire.WebhookDeleted:
        """Delete a webhook and its deliveries.

        Raises:
            NotFound: the webhook does not exist.
        """
        return self._call(calls.DELETE_WEBHOOK, webhook_id=webhook_id)

    def rotate_webhook_secret(
        self, webhook_id: str, rotation: wire.SecretRotation | None = None, *, key: str = ""
    ) -> wire.Webhook:
        """Replace the secret of a webhook. The previous one stays valid for 24 hours.

        Raises:
            NotFound: the webhook does not exist.
        """
        rotation = rotation or wire.SecretRotation()
        return self._call(calls.ROTATE_WEBHOOK_SECRET, rotation, key=key, webhook_id=webhook_id)

    def validate_webhook(self, webhook_id: str, *, key: str = "") -> wire.WebhookValidation:
        """Make the server send a test payload, within 15 s: "Validate Webhook" in the API document.

        Raises:
            NotFound: the webhook does not exist.
        """
        return self._call(calls.VALIDATE_WEBHOOK, key=key, webhook_id=webhook_id)

    def list_deliveries(
        self,
        webhook_id: str,
        *,
        status: wire.DeliveryStatus | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> wire.DeliveryPage:
        """Return a page of a webhook's deliveries, the newest first.

        ``limit`` is at most 200; ``cursor`` is that of the page before.

        Raises:
            NotFound: the webhook does not exist.
        """
        params = {"status": status, "cursor": cursor, "limit": str(limit)}
        return self._call(calls.LIST_DELIVERIES, params=params, webhook_id=webhook_id)

    def replay_deliveries(self, webhook_id: str, delivery_id: str | None = None, *, key: str = "") -> int:
        """Send one delivery again, or without ``delivery_id`` all that failed. Return their number.

        Raises:
            NotFound: the webhook or delivery does not exist.
        """
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
        params: Mapping[str, str | Sequence[str] | None] | None = None,
        **path: str,
    ) -> Gives:
        url = url or self._url(call, path)
        if params:
            url += "?" + urlencode(
                {name: value for name, value in params.items() if value is not None}, doseq=True
            )
        headers = {}
        if call.method == "POST":
            headers["Idempotency-Key"] = key or uuid.uuid4().hex
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
            if self.compress and len(content) >= MIN_COMPRESSED:
                content = gzip.compress(content, compresslevel=1)
                headers["Content-Encoding"] = "gzip"
        if token:
            headers["Authorization"] = f"Bearer {token}"
            response = self._session.send(call.method, url, headers, content)
        else:
            response = self._session.send_authorized(call.method, url, headers, content)
        return decode(response, origin_of(url), call.gives)

    def _url(self, call: Call[Any, Any], path: Mapping[str, str]) -> str:
        return self.base_url + call.path.format(**{name: _segment(each) for name, each in path.items()})


def _segment(value: str) -> str:
    """Return an id as one segment of a path.

    Raises:
        NotFound: it is a dot segment, which every HTTP client removes from a path, so that it names
            another resource.
    """
    if value in (".", ".."):
        raise NotFound(f"There is nothing with the id {value!r}")
    return quote(value, safe="")
