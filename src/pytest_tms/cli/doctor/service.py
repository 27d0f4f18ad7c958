"""Checks whether the TMS responds, accepts the token, and allows the run."""

from __future__ import annotations

import json
import os
import threading
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from pytest_tms.cli.doctor.findings import Findings, mask_credentials
from pytest_tms.cli.doctor.refusals import refusals

if TYPE_CHECKING:
    from pytest_tms.client import TmsClient

TMS_TIMEOUT = 12
"""Seconds for all calls to the TMS."""


def examine_service(found: dict[str, Any], findings: Findings) -> str:
    """Fill ``findings``; return why the TMS does not accept results, or an empty text.

    ``found`` are the settings. The thread that calls the TMS is abandoned after ``TMS_TIMEOUT``, since a
    server may never complete its response.
    """
    problems: list[str] = []

    def call() -> None:
        from pytest_tms.errors import TmsError, Unreachable
        from pytest_tms.sender.advice import advise

        try:
            _call(found, findings)
        except Unreachable as error:
            text = str(error).rstrip(".")
            problems.append(f"{text}; check the base URL, and that the TMS is running")
        except TmsError as error:
            problems.append(advise(error))
        except Exception as error:  # a URL or a response may hold anything
            problems.append(
                f"{found['url']} cannot be examined ({type(error).__name__}: {error}): check the base URL"
            )

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(TMS_TIMEOUT)
    if thread.is_alive():
        return (
            f"{found['url']} did not respond in full within {TMS_TIMEOUT} s: check the base URL and the TMS"
        )
    return problems[0] if problems else ""


def _call(found: dict[str, Any], findings: Findings) -> None:
    """Call the TMS with the token.

    Raises:
        TmsError: the TMS does not accept results with the token.
    """
    from pytest_tms.ci.id_tokens import find_id_token
    from pytest_tms.client import TmsClient
    from pytest_tms.sender.job_tokens import find_job_token

    url = found["url"]
    source = find_id_token(os.environ)
    if source is not None and found["token"]:
        findings.notes.append(f"the ID token of {source.name} is not used, because there is an API token")
    elif source is not None:
        findings.notes.append(f"there is no API token: the ID token of {source.name} is exchanged for one")
    token = found["token"] or find_job_token(url, os.environ, retries=0) or ""

    with (
        TmsClient(url, token, retries=0, connect_timeout=3, read_timeout=5) as client,
        TmsClient(url, retries=0, connect_timeout=3, read_timeout=5) as anonymous,
    ):
        _check_token(client, found["execution"], found["suite"], found["environment"], findings)
        if findings.token is None:
            _check_refusal_without_token(anonymous)


def _check_token(client: TmsClient, execution: str, suite: str, environment: str, findings: Findings) -> None:
    """Check whether the TMS accepts the token and the run.

    A server of this project describes itself and the token; any other server is sent a request for an
    execution.

    Raises:
        TmsError: the TMS refuses the token or the run.
    """
    import msgspec

    from pytest_tms.errors import ApiError, NotFound, NotTms, TmsError
    from pytest_tms.wire import ServiceInfo

    try:
        service = client.describe_service()
    except (ApiError, NotTms):
        service = ServiceInfo()
    if (response := client.last_response) is not None:
        findings.tms = {
            "url": mask_credentials(client.base_url),
            "milliseconds": round(response.elapsed.total_seconds() * 1000),
            "service": service.service,
            "version": service.version,
        }
        if date := response.headers.get("Date"):
            findings.clock_skew = _skew(date)
    findings.capabilities = list(service.capabilities)
    if service.service and service.token is None:
        raise TmsError("the token is unknown, expired or revoked: set TMS_API_TOKEN to a valid token")
    if service.token is not None:
        findings.token = json.loads(msgspec.json.encode(service.token))
    refused = refusals(service, suite=suite, environment=environment, execution=execution)
    if refused:
        findings.problems += refused[1:]
        raise TmsError(refused[0])
    if execution or not service.service:
        try:
            client.get_execution(execution or "exec_0")
        except NotFound:
            if execution:
                raise


def _check_refusal_without_token(client: TmsClient) -> None:
    """Check that a request without a token is refused, as every TMS does.

    Raises:
        NotTms: the request is not refused.
    """
    from pytest_tms.errors import NotFound, NotTms, Unauthorized

    try:
        client.get_execution("exec_0")
    except Unauthorized:
        return
    except NotFound:
        pass
    raise NotTms(
        f"{client.base_url} does not require a token, as a TMS does: check that the base URL includes /api"
    )


def _skew(date: str) -> int | None:
    """Return the seconds by which the clock here is ahead of a ``Date`` header; None if it is not a time."""
    try:
        return round(time.time() - parsedate_to_datetime(date).timestamp())
    except ValueError:
        return None
