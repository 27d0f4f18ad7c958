"""The call that submits the results of a shard."""

from __future__ import annotations

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.server.api.routes import route
from pytest_tms.server.api.submissions import decode_results
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.metrics import Metrics
from pytest_tms.server.services import results
from pytest_tms.server.services.idempotency import IdempotentRequest
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker


@route(calls.SUBMIT_RESULTS)
def submit_results(
    body: bytes,
    database: Database,
    settings: ServerSettings,
    urls: Urls,
    delivery_worker: DeliveryWorker,
    idempotency: IdempotentRequest,
    caller: Caller,
    metrics: Metrics,
) -> wire.SubmissionAccepted:
    """Store a shard's tests and its end, and the end of the execution if it was the last one."""
    decoded = decode_results(body)
    accepted = results.submit_results(
        database,
        settings,
        decoded.submission,
        decoded.tests,
        decoded.documents,
        decoded.fields,
        urls=urls,
        delivery_worker=delivery_worker,
        idempotency=idempotency,
        caller=caller,
    )
    metrics.received_results("submission", len(decoded.tests))
    return accepted
