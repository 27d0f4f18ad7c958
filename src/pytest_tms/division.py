"""Divides the tests of a run over shards. Pure functions: every shard computes the same parts."""

from __future__ import annotations

import hashlib
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

TOLERANCE = 0.02
"""Part of the time of the longest shard by which it may take longer, to keep more groups together."""
SEARCH_STEPS = 8
"""Halvings of the range in which the time of the longest shard is searched."""


class Setup(NamedTuple):
    """The setup of a fixture that several tests share, in milliseconds: a shard pays it once.

    ``node`` is the node id of the class, module or package that shares it, empty for a session.
    """

    node: str
    fixture: str
    duration: int


class Division(NamedTuple):
    """Tests divided over shards: the node ids of each, and the milliseconds that it takes with its setups."""

    parts: list[set[str]]
    loads: list[float]


NO_SETUPS: Mapping[str, frozenset[Setup]] = {}


def divide_by_number(tests: Iterable[tuple[str, str]], shards: int) -> list[set[str]]:
    """Distribute tests, given as (node id, group), over ``shards`` sets of node ids.

    The same tests give the same sets on every machine and in every order. A group stays together unless
    its shard would then exceed an even share by more than a quarter.
    """
    groups: dict[str, set[str]] = {}
    for nodeid, group in tests:
        groups.setdefault(group, set()).add(nodeid)
    share = -(-sum(map(len, groups.values())) // shards)
    most = share + share // 4
    parts: list[set[str]] = [set() for _ in range(shards)]
    for members in sorted(map(sorted, groups.values()), key=lambda group: (-len(group), group[0])):
        rest = members
        while rest:
            part = min(parts, key=len)
            size = len(rest) if len(part) + len(rest) <= most else share - len(part)
            part.update(rest[:size])
            rest = rest[size:]
    return parts


def divide_by_duration(
    tests: Iterable[tuple[str, str]],
    shards: int,
    durations: Mapping[str, int],
    setups: Mapping[str, frozenset[Setup]] = NO_SETUPS,
) -> Division:
    """Distribute tests, given as (node id, group), so that the longest shard takes the least time.

    ``durations`` are milliseconds by node id; others are estimated. ``setups`` are those that each test
    needs, by ``find_setups``. The same arguments give the same parts on every machine and in every order. A
    group stays together unless the longest shard then takes longer, and a class of a divided group likewise.
    """
    weights = estimate(tests, durations)
    groups: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for (nodeid, group), weight in weights.items():
        groups[group][nodeid] = weight
    needs = {nodeid: setups.get(nodeid, frozenset()) for nodeid, _ in weights}
    everywhere = frozenset.intersection(*needs.values()) if needs else frozenset()
    needs = {nodeid: some - everywhere for nodeid, some in needs.items()}  # every shard pays the others
    constant = _total(everywhere)
    blocks = [_Block.of(members, needs) for members in groups.values()]
    blocks.sort(key=lambda block: (-block.weight - _total(block.setups), block.first))
    packed = _best_packing(blocks, needs, shards)
    loads = [load + constant if part else 0.0 for part, load in zip(packed.parts, packed.loads, strict=True)]
    return Division(packed.parts, loads)


def find_setups(
    tests: Mapping[str, Collection[str] | None], setups: Iterable[Setup]
) -> dict[str, frozenset[Setup]]:
    """Return the setups that each test needs, without tests that need none.

    ``tests`` are the names of the fixtures that each uses, by node id; None if they are unknown. A fixture
    that no test names is requested while tests run: then all tests of its node need it.
    """
    by_node: defaultdict[str, list[Setup]] = defaultdict(list)
    for setup in setups:
        by_node[setup.node].append(setup)
    named = {name for names in tests.values() for name in names or ()}
    found = {}
    for nodeid, names in tests.items():
        own = [
            setup
            for node in _nodes(nodeid)
            for setup in by_node.get(node, ())
            if names is None or setup.fixture in names or setup.fixture not in named
        ]
        if own:
            found[nodeid] = frozenset(own)
    return found


def divide_by_hash(tests: Iterable[str], shards: Collection[str]) -> dict[str, list[str]]:
    """Assign each test to one of ``shards``, by rendezvous hashing; each shard keeps the order of ``tests``.

    Shards that know different ``shards`` or ``tests`` agree on most of those that they have in common.
    """
    parts: dict[str, list[str]] = {shard: [] for shard in sorted(shards)}
    for test in tests:
        key = test.encode("utf-8", "surrogatepass")
        parts[max(parts, key=lambda shard: (_hash(shard, key), shard))].append(test)
    return parts


def _hash(shard: str, test: bytes) -> bytes:
    name = shard.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(test, key=hashlib.sha256(name).digest(), digest_size=8).digest()


def estimate(tests: Iterable[tuple[str, str]], durations: Mapping[str, int]) -> dict[tuple[str, str], float]:
    """Return the duration of each test, of at least 1 ms.

    A test without a known one takes as long as the test of the same name in another file that is gone, else
    as the median of the same function with other parameters, of its file, or of all. Tests that were only
    skipped, which take 0 ms, do not count in medians.
    """
    listed = sorted(set(tests))
    unknown = [nodeid for nodeid, _ in listed if nodeid not in durations]
    guesses = _guesses(unknown, {nodeid for nodeid, _ in listed}, durations) if unknown else {}
    return {
        (nodeid, group): max(1.0, float(durations[nodeid] if nodeid in durations else guesses[nodeid]))
        for nodeid, group in listed
    }


def order_by_duration(
    tests: Sequence[tuple[str, str]], durations: Mapping[str, int]
) -> list[tuple[str, str]]:
    """Return tests with those groups first that take the longest; each group keeps its order."""
    weights = estimate(tests, durations)
    totals: defaultdict[str, float] = defaultdict(float)
    for (_, group), weight in weights.items():
        totals[group] += weight
    return sorted(tests, key=lambda test: (-totals[test[1]], test[1]))


class _Block(NamedTuple):
    """Tests that stay together: milliseconds of each and of all, and the setups that they need.

    Milliseconds are whole or half numbers, so that their order in a sum does not matter.
    """

    tests: Mapping[str, float]
    weight: float
    setups: frozenset[Setup]
    first: str

    @classmethod
    def of(cls, tests: Mapping[str, float], needs: Mapping[str, frozenset[Setup]]) -> _Block:
        setups = frozenset[Setup]().union(*(needs[nodeid] for nodeid in tests))
        return cls(tests, sum(tests.values()), setups, min(tests))


class _Packing:
    """Shards that are filled with blocks; ``pieces`` is the number of blocks."""

    def __init__(self, shards: int) -> None:
        self.parts: list[set[str]] = [set() for _ in range(shards)]
        self.loads = [0.0] * shards
        self.pieces = 0
        self._holders: defaultdict[Setup, set[int]] = defaultdict(set)

    @property
    def longest(self) -> float:
        """The milliseconds of the longest shard."""
        return max(self.loads)

    def best_shard(self, block: _Block, limit: float, *, saves_setups: bool) -> tuple[int, float]:
        """Return the shard for a block, and the milliseconds that the shard then takes.

        It is one that then takes at most ``limit`` if there is any: the one that ends first, or if
        ``saves_setups`` the one that has most of the block's setups already.
        """
        numbers = {self.loads.index(min(self.loads))}
        for setup in block.setups:
            numbers |= self._holders[setup]
        missing = {number: self._missing(number, block.setups) for number in numbers}
        ends = {number: self.loads[number] + missing[number] + block.weight for number in numbers}
        first = missing if saves_setups else ends
        best = min(numbers, key=lambda number: (ends[number] > limit, first[number], ends[number], number))
        return best, ends[best]

    def held(self, number: int, setups: frozenset[Setup]) -> frozenset[Setup]:
        """Return those of some setups that a shard has already."""
        return frozenset(setup for setup in setups if number in self._holders[setup])

    def put(self, number: int, block: _Block) -> None:
        """Add a block to a shard."""
        self.loads[number] += block.weight + self._missing(number, block.setups)
        self.parts[number].update(block.tests)
        self.pieces += 1
        for setup in block.setups:
            self._holders[setup].add(number)

    def _missing(self, number: int, setups: frozenset[Setup]) -> float:
        return _total(setup for setup in setups if number not in self._holders[setup])


def _best_packing(blocks: Sequence[_Block], needs: Mapping[str, frozenset[Setup]], shards: int) -> _Packing:
    """Return the packing whose longest shard takes the least time; of similar ones that of fewest pieces."""
    whole = _pack(blocks, needs, shards, float("inf"))
    if whole is None or not blocks:
        return _Packing(shards)
    setups = frozenset[Setup]().union(*(block.setups for block in blocks))
    longest_test = max(
        weight + _total(needs[nodeid]) for block in blocks for nodeid, weight in block.tests.items()
    )
    share = (sum(block.weight for block in blocks) + _total(setups)) / shards
    low = max(share, longest_test)
    found = [whole]
    high = min(whole.longest, low + longest_test)
    for step in range(SEARCH_STEPS + 1):
        best = min(each.longest for each in found)
        if best <= low * (1 + TOLERANCE / 2):
            break
        limit = (low + min(high, best)) / 2 if step else low * (1 + TOLERANCE / 2)
        packed = _packings(blocks, needs, shards, limit)
        found += packed
        if packed:
            high = min(each.longest for each in packed)
        else:
            low = limit
    most = min(each.longest for each in found) * (1 + TOLERANCE)
    found += _packings(blocks, needs, shards, most)
    return min((each for each in found if each.longest <= most), key=lambda each: (each.pieces, each.longest))


def _packings(
    blocks: Sequence[_Block], needs: Mapping[str, frozenset[Setup]], shards: int, limit: float
) -> list[_Packing]:
    """Return the packings whose shards take at most ``limit`` milliseconds."""
    ways = (False, True) if any(block.setups for block in blocks) else (False,)
    packed = [_pack(blocks, needs, shards, limit, saves_setups=way) for way in ways]
    return [each for each in packed if each is not None]


def _pack(
    blocks: Iterable[_Block],
    needs: Mapping[str, frozenset[Setup]],
    shards: int,
    limit: float,
    *,
    saves_setups: bool = False,
) -> _Packing | None:
    """Return shards that take at most ``limit`` milliseconds; None if the tests do not fit.

    ``saves_setups`` is as in ``_Packing.best_shard``.
    """
    packing = _Packing(shards)
    for block in blocks:
        rest = [block]
        while rest:
            block = rest.pop(0)
            number, end = packing.best_shard(block, limit, saves_setups=saves_setups)
            if end <= limit:
                packing.put(number, block)
                continue
            classes = _classes(block, needs)
            if len(classes) > 1:
                rest[:0] = classes
                continue
            taken, left = _cut(
                block, needs, limit - packing.loads[number], packing.held(number, block.setups)
            )
            if not taken:
                return None
            packing.put(number, _Block.of(taken, needs))
            rest[:0] = [_Block.of(left, needs)] if left else []
    return packing


def _classes(block: _Block, needs: Mapping[str, frozenset[Setup]]) -> list[_Block]:
    """Return the tests of a block by their classes, the longest first."""
    classes: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for nodeid in sorted(block.tests):
        classes[_class(nodeid)][nodeid] = block.tests[nodeid]
    if len(classes) == 1:
        return [block]
    found = [_Block.of(members, needs) for members in classes.values()]
    return sorted(found, key=lambda each: (-each.weight, each.first))


def _cut(
    block: _Block, needs: Mapping[str, frozenset[Setup]], room: float, held: frozenset[Setup]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the longest tests of a block that fit in the ``room`` of a shard with their setups, and others.

    ``held`` are the setups that the shard has already.
    """
    taken: dict[str, float] = {}
    left: dict[str, float] = {}
    ordered = sorted(block.tests.items(), key=lambda test: (-test[1], test[0]))
    shortest = ordered[-1][1]
    for position, (nodeid, weight) in enumerate(ordered):
        if room < shortest:
            left.update(ordered[position:])
            break
        time = weight + _total(needs[nodeid] - held)
        if time <= room:
            taken[nodeid] = weight
            held |= needs[nodeid]
            room -= time
        else:
            left[nodeid] = weight
    return taken, left


def _total(setups: Iterable[Setup]) -> float:
    """Return the milliseconds of setups. They are whole numbers, so that their order does not matter."""
    return sum(setup.duration for setup in setups)


def _nodes(nodeid: str) -> Iterator[str]:
    """Yield the node ids of the session, packages, module and classes of a test."""
    file, _, names = nodeid.partition("::")
    yield from ("", ".")
    folders = file.split("/")
    for number in range(1, len(folders) + 1):
        yield "/".join(folders[:number])
    classes = names.partition("[")[0].split("::")[:-1]
    for number in range(1, len(classes) + 1):
        yield "::".join((file, *classes[:number]))


def _class(nodeid: str) -> str:
    """Return the node id of the class of a test; ``::`` in its parameters is none of the separators."""
    return nodeid.partition("[")[0].rpartition("::")[0]


def _function(nodeid: str) -> str:
    """Return the node id of the function of a test, without its parameters."""
    return nodeid.partition("[")[0]


def _guesses(
    unknown: Iterable[str], present: Collection[str], durations: Mapping[str, int]
) -> dict[str, float]:
    """Return the estimated durations of tests without a known one: see ``estimate``."""
    gone: defaultdict[str, list[int]] = defaultdict(list)
    functions: defaultdict[str, list[int]] = defaultdict(list)
    files: defaultdict[str, list[int]] = defaultdict(list)
    for nodeid, duration in durations.items():
        if duration:
            file, _, name = nodeid.partition("::")
            files[file].append(duration)
            functions[_function(nodeid)].append(duration)
            if nodeid not in present:
                gone[name].append(duration)
    typical = statistics.median([duration for some in files.values() for duration in some] or [1])
    medians = {
        node: float(statistics.median(some)) for known in (files, functions) for node, some in known.items()
    }
    found = {}
    for nodeid in unknown:
        file, _, name = nodeid.partition("::")
        moved = gone.get(name, ())
        known = medians.get(_function(nodeid), medians.get(file, typical))
        found[nodeid] = float(moved[0]) if len(moved) == 1 else float(known)
    return found
