"""The one who sends: takes webhooks that nobody holds, and delivers to each at its own pace.

A process holds a webhook by a lease in the database, so that one alone keeps order and pace. Within a
process all is one event loop; SQL runs on a thread, a turn at a time: write what ended, take what is
free, read what is due. A turn follows every commit that wrote events here, every end of an attempt, and
the clock: often while webhooks are held, since another process may have written, seldom otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pytest_tms.errors import ApiError
from pytest_tms.server.domain.delivery_policy import Response, Webhook, judge
from pytest_tms.server.domain.egress import EgressPolicy
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import webhooks
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.webhooks import Due, Outcome
from pytest_tms.server.webhooks.encryption import Credentials, SecretEncryption
from pytest_tms.server.webhooks.http_sender import HttpSender, NameLookups

LOG = logging.getLogger("pytest_tms.server")
LEASE = 6.0
"""Seconds of a lease: after a crash, somebody else goes on by then."""
TRUSTED = 4.0
"""Seconds for which a lease is used without being renewed: clocks may differ by the rest."""
RENEWED = 1.5
"""Seconds between two renewals."""
HELD_POLL = 0.05
"""Seconds between two turns while a webhook is held."""
IDLE_POLL = 1.0
"""The same while none is."""
AT_ONCE = 16
"""Executions whose events go to one webhook at the same time; one at a time after a failure."""
BATCH = 128
"""Deliveries of one webhook that are read at a time."""
PATIENCE = 3.0
"""Seconds that a shutdown waits for deliveries under way."""
UNREADABLE_REASON = (
    "Its deliveries wait: a server cannot decrypt its secret. All servers need the same TMS_SERVER_KEYS"
)
UNREADABLE = 60_000
"""Milliseconds that a webhook waits whose secret cannot be decrypted."""
LOOKUPS = 64
"""Threads that look up names: enough of them that dead name servers hold up nobody else."""


@dataclass
class Endpoint:
    """A webhook that this process holds: how it is reached, and its pace."""

    webhook: Webhook
    sender: HttpSender
    credentials: Credentials
    starts: deque[float]
    leased_until: float
    used_at: float
    busy: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    is_failing: bool = False
    rest_until: int = 0

    async def pace(self) -> None:
        """Wait for this endpoint's next slot: never more than its rate in any second."""
        if self.starts.maxlen:
            now = time.monotonic()
            at = max(now, self.starts[0] + 1) if len(self.starts) == self.starts.maxlen else now
            self.starts.append(at)
            await asyncio.sleep(at - now)

    @property
    def room(self) -> int:
        """How many more executions may be served now."""
        return (1 if self.is_failing else AT_ONCE) - len(self.busy)


class DeliveryWorker:
    """Delivers for one process; ``wake`` it after a commit that wrote events."""

    def __init__(
        self, settings: ServerSettings, database: Database, keys: SecretEncryption, targets: EgressPolicy
    ) -> None:
        self._settings = settings
        self._database = database
        self._keys = keys
        self._targets = targets
        self._name = f"{socket.gethostname()[:30]}.{os.getpid()}.{secrets.token_hex(4)}"
        self._endpoints: dict[str, Endpoint] = {}
        self._outcomes: list[Outcome] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sql_thread = ThreadPoolExecutor(1, "tms-webhooks")
        self._lookups = NameLookups(LOOKUPS, "tms-lookup")
        self._woken = asyncio.Event()
        self._renewed = 0.0

    def wake(self) -> None:
        """Look for work at once; from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the next start finds the work
                self._loop.call_soon_threadsafe(self._woken.set)

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Deliver for as long as the application lives; what is under way at the end gets a moment."""
        self._loop = asyncio.get_running_loop()
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self._stop()

    async def _run(self) -> None:
        troubled = False
        while True:
            try:
                await self._turn()
                troubled = False
            except Exception as error:  # the database is away: it stays so for a while
                if not troubled:
                    LOG.warning("webhooks are not delivered for now: %s", error)
                troubled = True
            poll = IDLE_POLL if troubled or not self._endpoints else HELD_POLL
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(self._woken.wait(), poll)
            self._woken.clear()
            if troubled:
                await asyncio.sleep(IDLE_POLL / 4)

    async def _turn(self) -> None:
        """One round: write, take, read, start."""
        outcomes, self._outcomes = self._outcomes, []
        busy = {webhook_id: list(endpoint.busy) for webhook_id, endpoint in self._endpoints.items()}
        rooms = {webhook_id: endpoint.room for webhook_id, endpoint in self._endpoints.items()}
        begun = time.monotonic()
        work = asyncio.get_running_loop().run_in_executor(self._sql_thread, self._sql, outcomes, busy, rooms)
        try:
            found = await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise
        except Exception:
            self._outcomes[:0] = outcomes
            raise
        lapsed = [webhook_id for webhook_id in self._endpoints if webhook_id not in found]
        for webhook_id in lapsed:
            await self._drop(webhook_id)
        for webhook_id, (webhook, credentials, rows) in found.items():
            endpoint = self._endpoints.get(webhook_id)
            if endpoint is None:
                rate = self._settings.webhook_rate
                starts: deque[float] = deque(maxlen=rate)
                sender = HttpSender(self._targets, self._lookups)
                endpoint = Endpoint(webhook, sender, credentials, starts, 0, begun)
                endpoint.is_failing = webhook.failing_since is not None
                self._endpoints[webhook_id] = endpoint
            endpoint.webhook = webhook
            if rows:
                endpoint.credentials = credentials
            endpoint.leased_until = self._renewed + TRUSTED
            self._start(endpoint, rows)
        await self._release(begun)

    def _sql(
        self, outcomes: list[Outcome], busy: dict[str, list[str]], rooms: dict[str, int]
    ) -> dict[str, tuple[Webhook, Credentials, list[Due]]]:
        """The SQL of a turn: the webhooks that are held, with their credentials and what is due."""
        begun = time.monotonic()
        now = _now()
        with self._database.read() as connection:
            free = webhooks.claimable(connection, now)
        if not (outcomes or free or rooms):
            return {}
        if outcomes or free or (rooms and begun - self._renewed > RENEWED):
            with self._database.write() as connection:
                now, begun = _now(), time.monotonic()
                webhooks.hold(connection, self._name, outcomes)
                webhooks.record(connection, outcomes, now)
                webhooks.renew(connection, self._name, now, now + round(LEASE * 1000))
                webhooks.claim(connection, self._name, now, now + round(LEASE * 1000))
            self._renewed = begun
        found = {}
        unreadable: list[str] = []
        with self._database.read() as connection:
            for webhook, _ in webhooks.held(connection, self._name, now):
                rows: list[Due] = []
                room = rooms.get(webhook.id, AT_ONCE)
                if webhook.status == "active" and webhook.resume_at <= now and room > 0:
                    rows = webhooks.due(connection, webhook.id, busy.get(webhook.id, ()), now, BATCH)
                credentials = Credentials([], {})
                try:
                    if rows:
                        credentials = self._keys.credentials(webhook, now)
                except ValueError as error:
                    LOG.warning("webhook %s has to wait: %s", webhook.id, error)
                    unreadable.append(webhook.id)
                    rows = []
                found[webhook.id] = (webhook, credentials, rows)
        for webhook_id in unreadable:
            with self._database.write() as connection:
                webhooks.rest(connection, webhook_id, now + UNREADABLE, UNREADABLE_REASON)
        return found

    def _start(self, endpoint: Endpoint, rows: list[Due]) -> None:
        """Send what is due, the events of each execution one after the other."""
        chains: dict[str, list[Due]] = {}
        for row in rows:
            chains.setdefault(row.execution_id, []).append(row)
        for execution_id, chain in list(chains.items())[: max(0, endpoint.room)]:
            endpoint.busy[execution_id] = asyncio.create_task(self._deliver(endpoint, execution_id, chain))

    async def _deliver(self, endpoint: Endpoint, execution_id: str, chain: list[Due]) -> None:
        try:
            for row in chain:
                await endpoint.pace()
                webhook = endpoint.webhook
                if time.monotonic() > endpoint.leased_until or webhook.status != "active":
                    return
                if _now() < endpoint.rest_until:
                    return
                response = await endpoint.sender.send(
                    webhook.url,
                    endpoint.credentials.secrets,
                    row.id,
                    row.body.encode(),
                    endpoint.credentials.headers,
                )
                outcome = _outcome(webhook, row, response)
                self._outcomes.append(outcome)
                endpoint.used_at = time.monotonic()
                endpoint.is_failing = not response.is_good
                endpoint.rest_until = max(endpoint.rest_until, outcome.rest_until)
                if outcome.status == "pending" or outcome.rest_until or outcome.disable:
                    return
        except Exception:
            LOG.exception("a delivery to webhook %s went wrong", endpoint.webhook.id)
        finally:
            del endpoint.busy[execution_id]
            self._woken.set()

    async def _release(self, now: float) -> None:
        """Give back what has had nothing to do for a second, by when its pace starts anew anyway."""
        idle = [
            webhook_id
            for webhook_id, endpoint in self._endpoints.items()
            if not endpoint.busy and now - endpoint.used_at > 1 and not self._outcomes
        ]
        if idle:
            await asyncio.get_running_loop().run_in_executor(self._sql_thread, self._give_back, idle, [])
            for webhook_id in idle:
                await self._drop(webhook_id)

    async def _drop(self, webhook_id: str) -> None:
        """Forget a webhook whose lease is another's: what is under way ends, nothing more begins."""
        endpoint = self._endpoints.pop(webhook_id)
        endpoint.leased_until = 0
        if not endpoint.busy:
            await endpoint.sender.close()

    async def _stop(self) -> None:
        tasks = [task for endpoint in self._endpoints.values() for task in endpoint.busy.values()]
        for endpoint in self._endpoints.values():
            endpoint.leased_until = 0
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        held = list(self._endpoints)
        for webhook_id in held:
            await self._drop(webhook_id)
        if held or self._outcomes:
            with contextlib.suppress(ApiError):  # the lease runs out by itself
                self._give_back(held, self._outcomes)
        self._sql_thread.shutdown()
        self._lookups.close()

    def _give_back(self, webhook_ids: list[str], outcomes: list[Outcome]) -> None:
        with self._database.write() as connection:
            webhooks.hold(connection, self._name, outcomes)
            webhooks.record(connection, outcomes, _now())
            webhooks.release(connection, self._name, webhook_ids)


def _outcome(webhook: Webhook, row: Due, response: Response) -> Outcome:
    now = _now()
    verdict = judge(webhook, row.attempts + 1, response, now)
    return Outcome(
        webhook_id=webhook.id,
        execution_id=row.execution_id,
        number=row.number,
        status=verdict.status,
        attempts=row.attempts + 1,
        due_at=verdict.due_at,
        response_code=response.code,
        reason=response.reason,
        disable=verdict.disable,
        rest_until=verdict.rest_until,
    )


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
