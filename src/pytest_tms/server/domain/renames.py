"""Renamed tests: which test that a run no longer has may be one that it has for the first time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

MAX_PAIRS = 2_000
"""Pairs of names that are compared letter by letter."""
SIMILAR = 0.6
"""Similarity of two names, from 0 to 1, from which on they may be of one test."""


class NamedTest(NamedTuple):
    """A test by its id, with the names by which a rename is recognised; ``node_id`` may be empty."""

    id: int
    title: str
    file: str
    node_id: str

    @property
    def name(self) -> str:
        """The name within the file, with parameters."""
        return self.node_id.partition("::")[2] or self.title

    @property
    def function(self) -> str:
        """The name without parameters."""
        return self.name.partition("[")[0]

    @property
    def parameters(self) -> str:
        """The parameters in brackets; empty if there are none."""
        return self.name[len(self.function) :]


class Rename(NamedTuple):
    """A test that began, the one that ended and may be the same, and why."""

    test_id: int
    earlier_id: int
    reason: str


def possible_renames(ended: Sequence[NamedTest], begun: Sequence[NamedTest]) -> list[Rename]:
    """Return for tests that begun which ended test each may have been, the most certain first.

    A test is in one pair at most. Tests are the same with the same title or name in another file, or with a
    similar name or as the only ones in the same file. Parameters must be the same.
    """
    pairs = _Pairs(ended, begun)
    pairs.match(lambda test: (test.name,), "the same name in another file")
    pairs.match(
        lambda test: (test.title, test.parameters) if test.title != test.name else None, "the same title"
    )
    pairs.match_similar()
    pairs.match(lambda test: (test.file, test.parameters), "the only test that ended and began in the file")
    return pairs.found


class _Pairs:
    """Tests that are still without a pair, and the pairs that were found."""

    def __init__(self, ended: Iterable[NamedTest], begun: Iterable[NamedTest]) -> None:
        self._ended = {test.id: test for test in ended}
        self._begun = {test.id: test for test in begun}
        self.found: list[Rename] = []

    def match(self, key: Callable[[NamedTest], Hashable], reason: str) -> None:
        """Pair tests whose key is that of exactly one test that ended and one that began."""
        old, new = (_grouped(tests, key) for tests in (self._ended.values(), self._begun.values()))
        for value, some in new.items():
            if len(some) == len(old.get(value, ())) == 1:
                self._add(some[0], old[value][0], reason)

    def match_similar(self) -> None:
        """Pair tests of one file with the same parameters and similar names, the most similar first."""
        old = _grouped(self._ended.values(), lambda test: (test.file, test.parameters))
        scored: list[tuple[float, NamedTest, NamedTest]] = []
        compared = 0
        for test in self._begun.values():
            for other in old.get((test.file, test.parameters), ()):
                compared += 1
                if compared > MAX_PAIRS:
                    break
                matcher = SequenceMatcher(None, other.function, test.function, autojunk=False)
                if matcher.quick_ratio() >= SIMILAR and (score := matcher.ratio()) >= SIMILAR:
                    scored.append((score, test, other))
        for _, test, other in sorted(scored, key=lambda each: -each[0]):
            if test.id in self._begun and other.id in self._ended:
                self._add(test, other, "a similar name in the same file")

    def _add(self, test: NamedTest, earlier: NamedTest, reason: str) -> None:
        del self._begun[test.id]
        del self._ended[earlier.id]
        self.found.append(Rename(test.id, earlier.id, reason))


def _grouped(
    tests: Iterable[NamedTest], key: Callable[[NamedTest], Hashable]
) -> dict[Hashable, list[NamedTest]]:
    """Return tests by their key; without those whose key is None."""
    found: defaultdict[Hashable, list[NamedTest]] = defaultdict(list)
    for test in tests:
        value = key(test)
        if value is not None:
            found[value].append(test)
    return found
