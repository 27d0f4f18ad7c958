"""Node ids that tell equally named tests apart."""

from __future__ import annotations

from collections.abc import Sequence


class NodeIds:
    """The node ids of one submission, with the suite that took each."""

    def __init__(self) -> None:
        self._takers: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def take(self, candidates: Sequence[str], suite: str) -> tuple[int, str]:
        """Take the first candidate that no other suite has; return its index and the node id.

        A node id that its own suite repeats, or that other suites have whichever candidate is tried, ends in
        `` #2``, `` #3`` ….
        """
        for index, candidate in enumerate(candidates):
            taker = self._takers.get(candidate)
            if taker is None:
                self._takers[candidate] = suite
                return index, candidate
            if taker == suite:
                return index, self._numbered(candidate, suite)
        return 0, self._numbered(candidates[0], suite)

    def _numbered(self, node_id: str, suite: str) -> str:
        number = self._numbers.get(node_id, 1)
        while True:
            number += 1
            numbered = f"{node_id} #{number}"
            if numbered not in self._takers:
                self._numbers[node_id] = number
                self._takers[numbered] = suite
                return numbered
