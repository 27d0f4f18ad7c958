"""Tests whose timeout ends the process: pytest-timeout's method ``thread``."""

from __future__ import annotations

from collections.abc import Callable

import pytest


class TimeLimits:
    """Notes the limit of each such test (the process that runs the tests)."""

    def __init__(self, note: Callable[[str, float], None]) -> None:
        """``note`` receives a node id and seconds."""
        self._note = note

    def pytest_timeout_set_timer(self, item: pytest.Item, settings: object) -> None:
        """Note the limit; without a return value pytest-timeout sets its timer as usual."""
        if getattr(settings, "method", "") == "thread" and (limit := getattr(settings, "timeout", None)):
            self._note(item.nodeid, float(limit))
