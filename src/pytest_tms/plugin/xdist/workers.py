"""xdist's workers, as its controller sees them: which shard each one is, and how many tests there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_tms.plugin.hook_errors import TROUBLE


class Workers:
    """Maps workers to shards: slot "1" to "N", or the one shard that ``--tms-shard`` names.

    A replacement worker takes over its predecessor's slot: xdist gives it a new id, but starts it from the
    same spec object. ``tell`` answers what a worker on a shard has to know; ``learn`` takes what went wrong
    in one.
    """

    def __init__(
        self,
        config: pytest.Config,
        shard: str,
        tell: Callable[[str], dict[str, str]],
        learn: Callable[[list[str]], None],
        on_collected: Callable[[int], None],
    ) -> None:
        from xdist import workermanage  # type: ignore[import-untyped]

        # Renamed in 3.7.
        names = ("parse_tx_spec_config", "parse_spec_config")
        parse = next(getattr(workermanage, name) for name in names if hasattr(workermanage, name))
        self._shard = shard
        self._tell = tell
        self._learn = learn
        self._on_collected = on_collected
        self._specs: list[object] = []
        self._slot_of: dict[str, str] = {}
        self._collected: dict[str, list[str]] = {}
        self.has_crashed = False
        self.each: bool = config.getoption("dist") == "each"
        self.count: int = len(parse(config))

    def shard_of(self, worker: str) -> str:
        """The shard of a worker; the first one's where the worker is not known."""
        return self._shard or self._slot_of.get(worker, "1")

    @property
    def collected(self) -> int:
        """How many tests will run: every worker's under ``--dist each``; otherwise all have the same."""
        counts = [len(ids) for ids in self._collected.values()]
        return sum(counts) if self.each else max(counts, default=0)

    @property
    def names(self) -> list[str]:
        """The node ids of what will run, as xdist has them."""
        return max(self._collected.values(), key=len, default=[])

    def pytest_xdist_setupnodes(self, specs: list[object]) -> None:
        """Note the specs of the workers that are about to start, in order."""
        self._specs = list(specs)

    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker what it reports to."""
        for number, spec in enumerate(self._specs, 1):
            if spec is node.gateway.spec:
                self._slot_of[node.gateway.id] = str(number)
        node.workerinput["tms"] = self._tell(self.shard_of(node.gateway.id))

    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Note the tests that a worker collected."""
        before = self.collected
        self._collected[self._slot_of.get(node.gateway.id, "1")] = ids
        if self.collected != before:
            self._on_collected(self.collected)

    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Learn what went wrong in a worker that ends."""
        self.has_crashed = self.has_crashed or error is not None
        self._learn(getattr(node, "workeroutput", {}).get(TROUBLE, []))
