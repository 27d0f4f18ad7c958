"""How many executions with results a server accepts."""

from __future__ import annotations

import time

from tests.helpers.faults import Load


def accepted_rate(url: str, token: str, *, warm_up: float, seconds: float) -> float:
    """Return the executions a second of runners without a pause, after ``warm_up`` seconds."""
    load = Load(url, token)
    load.start()
    time.sleep(warm_up)
    begun, before = time.monotonic(), len(load.accepted)
    time.sleep(seconds)
    rate = (len(load.accepted) - before) / (time.monotonic() - begun)
    load.stop()
    return rate
