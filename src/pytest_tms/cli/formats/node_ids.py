"""Assigns unique node ids to tests with equal names."""

from __future__ import annotations

from collections.abc import Sequence


class NodeIds:
    """The node ids of one submission, each with the suite of its test."""

    def __init__(self) -> None:
        self._suites: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def take(self, candidates: Sequence[str], suite: str) -> tuple[int, str]:
        """Reserve the first candidate that no other suite uses; return its index and the node id.

        A node id that its own suite repeats ends in `` #2``, `` #3`` …, and so does the first candidate if
        other suites use all of them.
        """
        for index, candidate in enumerate(candidates):
            owner = self._suites.get(candidate)
            if owner is None:
                self._suites[candidate] = suite
                return index, candidate
            if owner == suite:
                return index, self._numbered(candidate, suite)
        return 0, self._numbered(candidates[0], suite)

    def _numbered(self, node_id: str, suite: str) -> str:
        number = self._numbers.get(node_id, 1)
        while True:
            number += 1
            numbered = f"{node_id} #{number}"
            if numbered not in self._suites:
                self._numbers[node_id] = number
                self._suites[numbered] = suite
                return numbered
