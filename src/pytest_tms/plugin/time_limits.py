"""Records timeouts that end the process: those of pytest-timeout's method ``thread``."""

from __future__ import annotations

from collections.abc import Callable

import pytest


class TimeLimits:
    """Records the limit of each such test (the process that runs the tests)."""

    def __init__(self, record: Callable[[str, float], None]) -> None:
        """``record`` receives a node id and seconds."""
        self._record = record

    def pytest_timeout_set_timer(self, item: pytest.Item, settings: object) -> None:
        """Record the limit; without a return value pytest-timeout sets its timer as usual."""
        if getattr(settings, "method", "") == "thread" and (limit := getattr(settings, "timeout", None)):
            self._record(item.nodeid, float(limit))
