"""The endpoints for operators: ``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

from anyio.to_thread import run_sync
from litestar import Request, Response, get

from pytest_tms.errors import ServiceUnavailable, Unauthorized
from pytest_tms.server.metrics import CONTENT_TYPE, Metrics
from pytest_tms.server.operation import database_metrics
from pytest_tms.server.operation.readiness import STOPPING, Readiness
from pytest_tms.server.pages.direct_requests import is_own_user
from pytest_tms.server.request_context import bearer_token
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database

SCRAPE_TIMEOUT = 8.0
"""Seconds after which a request for metrics fails; Prometheus waits for 10."""


@get("/healthz")
async def healthz() -> Response[dict[str, str]]:
    """Return 200 for as long as the process handles requests. It uses neither a thread nor the database."""
    return Response({"status": "ok"})


@get("/readyz")
async def readyz(readiness: Readiness) -> Response[dict[str, Any]]:
    """Return the outcome of each check, with 503 if one failed or the server is stopping."""
    checks = await readiness.outcomes()
    is_ready = not readiness.is_stopping and all(outcome == "ok" for outcome in checks.values())
    status = STOPPING if readiness.is_stopping else "ready" if is_ready else "not ready"
    return Response({"status": status, "checks": checks}, status_code=200 if is_ready else 503)


@get("/metrics")
async def metrics_text(
    request: Request[Any, Any, Any], settings: ServerSettings, metrics: Metrics, probe: Database
) -> Response[bytes]:
    """Return the metrics in the text format of Prometheus.

    Raises:
        Unauthorized: The request does not have the token of the setting or, if none is set, is not from the
            user of the server on its machine.
        ServiceUnavailable: The metrics could not be read in time.
    """
    expected = settings.metrics_token
    if expected:
        is_allowed = hmac.compare_digest(bearer_token(request).encode(), expected.encode())
    else:
        is_allowed = not settings.requires_login and await is_own_user(request)
    if not is_allowed:
        raise Unauthorized(
            "Metrics need the Bearer token that the operator sets in TMS_SERVER_METRICS_TOKEN."
        )
    try:
        rendering = run_sync(_render, metrics, probe, abandon_on_cancel=True)
        text = await asyncio.wait_for(rendering, SCRAPE_TIMEOUT)
    except (TimeoutError, asyncio.TimeoutError):
        raise ServiceUnavailable(
            "The metrics could not be read in time; try again later.", retry_after=5
        ) from None
    return Response(text, media_type=CONTENT_TYPE)


def _render(metrics: Metrics, probe: Database) -> bytes:
    return metrics.render(database_metrics.collect(probe))


HANDLERS = [healthz, readyz, metrics_text]
