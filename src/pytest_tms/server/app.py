"""Build the application from its settings: the only module that connects its parts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from litestar import Litestar, Router
from litestar.di import Provide

from pytest_tms.client import calls
from pytest_tms.server import pages
from pytest_tms.server.api import (
    about,
    artifacts,
    cases,
    claims,
    events,
    executions,
    exports,
    history,
    quarantine,
    results,
    routes,
    timings,
    tokens,
    webhooks,
)
from pytest_tms.server.api.authentication import authenticated_caller, authentication_guard
from pytest_tms.server.api.dependencies import idempotent_request, request_urls
from pytest_tms.server.api.rate_limits import rate_limit_guard
from pytest_tms.server.asgi.body_limits import MAX_BODY
from pytest_tms.server.asgi.middleware import Middleware
from pytest_tms.server.domain import rates
from pytest_tms.server.domain.egress import EgressPolicy
from pytest_tms.server.jobs.artifacts import ArtifactJob
from pytest_tms.server.jobs.deadlines import DeadlineJob
from pytest_tms.server.jobs.encryption import EncryptionJob
from pytest_tms.server.jobs.expiry import ExpiryJob
from pytest_tms.server.jobs.quarantine import QuarantineJob
from pytest_tms.server.jobs.retention import RetentionJob
from pytest_tms.server.metrics import Metrics
from pytest_tms.server.operation import endpoints
from pytest_tms.server.operation.readiness import Readiness
from pytest_tms.server.operation.shutdown import DelayedShutdown
from pytest_tms.server.pages.page_session import page_guard
from pytest_tms.server.services.change_feed import ChangeFeed
from pytest_tms.server.services.live_progress import LiveProgress
from pytest_tms.server.services.person_logins import PersonLogins
from pytest_tms.server.services.rate_limits import RateLimits
from pytest_tms.server.services.token_exchange import TokenExchange
from pytest_tms.server.services.token_usage import TokenUsage
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from pytest_tms.server.webhooks.encryption import SecretEncryption
from pytest_tms.server.webhooks.test_payloads import TestPayloads

MAX_HANDLERS = 64
"""Requests that one process handles at a time."""


def create_app(settings: ServerSettings, database: Database) -> Middleware:
    """Return the ASGI application of one server process; the schema of its database is up to date."""
    calls.prepare_decoders()
    encryption = SecretEncryption(settings.keys, settings.data_dir)
    egress_policy = EgressPolicy(settings.allow_insecure_webhooks, settings.webhook_subnets)
    metrics = Metrics()
    database.observer = metrics
    probe = database.probe()
    delivery_worker = DeliveryWorker(settings, database, encryption, egress_policy, metrics)
    test_payloads = TestPayloads(egress_policy)
    rate_limits = RateLimits(rates.parse(settings.rate_limits), settings.redis_url)
    live_progress = LiveProgress(database, settings, rate_limits, delivery_worker.wake)
    token_usage = TokenUsage(database)
    token_exchange = TokenExchange(settings.trusted_issuers)
    person_logins = PersonLogins(settings, encryption)
    change_feed = ChangeFeed(database)
    objects = ObjectStore(settings.artifacts_url, settings.data_dir, database.cipher)
    readiness = Readiness(settings, probe, encryption, objects)
    api = Router(
        path="/api",
        route_handlers=[
            *routes.options(),
            about.describe_service,
            about.openapi,
            tokens.exchange_id_token,
            executions.create_execution,
            executions.list_executions,
            executions.get_execution,
            executions.delete_execution,
            executions.cancel_execution,
            executions.list_tests,
            exports.export_execution,
            results.submit_results,
            artifacts.get_artifact,
            artifacts.read_artifact,
            artifacts.upload_artifact,
            events.event_handler(database, settings, rate_limits, live_progress, delivery_worker, metrics),
            claims.claim_tests,
            *history.HANDLERS,
            *cases.HANDLERS,
            *quarantine.HANDLERS,
            *timings.HANDLERS,
            *webhooks.HANDLERS,
        ],
        guards=[
            routes.guard_of(
                authentication_guard(settings, database, token_usage),
                rate_limit_guard(rate_limits, database),
                routes.check_query,
            )
        ],
    )
    app = Litestar(
        [api, *pages.routes(page_guard(settings, database, token_usage)), *endpoints.HANDLERS],
        dependencies={
            "settings": Provide(lambda: settings, sync_to_thread=False),
            "database": Provide(lambda: database, sync_to_thread=False),
            "urls": Provide(request_urls, sync_to_thread=False),
            "idempotency": Provide(idempotent_request, sync_to_thread=False),
            "objects": Provide(lambda: objects, sync_to_thread=False),
            "rate_limits": Provide(lambda: rate_limits, sync_to_thread=False),
            "token_usage": Provide(lambda: token_usage, sync_to_thread=False),
            "token_exchange": Provide(lambda: token_exchange, sync_to_thread=False),
            "person_logins": Provide(lambda: person_logins, sync_to_thread=False),
            "change_feed": Provide(lambda: change_feed, sync_to_thread=False),
            "metrics": Provide(lambda: metrics, sync_to_thread=False),
            "probe": Provide(lambda: probe, sync_to_thread=False),
            "readiness": Provide(lambda: readiness, sync_to_thread=False),
            "caller": Provide(authenticated_caller, sync_to_thread=False),
            "encryption": Provide(lambda: encryption, sync_to_thread=False),
            "egress_policy": Provide(lambda: egress_policy, sync_to_thread=False),
            "delivery_worker": Provide(lambda: delivery_worker, sync_to_thread=False),
            "test_payloads": Provide(lambda: test_payloads, sync_to_thread=False),
        },
        exception_handlers=pages.EXCEPTION_HANDLERS,
        on_shutdown=[database.close],
        lifespan=[
            DelayedShutdown(readiness, settings.shutdown_delay).running,
            _handler_threads,
            metrics.running,
            change_feed.running,
            delivery_worker.running,
            DeadlineJob(settings, database, delivery_worker).running,
            ExpiryJob(database).running,
            RetentionJob(settings, database).running,
            QuarantineJob(settings, database).running,
            ArtifactJob(database, objects).running,
            EncryptionJob(database, objects).running,
            token_usage.running,
        ],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY,
    )
    made = Middleware(app, _hosts(settings), metrics, urlsplit(settings.public_url).netloc.lower())
    metrics.sample(
        in_progress=lambda: made.in_progress,
        streams=lambda: len(change_feed),
        connections=lambda: database.connections_in_use,
    )
    return made


@contextlib.asynccontextmanager
async def _handler_threads(_: Litestar) -> AsyncIterator[None]:
    """Give the handlers threads of their own; everything else that blocks has its own threads."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(MAX_HANDLERS, "tms-handler"))
    yield


def _hosts(settings: ServerSettings) -> frozenset[str] | None:
    """Return the host names that a local server accepts, with that of its public URL; None for any."""
    if not settings.is_local:
        return None
    public = urlsplit(settings.public_url).hostname
    return frozenset({"127.0.0.1", "localhost", "[::1]", settings.host, *([public] if public else [])})
