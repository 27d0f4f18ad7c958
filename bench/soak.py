"""What a server holds after a long time at half of its peak: memory, handles, write-ahead log and outbox."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from pathlib import Path

import requests

from bench.load import accepted_rate
from bench.server import serving
from bench.table import table
from tests.helpers.faults import RESULTS, THREADS, Load
from tests.helpers.subscribers import subscribing

PEAK = 20.0
"""Seconds in which the peak is found."""
SAMPLE = 15.0
"""Seconds between two samples."""
COLUMNS = ("memory (MB)", "handles", "WAL (MB)", "outbox", "outbox age (s)")


def measure(minutes: float) -> str:
    """The table: medians of the first, the middle and the last quarter of the time."""
    environ = {"TMS_SERVER_WEBHOOK_RATE": "0", "TMS_SERVER_ALLOW_INSECURE_WEBHOOKS": "1"}
    pids: list[int] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        subscribing() as subscribers,
        serving(Path(folder) / "data", environ=environ, pids=pids) as (url, token),
    ):
        hook = {"url": subscribers.url("soak"), "events": ["execution.completed"]}
        headers = {"Authorization": f"Bearer {token}"}
        assert requests.post(f"{url}/webhooks", json=hook, headers=headers, timeout=60).status_code == 201
        rate = accepted_rate(url, token, warm_up=PEAK / 4, seconds=PEAK)  # the caches are filled first
        load = Load(url, token, interval=THREADS / (rate / 2))
        load.start()
        samples = []
        ends_at = time.monotonic() + minutes * 60
        while time.monotonic() < ends_at:
            time.sleep(SAMPLE)
            samples.append(_sample(pids[0], url))
        load.stop()
        sent = sum(load.accepted.values())
        delivered = len(subscribers.of("soak"))
    quarter = max(1, len(samples) // 4)
    middle = len(samples) // 2 - quarter // 2
    parts = {
        "first quarter": samples[:quarter],
        "middle": samples[middle : middle + quarter],
        "last quarter": samples[-quarter:],
    }
    rows = [
        [name, *(f"{statistics.median(values):.1f}" for values in zip(*part, strict=True))]
        for name, part in parts.items()
    ]
    refused = {status: number for status, number in load.statuses.items() if not status.startswith("2")}
    return (
        f"{minutes:g} minutes on SQLite at half of the peak ({rate:.0f} executions of {RESULTS} results "
        f"a second): {sent:,} results, {delivered:,} deliveries, refused: {refused or 'none'}\n"
        f"{table(['part', *COLUMNS], rows)}"
    )


def _sample(pid: int, url: str) -> tuple[float, ...]:
    status = Path(f"/proc/{pid}/status").read_text()
    text = requests.get(f"{url.removesuffix('/api')}/metrics", timeout=30).text

    def metric(name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else float("nan")

    return (
        int(status.partition("VmRSS:")[2].split()[0]) / 1024,
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
        metric("tms_database_wal_bytes") / 1e6,
        metric("tms_deliveries_pending"),
        metric("tms_outbox_age_seconds"),
    )
