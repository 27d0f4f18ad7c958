"""The delivery worker of a process: leases webhooks and sends their due deliveries.

A process leases a webhook in the database, so that one process alone keeps the order and the rate of its
deliveries. Sending runs on the event loop; SQL runs on one thread, one cycle at a time: record outcomes,
renew and take leases, read due deliveries. Many deliveries are read at a time, and wait in the memory of the
process, so that a backlog needs few cycles. A cycle follows each commit of this process that wrote
deliveries, the end of an attempt if few are waiting, and a poll interval, since other processes write
deliveries too.
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
from typing import NamedTuple

from pytest_tms.errors import ApiError, ServiceUnavailable
from pytest_tms.server.domain.delivery_policy import Decision, SubscriberResponse, Subscription, decide
from pytest_tms.server.domain.egress import EgressPolicy
from pytest_tms.server.metrics import Metrics
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import deliveries, webhooks
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.deliveries import DueDelivery, Outcome
from pytest_tms.server.webhooks.encryption import Credentials, SecretEncryption
from pytest_tms.server.webhooks.http_sender import HttpSender, NameResolver

LOG = logging.getLogger("pytest_tms.server")
LEASE = 6.0
"""Seconds of a lease: after a crash, another process continues by then."""
LEASE_USE = 4.0
"""Seconds for which a lease is used without a renewal; the rest allows for clocks that differ."""
RENEWAL_INTERVAL = 1.5
"""Seconds between two renewals."""
LEASED_POLL_INTERVAL = 0.05
"""Seconds between two cycles while a webhook is leased."""
IDLE_POLL_INTERVAL = 1.0
"""Seconds between two cycles while none is."""
MAX_PARALLEL = 16
"""Executions whose events are sent to one webhook in parallel; one at a time after a failure."""
BATCH = 512
"""Deliveries of one webhook that are read at a time, and wait in memory at most."""
MAX_WAIT = 2.0
"""Seconds for which deliveries wait in memory; then they are read again, since they may have changed."""
SLOW_READ = 0.02
"""Seconds of a read of due deliveries after which the next ones begin where it ended: on PostgreSQL,
delivered rows stay in the index for as long as any transaction may see them."""
READ_ALL_INTERVAL = 1.0
"""Seconds after which such reads begin at the start again; 20 times as long as it takes, if that is more."""
SETTLED = 1_000
"""Milliseconds after which no transaction is expected to commit a delivery with a lower number."""
SHUTDOWN_TIMEOUT = 3.0
"""Seconds that a shutdown waits for deliveries in progress."""
DECRYPTION_REASON = (
    "Deliveries are suspended: a server cannot decrypt the secret. All servers need the same TMS_SERVER_KEYS"
)
DECRYPTION_PAUSE = 60_000
"""Milliseconds for which a webhook is suspended whose secret cannot be decrypted."""
RESOLVER_THREADS = 64
"""Threads that resolve names: enough that unresponsive name servers do not delay other webhooks."""


@dataclass
class ReadPosition:
    """Where the due deliveries of a webhook are read: after the number ``after``, 0 for from the start."""

    after: int = 0
    from_start_at: float = 0.0

    def start(self, now: float) -> int:
        """Return the number after which to read at ``now``."""
        return 0 if now >= self.from_start_at else self.after

    def record(self, rows: list[DueDelivery], seconds: float, now: float, milliseconds: int) -> None:
        """Record a read that began at ``now``, which is ``milliseconds`` since 1970, and how long it took."""
        if now >= self.from_start_at:
            self.after = 0
            if seconds < SLOW_READ:
                return
            self.from_start_at = now + max(READ_ALL_INTERVAL, 20 * seconds)
        settled = [row.number for row in rows if row.created_at < milliseconds - SETTLED]
        self.after = max([self.after, *settled])


class Read(NamedTuple):
    """What a cycle reads of a webhook: at most ``limit`` deliveries, of none of the executions ``busy``."""

    limit: int
    busy: list[str]
    position: ReadPosition


@dataclass
class Endpoint:
    """A leased webhook: its connections, credentials, rate and the deliveries in progress by execution.

    ``starts`` are the times of the latest attempts, as many as the rate allows per second. ``waiting`` are
    deliveries by execution that were read and are sent next; more are read once at most ``refill_at`` of
    these executions are left. ``reads`` is where they are read. Times but ``suspended_until`` are those of
    ``time.monotonic``.
    """

    webhook: Subscription
    sender: HttpSender
    credentials: Credentials
    starts: deque[float]
    leased_until: float
    used_at: float
    busy: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    is_failing: bool = False
    suspended_until: int = 0
    waiting: dict[str, list[DueDelivery]] = field(default_factory=dict)
    waiting_since: float = 0.0
    refill_at: int = 0
    reads: ReadPosition = field(default_factory=ReadPosition)

    @property
    def wanted(self) -> int:
        """The number of deliveries to read now."""
        if self.free_slots <= 0 or len(self.waiting) > self.refill_at:
            return 0
        return max(0, BATCH - sum(map(len, self.waiting.values())))

    def next_read(self, now: float) -> Read:
        """Return what the next cycle reads; deliveries that have waited for too long are read again."""
        if self.waiting and now - self.waiting_since > MAX_WAIT:
            self.waiting.clear()
        return Read(self.wanted, [*self.busy, *self.waiting], self.reads)

    async def wait_for_slot(self) -> None:
        """Wait until another attempt may start: never more than the rate in any second."""
        if self.starts.maxlen:
            now = time.monotonic()
            at = max(now, self.starts[0] + 1) if len(self.starts) == self.starts.maxlen else now
            self.starts.append(at)
            await asyncio.sleep(at - now)

    @property
    def free_slots(self) -> int:
        """The number of further executions whose events may be sent now."""
        return (1 if self.is_failing else MAX_PARALLEL) - len(self.busy)


class DeliveryWorker:
    """Sends the deliveries of one process; call ``wake`` after a commit that wrote some."""

    def __init__(
        self,
        settings: ServerSettings,
        database: Database,
        encryption: SecretEncryption,
        egress_policy: EgressPolicy,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._database = database
        self._encryption = encryption
        self._egress_policy = egress_policy
        self._name = f"{socket.gethostname()[:30]}.{os.getpid()}.{secrets.token_hex(4)}"
        self._endpoints: dict[str, Endpoint] = {}
        self._outcomes: list[Outcome] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sql_thread = ThreadPoolExecutor(1, "tms-webhooks")
        self._resolver = NameResolver(RESOLVER_THREADS, "tms-resolver")
        self._woken = asyncio.Event()
        self._renewed_at = 0.0

    def wake(self) -> None:
        """Start a cycle now. Safe to call from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the next start of a server sends it
                self._loop.call_soon_threadsafe(self._woken.set)

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Deliver while the application runs; at the end wait for deliveries in progress."""
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
        is_failing = False
        while True:
            try:
                await self._cycle()
                is_failing = False
            except Exception as error:  # the database does not respond: try again later
                if not is_failing:
                    LOG.warning("webhook deliveries are suspended: %s", error)
                is_failing = True
            poll = IDLE_POLL_INTERVAL if is_failing or not self._endpoints else LEASED_POLL_INTERVAL
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(self._woken.wait(), poll)
            self._woken.clear()
            if is_failing:
                await asyncio.sleep(IDLE_POLL_INTERVAL / 4)

    async def _cycle(self) -> None:
        """Record outcomes, take and renew leases, read due deliveries, and start to send them."""
        outcomes, self._outcomes = self._outcomes, []
        started = time.monotonic()
        reads = {webhook_id: endpoint.next_read(started) for webhook_id, endpoint in self._endpoints.items()}
        work = asyncio.get_running_loop().run_in_executor(self._sql_thread, self._sql, outcomes, reads)
        try:
            found = await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise
        except Exception:
            self._outcomes[:0] = outcomes
            raise
        expired = [webhook_id for webhook_id in self._endpoints if webhook_id not in found]
        for webhook_id in expired:
            await self._drop(webhook_id)
        for webhook_id, (webhook, credentials, rows) in found.items():
            endpoint = self._endpoints.get(webhook_id)
            if endpoint is None:
                rate = self._settings.webhook_rate
                starts: deque[float] = deque(maxlen=rate)
                sender = HttpSender(self._egress_policy, self._resolver)
                endpoint = Endpoint(webhook, sender, credentials, starts, 0, started)
                endpoint.is_failing = webhook.failing_since is not None
                self._endpoints[webhook_id] = endpoint
            endpoint.webhook = webhook
            if rows:
                endpoint.credentials = credentials
            endpoint.leased_until = self._renewed_at + LEASE_USE
            self._add(endpoint, rows, reads[webhook_id].limit if webhook_id in reads else BATCH)
            self._start(endpoint)
        await self._release(started)

    def _sql(
        self, outcomes: list[Outcome], reads: dict[str, Read]
    ) -> dict[str, tuple[Subscription, Credentials, list[DueDelivery]]]:
        """Run the SQL of a cycle; return the leased webhooks with their credentials and due deliveries."""
        started = time.monotonic()
        now = _now()
        with self._database.read() as connection:
            claimable = webhooks.claimable(connection, now)
        if not (outcomes or claimable or reads):
            return {}
        if outcomes or claimable or (reads and started - self._renewed_at > RENEWAL_INTERVAL):
            with self._database.write() as connection:
                now, started = _now(), time.monotonic()
                deliveries.record(connection, self._name, outcomes, now)
                webhooks.renew(connection, self._name, now, now + round(LEASE * 1000))
                webhooks.take_leases(connection, self._name, now, now + round(LEASE * 1000))
            self._renewed_at = started
        found = {}
        undecryptable: list[str] = []
        with self._database.read() as connection:
            for webhook in webhooks.leased(connection, self._name, now):
                rows: list[DueDelivery] = []
                read = reads.get(webhook.id) or Read(BATCH, [], ReadPosition())
                if webhook.status == "active" and webhook.suspended_until <= now and read.limit:
                    begun = time.monotonic()
                    after = read.position.start(begun)
                    rows = deliveries.due(connection, webhook.id, read.busy, now, read.limit, after=after)
                    read.position.record(rows, time.monotonic() - begun, begun, now)
                credentials = Credentials([], {})
                try:
                    if rows:
                        credentials = self._encryption.credentials(webhook, now)
                except (ServiceUnavailable, ValueError) as error:
                    LOG.warning("deliveries to webhook %s are suspended: %s", webhook.id, error)
                    undecryptable.append(webhook.id)
                    rows = []
                found[webhook.id] = (webhook, credentials, rows)
        for webhook_id in undecryptable:
            with self._database.write() as connection:
                webhooks.pause_until(connection, webhook_id, now + DECRYPTION_PAUSE, DECRYPTION_REASON)
        return found

    def _add(self, endpoint: Endpoint, rows: list[DueDelivery], limit: int) -> None:
        """Add deliveries that were read to those that wait."""
        if not rows:
            endpoint.refill_at = min(endpoint.refill_at, len(endpoint.waiting) - 1) if endpoint.waiting else 0
            return
        if not endpoint.waiting:
            endpoint.waiting_since = time.monotonic()
        for row in rows:
            endpoint.waiting.setdefault(row.execution_id, []).append(row)
        # There are more if as many were found as were wanted: they are read before the last ones are sent.
        endpoint.refill_at = len(endpoint.waiting) // 2 if len(rows) == limit else 0

    def _start(self, endpoint: Endpoint) -> None:
        """Send waiting deliveries: those of each execution in order, different executions in parallel."""
        webhook = endpoint.webhook
        if webhook.status != "active" or _now() < max(endpoint.suspended_until, webhook.suspended_until):
            endpoint.waiting.clear()
        while endpoint.waiting and endpoint.free_slots > 0:
            execution_id = next(iter(endpoint.waiting))
            chain = endpoint.waiting.pop(execution_id)
            endpoint.busy[execution_id] = asyncio.create_task(self._deliver(endpoint, execution_id, chain))

    async def _deliver(self, endpoint: Endpoint, execution_id: str, chain: list[DueDelivery]) -> None:
        try:
            for row in chain:
                await endpoint.wait_for_slot()
                webhook = endpoint.webhook
                if time.monotonic() > endpoint.leased_until or webhook.status != "active":
                    return
                if _now() < endpoint.suspended_until:
                    return
                started = time.monotonic()
                response = await endpoint.sender.send(
                    webhook.url,
                    endpoint.credentials.secrets,
                    row.id,
                    row.body.encode(),
                    endpoint.credentials.headers,
                )
                decision = decide(webhook, row.attempts + 1, response, _now())
                self._outcomes.append(_outcome(webhook, row, response, decision))
                self._metrics.attempted_delivery(decision.status, time.monotonic() - started)
                endpoint.used_at = time.monotonic()
                endpoint.is_failing = not response.is_success
                endpoint.suspended_until = max(endpoint.suspended_until, decision.suspended_until)
                if decision.status == "pending" or decision.suspended_until or decision.disable:
                    return
        except Exception:
            LOG.exception("unexpected error in a delivery to webhook %s", endpoint.webhook.id)
        finally:
            del endpoint.busy[execution_id]
            if time.monotonic() < endpoint.leased_until:
                self._start(endpoint)
            if len(endpoint.waiting) <= endpoint.refill_at or len(self._outcomes) >= BATCH:
                self._woken.set()

    async def _release(self, now: float) -> None:
        """Release webhooks that were idle for a second, after which the rate needs no memory of attempts."""
        idle = [
            webhook_id
            for webhook_id, endpoint in self._endpoints.items()
            if not endpoint.busy and now - endpoint.used_at > 1 and not self._outcomes
        ]
        if idle:
            await asyncio.get_running_loop().run_in_executor(self._sql_thread, self._release_leases, idle, [])
            for webhook_id in idle:
                await self._drop(webhook_id)

    async def _drop(self, webhook_id: str) -> None:
        """Remove a webhook that is no longer leased. Attempts in progress end, no further one starts."""
        endpoint = self._endpoints.pop(webhook_id)
        endpoint.leased_until = 0
        if not endpoint.busy:
            await endpoint.sender.close()

    async def _stop(self) -> None:
        tasks = [task for endpoint in self._endpoints.values() for task in endpoint.busy.values()]
        for endpoint in self._endpoints.values():
            endpoint.leased_until = 0
        if tasks:
            await asyncio.wait(tasks, timeout=SHUTDOWN_TIMEOUT)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        leased = list(self._endpoints)
        for webhook_id in leased:
            await self._drop(webhook_id)
        if leased or self._outcomes:
            with contextlib.suppress(ApiError):  # the leases expire by themselves
                self._release_leases(leased, self._outcomes)
        self._sql_thread.shutdown()
        self._resolver.close()

    def _release_leases(self, webhook_ids: list[str], outcomes: list[Outcome]) -> None:
        with self._database.write() as connection:
            deliveries.record(connection, self._name, outcomes, _now())
            webhooks.release(connection, self._name, webhook_ids)


def _outcome(
    webhook: Subscription, row: DueDelivery, response: SubscriberResponse, decision: Decision
) -> Outcome:
    return Outcome(
        webhook_id=webhook.id,
        execution_id=row.execution_id,
        number=row.number,
        attempts=row.attempts + 1,
        decision=decision,
        response_code=response.code,
        reason=response.reason,
    )


def _now() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
