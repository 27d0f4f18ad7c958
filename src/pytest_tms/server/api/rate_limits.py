"""Rate limits of calls: counts requests before their handlers run, and describes the limit in headers."""

from __future__ import annotations

from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from pytest_tms.client.calls import Call
from pytest_tms.server.api.routes import Check
from pytest_tms.server.domain.api_tokens import hash_token
from pytest_tms.server.request_context import bearer_token, request_context
from pytest_tms.server.services.idempotency import is_replay
from pytest_tms.server.services.rate_limits import Meter, RateLimits
from pytest_tms.server.store.database import Database


def rate_limit_guard(rate_limits: RateLimits, database: Database) -> Check:
    """Return the guard that counts the requests of each API call, after their authentication.

    It counts on a thread if the counters are in Redis, and raises RateLimited if a limit is exceeded.
    """

    async def count(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        call: Call[Any, Any] | None = handler.opt.get("call")
        context = request_context(connection.scope)
        if call is None or call.limit is None or context.caller is None:
            return
        # The events of an execution share one counter, for all tokens.
        of_execution = call.limit == "events"
        key = connection.path_params["execution_id"][:100] if of_execution else context.caller.id
        meter = rate_limits.meter(call.limit, hash_token(key))
        if meter is not None:
            context.meter = meter
            changes = call.method != "GET"
            charge = partial(meter.charge, int(changes))
            error = await run_sync(charge) if rate_limits.is_shared else charge()
            if error is not None and changes:
                # A replayed request is refunded later, and never refused.
                key = connection.headers.get("Idempotency-Key", "")
                if not await run_sync(is_replay, database, bearer_token(connection), key):
                    raise error

    return count


def rate_limit_headers(meter: Meter | None) -> list[tuple[bytes, bytes]]:
    """Return the headers with the remaining requests of a caller; none if nothing was counted.

    They are the four documented ones, and the two of draft-ietf-httpapi-ratelimit-headers, in which a policy
    has the name of its limit.
    """
    if meter is None or meter.usage is None:
        return []
    usage = meter.usage
    headers = {
        "x-ratelimit-limit": usage.limit,
        "x-ratelimit-remaining": usage.remaining,
        "x-ratelimit-reset": usage.reset,
        "x-ratelimit-window": usage.window,
        "ratelimit-policy": f'"{usage.name}";q={usage.limit};w={usage.window}',
        "ratelimit": f'"{usage.name}";r={usage.remaining};t={usage.wait}',
    }
    return [(name.encode(), str(value).encode()) for name, value in headers.items()]
