"""The call by which a runner takes tests from the queue of its execution."""

from __future__ import annotations

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.validation import decode
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import claims
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.services.rate_limits import RateLimits
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker


@route(calls.CLAIM_TESTS)
def claim_tests(
    body: bytes,
    database: Database,
    urls: Urls,
    delivery_worker: DeliveryWorker,
    idempotency: IdempotentRequest,
    rate_limits: RateLimits,
    caller: Caller,
    execution_id: str,
) -> wire.Claim:
    """Return the next batch of tests of a runner; a repeated number returns the same batch."""
    request, _ = decode(body, wire.ClaimRequest, lambda _: ())
    return claims.claim_tests(
        database,
        rate_limits,
        execution_id,
        request,
        urls=urls,
        delivery_worker=delivery_worker,
        idempotency=idempotency,
        caller=caller,
    )
