"""Builds the application from its settings: the only place where parts are wired."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide

from pytest_tms.client import calls
from pytest_tms.server import pages
from pytest_tms.server.api import about, events, executions, rate_limits, results, routes, webhooks
from pytest_tms.server.api.authentication import caller
from pytest_tms.server.api.idempotency import once
from pytest_tms.server.api.token_usage import TokenUsage
from pytest_tms.server.asgi.body_limits import LARGEST_BODY
from pytest_tms.server.asgi.middleware import Middleware
from pytest_tms.server.domain import rates
from pytest_tms.server.domain.egress import EgressPolicy
from pytest_tms.server.jobs.deadlines import DeadlineJob
from pytest_tms.server.jobs.expiry import ExpiryJob
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker
from pytest_tms.server.webhooks.encryption import SecretEncryption
from pytest_tms.server.webhooks.test_payloads import TestPayloads

HANDLERS = 64
"""Requests of one process that are handled at a time."""


def create_app(settings: ServerSettings, database: Database) -> Middleware:
    """The ASGI application of one server process, on a database whose schema is up to date."""
    calls.prepare_decoders()
    keys = SecretEncryption(settings.keys, settings.data_dir)
    targets = EgressPolicy(settings.allow_insecure_webhooks, settings.webhook_subnets)
    worker = DeliveryWorker(settings, database, keys, targets)
    validations = TestPayloads(targets)
    counted = rate_limits.RateLimits(rates.parse(settings.rate_limits), settings.redis_url)
    visits = TokenUsage(database)
    api = Router(
        path="/api",
        route_handlers=[
            *routes.options(),
            about.describe_service,
            about.openapi,
            executions.create_execution,
            executions.get_execution,
            executions.cancel_execution,
            executions.list_tests,
            results.submit_results,
            events.send_event,
            *webhooks.HANDLERS,
        ],
    )
    app = Litestar(
        [api, *pages.routes()],
        state=State({"settings": settings, "database": database, "limits": counted, "visits": visits}),
        dependencies={
            "settings": Provide(lambda: settings, sync_to_thread=False),
            "database": Provide(lambda: database, sync_to_thread=False),
            "addresses": Provide(routes.addresses, sync_to_thread=False),
            "once": Provide(once, sync_to_thread=False),
            "limits": Provide(lambda: counted, sync_to_thread=False),
            "visits": Provide(lambda: visits, sync_to_thread=False),
            "caller": Provide(caller, sync_to_thread=False),
            "keys": Provide(lambda: keys, sync_to_thread=False),
            "targets": Provide(lambda: targets, sync_to_thread=False),
            "worker": Provide(lambda: worker, sync_to_thread=False),
            "validations": Provide(lambda: validations, sync_to_thread=False),
        },
        exception_handlers=pages.EXCEPTION_HANDLERS,
        on_shutdown=[database.close],
        lifespan=[
            _handler_threads,
            worker.running,
            DeadlineJob(settings, database, worker).running,
            ExpiryJob(database).running,
            visits.running,
        ],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=LARGEST_BODY,
    )
    return Middleware(app, _hosts(settings), urlsplit(settings.public_url).netloc.lower())


@contextlib.asynccontextmanager
async def _handler_threads(_: Litestar) -> AsyncIterator[None]:
    """Give the handlers threads of their own: whatever else may block brings its own."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(HANDLERS, "tms-handler"))
    yield


def _hosts(settings: ServerSettings) -> frozenset[str] | None:
    """The names that a server on this machine may be called by; behind a proxy also its public one."""
    if not settings.is_local:
        return None
    public = urlsplit(settings.public_url).hostname
    return frozenset({"127.0.0.1", "localhost", "[::1]", settings.host, *([public] if public else [])})


def from_environment() -> Middleware:
    """The application by the TMS_SERVER_* variables alone, for uvicorn's worker processes."""
    settings = ServerSettings.read()
    return create_app(settings, Database(settings.database))
