"""Metrics of one server process, in the text format of Prometheus. `docs/operating.md` lists them.

Several workers write their values to files in the folder that ``PROMETHEUS_MULTIPROC_DIR`` names, and the
worker that is scraped adds them up (the multiprocess mode of prometheus-client).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client import Metric as MetricFamily
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable with the folder that workers share; prometheus-client reads it when it is imported."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Upper limits of the histograms of durations, in seconds."""
WAIT_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30)
"""Upper limits of the histograms of waits, in seconds."""
SAMPLE_INTERVAL = 1.0
"""Seconds between two samples of the gauges of a process."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one process. Threads may share it."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client has no types for it
        self._folder = os.environ.get(FOLDER, "")
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tms_http_requests_total",
            "Responses by method, route and status.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._durations = Histogram(
            "tms_http_request_duration_seconds",
            "Time from the head of a request to the end of its response, without streams.",
            ("method", "route"),
            buckets=REQUEST_BUCKETS,
            registry=self._registry,
        )
        self._in_progress = self._gauge("tms_http_requests_in_progress", "Requests in progress.")
        self._streams = self._gauge("tms_streams_open", "Pages that are notified of changes.")
        self._results = Counter(
            "tms_results_received_total",
            "Results in accepted requests, sent while a shard ran (live) or at its end (submission).",
            ("source",),
            registry=self._registry,
        )
        self._deliveries = Counter(
            "tms_webhook_attempts_total",
            "Attempts to deliver an event to a webhook: delivered, retried later, or failed permanently.",
            ("outcome",),
            registry=self._registry,
        )
        self._delivery_durations = Histogram(
            "tms_webhook_attempt_duration_seconds",
            "Time of one attempt to deliver an event.",
            buckets=REQUEST_BUCKETS,
            registry=self._registry,
        )
        self._connection_waits = Histogram(
            "tms_database_connection_wait_seconds",
            "Time that a transaction waited for a connection of the pool.",
            buckets=WAIT_BUCKETS,
            registry=self._registry,
        )
        self._lock_waits = Histogram(
            "tms_database_write_lock_wait_seconds",
            "Time that a transaction waited for SQLite's write lock.",
            buckets=WAIT_BUCKETS,
            registry=self._registry,
        )
        self._unavailable = Counter(
            "tms_database_unavailable_total",
            "Transactions that failed because the database did not respond, or a lock was not free in time.",
            registry=self._registry,
        )
        self._connections = self._gauge("tms_database_connections_in_use", "Connections of the pool in use.")
        self._samples: list[tuple[Gauge, Callable[[], int]]] = []

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry, multiprocess_mode="livesum")

    def responded(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a response; ``seconds`` is None for a stream. ``route`` is the template of its path."""
        method = method if method in METHODS else "OTHER"
        self._requests.labels(method, route, str(status)).inc()
        if seconds is not None:
            self._durations.labels(method, route).observe(seconds)

    def received_results(self, source: str, number: int) -> None:
        """Count results of an accepted request; ``source`` is ``live`` or ``submission``."""
        if number:
            self._results.labels(source).inc(number)

    def attempted_delivery(self, status: str, seconds: float) -> None:
        """Count an attempt; ``status`` is that of the delivery after it: delivered, pending or failed."""
        self._deliveries.labels("retried" if status == "pending" else status).inc()
        self._delivery_durations.observe(seconds)

    def waited_for_connection(self, seconds: float) -> None:
        """Record how long a transaction waited for a connection."""
        self._connection_waits.observe(seconds)

    def waited_for_write_lock(self, seconds: float) -> None:
        """Record how long a transaction waited for SQLite's write lock."""
        self._lock_waits.observe(seconds)

    def was_unavailable(self) -> None:
        """Count a transaction that failed because the database did not respond."""
        self._unavailable.inc()

    def sample(
        self, in_progress: Callable[[], int], streams: Callable[[], int], connections: Callable[[], int]
    ) -> None:
        """Set the functions that return the present values of the gauges."""
        self._samples = [
            (self._in_progress, in_progress),
            (self._streams, streams),
            (self._connections, connections),
        ]

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Sample the gauges until the application ends."""
        task = asyncio.create_task(self._repeat())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._set_gauges(stopping=True)

    async def _repeat(self) -> None:
        while True:
            self._set_gauges()
            await asyncio.sleep(SAMPLE_INTERVAL)

    def _set_gauges(self, *, stopping: bool = False) -> None:
        for gauge, value in self._samples:
            gauge.set(0 if stopping else value())

    def render(self, database: Iterable[MetricFamily]) -> bytes:
        """Return all metrics of all workers as text, with those of the database."""
        self._set_gauges()
        registry = CollectorRegistry()
        if self._folder:
            _forget_ended(Path(self._folder))
            MultiProcessCollector(registry, path=self._folder)  # type: ignore[no-untyped-call]  # the same
        else:
            registry.register(_Fixed(self._registry.collect()))
        registry.register(_Fixed(database))
        return generate_latest(registry)


class _Fixed(Collector):
    """A collector of metrics that have been collected."""

    def __init__(self, found: Iterable[MetricFamily]) -> None:
        self._found = list(found)

    def collect(self) -> Iterable[MetricFamily]:
        return self._found


def gauge(name: str, text: str, value: float) -> MetricFamily:
    """Return a metric with one value."""
    return GaugeMetricFamily(name, text, value=value)


def _forget_ended(folder: Path) -> None:
    """Remove the gauges of workers that have ended; their counters remain."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, path=str(folder))  # type: ignore[no-untyped-call]  # the same
        except PermissionError:
            pass
