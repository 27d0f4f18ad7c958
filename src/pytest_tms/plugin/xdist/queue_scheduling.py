"""Gives the tests of a queue to xdist's workers (xdist's controller)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScheduling  # type: ignore[import-untyped]  # xdist has no types

from pytest_tms.plugin.session.queue import TestQueue
from pytest_tms.plugin.xdist.sharding import is_grouped, test_id

if TYPE_CHECKING:
    import pytest

MIN_PENDING = 2
"""Tests that a worker has at least: it begins the last one only if it knows that another or none follows."""


class QueueScheduling(LoadScheduling):  # type: ignore[misc]  # xdist has no types
    """Sends tests that ``queue`` assigns to the workers, so that each has at least two.

    With ``--dist loadscope``, ``loadfile`` and ``loadgroup``, tests of one scope run in one worker. A shard
    with workers does not wait for tests of other shards.
    """

    def __init__(self, config: pytest.Config, log: Any, queue: TestQueue) -> None:
        super().__init__(config, log)
        self._queue = queue
        self._dsession = config.pluginmanager.getplugin("dsession")
        self._session = config.pluginmanager.getplugin("session")
        self._is_ending = False
        self._scope_of = _SCOPES.get(config.getoption("dist"), _no_scope)
        self._bound: dict[str, Any] = {}
        self._nodeids: list[str] = []
        self.collection: list[str] | None

    @property
    def tests_finished(self) -> bool:
        """Whether every test that this shard takes has been sent, and almost every one has ended."""
        return bool(super().tests_finished) and (self._is_ending or not self.collection)

    def schedule(self) -> None:
        """Take the first tests once every worker has collected; later, supply a worker that was added."""
        if self.collection is None:
            if not self._check_nodes_have_same_collection():
                return
            self.collection = next(iter(self.node2collection.values()))
            if not self.collection:
                return
            name_of = test_id if is_grouped(self.config) else str
            self._nodeids = list(self.collection)
            tests = [(name_of(nodeid), _group(nodeid)) for nodeid in self._nodeids]
            self._queue.start(tests, len(self.nodes))
        self._supply()

    def check_schedule(self, node: Any, duration: float = 0) -> None:
        """Supply the workers after a change of one of them."""
        if self.collection is not None:
            self._supply()

    def remove_node(self, node: Any) -> str | None:
        """Remove a worker that has ended; return the test that was running if it crashed."""
        self._bound = {scope: each for scope, each in self._bound.items() if each is not node}
        crashed: str | None = super().remove_node(node)
        return crashed

    def _supply(self) -> None:
        """Send tests until every worker has ``MIN_PENDING``; shut workers down if no more arrive."""
        while True:
            nodes = [node for node in self.nodes if not node.shutting_down]
            undersupplied = [node for node in nodes if len(self.node2pending[node]) < MIN_PENDING]
            for node in sorted(undersupplied, key=lambda node: len(self.node2pending[node])):
                self._send(node, len(nodes))
            undersupplied = [node for node in undersupplied if len(self.node2pending[node]) < MIN_PENDING]
            if not self._is_ending:
                sent = sum(map(len, self.node2pending.values()))
                self._queue.request_ahead(len(nodes), sent + len(self.pending))
            self._session.testscollected = self._queue.progress_total(is_over=self._is_ending)
            if not undersupplied:
                return
            if self._is_ending:
                for node in undersupplied:
                    node.shutdown()
                return
            if len(undersupplied) < len(nodes):  # this is called again at the next event of a worker
                return
            if self.pending:  # tests of scopes that are bound to workers that end
                self._bound.clear()
            elif self._dsession.shouldstop or not self._queue.wait(for_others=False):
                self._is_ending = True

    def _send(self, node: Any, nodes: int) -> None:
        """Send tests to a worker, so that it has a part of those that have arrived."""
        arrived = len(self.pending) + self._queue.left
        wanted = max(MIN_PENDING, arrived // nodes // 2) - len(self.node2pending[node])
        chosen: list[int] = []
        others: list[int] = []
        waiting = iter(self.pending)
        while len(chosen) < wanted:
            index = next(waiting, None)
            if index is None and self._queue.peek() is not None:
                index = self._queue.take()
            if index is None:
                break
            scope = self._scope_of(self._nodeids[index])
            is_own = not scope or self._bound.setdefault(scope, node) is node
            (chosen if is_own else others).append(index)
        self.pending[:] = [*others, *waiting]
        if chosen:
            self.node2pending[node].extend(chosen)
            node.send_runtest_some(chosen)


def _group(nodeid: str) -> str:
    """Return the group that xdist's loadgroup appended, else the file."""
    name = test_id(nodeid)
    return nodeid[len(name) :] or nodeid.partition("::")[0]


def _no_scope(_: str) -> str:
    return ""


_SCOPES: dict[str, Callable[[str], str]] = {
    "loadscope": lambda nodeid: nodeid.rpartition("::")[0],
    "loadfile": lambda nodeid: nodeid.partition("::")[0],
    "loadgroup": lambda nodeid: nodeid[len(test_id(nodeid)) :],
}
"""By the value of ``--dist``: what tests that must run in one worker have in common."""
