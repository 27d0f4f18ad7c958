"""Assigns shards to xdist's workers, and counts the tests that they collected (xdist's controller)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_tms.plugin.hook_errors import WORKER_ERRORS, HookErrors

INPUT = "tms"
"""The key of ``workerinput`` that holds the context of a worker."""


class Workers:
    """Maps workers to shards: "1" to "N" in their order, or the one shard that ``--tms-shard`` names.

    A replacement worker takes over its predecessor's shard: xdist gives it a new id, but starts it from the
    same spec object. ``context`` returns the context of a worker by its shard, ``on_collected`` receives the
    number of tests that the workers run.
    """

    def __init__(
        self,
        config: pytest.Config,
        shard: str,
        context: Callable[[str], dict[str, str]],
        errors: HookErrors,
        on_collected: Callable[[int], None],
    ) -> None:
        from xdist import workermanage  # type: ignore[import-untyped]  # xdist has no types

        # Renamed in 3.7.
        names = ("parse_tx_spec_config", "parse_spec_config")
        parse = next(getattr(workermanage, name) for name in names if hasattr(workermanage, name))
        self._shard = shard
        self._context = context
        self._errors = errors
        self._on_collected = on_collected
        self._specs: list[object] = []
        self._shard_by_worker: dict[str, str] = {}
        self._collected: dict[str, list[str]] = {}
        self.has_crashed = False
        self.each: bool = config.getoption("dist") == "each"
        self.count: int = len(parse(config))

    def shard_of(self, worker: str) -> str:
        """Return the shard of a worker; the first one's if the worker is unknown."""
        return self._shard or self._shard_by_worker.get(worker, "1")

    @property
    def collected(self) -> int:
        """How many tests will run: every worker's under ``--dist each``; otherwise all have the same."""
        counts = [len(ids) for ids in self._collected.values()]
        return sum(counts) if self.each else max(counts, default=0)

    @property
    def names(self) -> list[str]:
        """The node ids of the tests that will run, as xdist has them."""
        return max(self._collected.values(), key=len, default=[])

    def pytest_xdist_setupnodes(self, specs: list[object]) -> None:
        """Keep the specs of the workers that are about to start, in order."""
        self._specs = list(specs)

    def pytest_configure_node(self, node: Any) -> None:
        """Send a worker its shard and the rest of its context."""
        for number, spec in enumerate(self._specs, 1):
            if spec is node.gateway.spec:
                self._shard_by_worker[node.gateway.id] = str(number)
        node.workerinput[INPUT] = self._context(self.shard_of(node.gateway.id))

    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Keep the node ids of the tests that a worker collected."""
        before = self.collected
        self._collected[self._shard_by_worker.get(node.gateway.id, "1")] = ids
        if self.collected != before:
            self._on_collected(self.collected)

    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Record the errors of a worker that ends."""
        self.has_crashed = self.has_crashed or error is not None
        self._errors.extend(getattr(node, "workeroutput", {}).get(WORKER_ERRORS, []))
