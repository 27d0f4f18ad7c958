"""Measures the setup of fixtures that several tests share: those of classes, modules, packages and sessions.

Runs in the process that runs the tests. The first test that needs such a fixture contains its setup; a later
run may give this test, and the setup, to another shard.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from pytest_tms.text import clean

MIN_SECONDS = 0.001
"""Shorter setups are not reported."""
MAX_SETUPS = 100
"""Setups that are reported of one test."""
MAX_NAME = 2_000
"""Characters of a node id or a fixture's name."""


class SharedSetupTimes:
    """Measures setups, each without those that it requests by ``getfixturevalue``.

    ``finished`` are those that no report has yet, as fields of ``wire.SharedSetup``.
    """

    def __init__(self) -> None:
        self._nested: list[float] = []  # for each setup that has begun: seconds of those within it
        self.finished: list[dict[str, Any]] = []
        self._clock: Callable[[], float] = time.perf_counter  # bound here: tests replace those of the module

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None]:
        """Measure a fixture, unless each test has its own."""
        # With ``wrapper=True``, the traceback of a failing fixture would contain this function.
        # The node of a fixture of one test is this test, also for the scope of classes outside of them.
        # Reading the scope takes longer.
        if isinstance(request.node, pytest.Item):
            yield
            return
        self._nested.append(0.0)
        begun = self._clock()
        yield
        seconds = self._clock() - begun
        own = seconds - self._nested.pop()
        if self._nested:
            self._nested[-1] += seconds
        if own >= MIN_SECONDS:
            self.after_pytest_fixture_setup(fixturedef, request, own)

    def after_pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest, seconds: float
    ) -> None:
        """Keep the setup of a fixture until the next report."""
        if len(self.finished) >= MAX_SETUPS:
            return
        self.finished.append(
            {
                "scope": fixturedef.scope,
                "node": clean(request.node.nodeid)[:MAX_NAME],
                "fixture": clean(fixturedef.argname)[:MAX_NAME],
                "duration": round(1000 * seconds),
            }
        )

    def take(self) -> list[dict[str, Any]]:
        """Return ``finished`` and forget it."""
        found = self.finished
        self.finished = []
        return found
