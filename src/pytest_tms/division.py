"""Divides the tests of a run over shards. Pure functions: every shard computes the same parts."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

TOLERANCE = 0.02
"""Part of an even share by which a shard may exceed it, to keep a group together."""


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
    tests: Iterable[tuple[str, str]], shards: int, durations: Mapping[str, int]
) -> list[set[str]]:
    """Distribute tests, given as (node id, group), so that every shard takes about as long as the others.

    ``durations`` are milliseconds by node id; others are estimated. The same arguments give the same sets on
    every machine and in every order. A group stays together unless its shard would then take longer than an
    even share of the time; otherwise its classes do.
    """
    weights = estimate(tests, durations)
    groups: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for (nodeid, group), weight in weights.items():
        groups[group][nodeid] = weight
    share = sum(weights.values()) / shards
    most = share * (1 + TOLERANCE)
    parts: list[set[str]] = [set() for _ in range(shards)]
    loads = [0.0] * shards
    for members in sorted(groups.values(), key=lambda some: (-sum(some.values()), min(some))):
        blocks = [members]
        while blocks:
            block = blocks.pop(0)
            number = min(range(shards), key=lambda each: (loads[each], each))
            weight = sum(block.values())
            if loads[number] + weight <= most or len(block) == 1:
                parts[number].update(block)
                loads[number] += weight
            else:
                blocks[:0] = _smaller(block, share - loads[number])
    return parts


def estimate(tests: Iterable[tuple[str, str]], durations: Mapping[str, int]) -> dict[tuple[str, str], float]:
    """Return the duration of each test, of at least 1 ms.

    A test without a known one takes as long as the median test of its file, else of all.
    """
    listed = sorted(set(tests))
    by_file: defaultdict[str, list[int]] = defaultdict(list)
    for nodeid, duration in durations.items():
        by_file[nodeid.partition("::")[0]].append(duration)
    typical = statistics.median(durations.values()) if durations else 1
    medians: dict[str, float] = {}
    found = {}
    for nodeid, group in listed:
        value: float | None = durations.get(nodeid)
        if value is None:
            file = nodeid.partition("::")[0]
            if file not in medians:
                medians[file] = statistics.median(by_file[file]) if by_file[file] else typical
            value = medians[file]
        found[nodeid, group] = max(1.0, float(value))
    return found


def order_by_duration(
    tests: Sequence[tuple[str, str]], durations: Mapping[str, int]
) -> list[tuple[str, str]]:
    """Return tests with those groups first that take the longest; each group keeps its order."""
    weights = estimate(tests, durations)
    totals: defaultdict[str, float] = defaultdict(float)
    for (_, group), weight in weights.items():
        totals[group] += weight
    return sorted(tests, key=lambda test: (-totals[test[1]], test[1]))


def _smaller(block: Mapping[str, float], room: float) -> list[dict[str, float]]:
    """Cut a block of several tests: at classes if it has several, else where the ``room`` of a shard ends."""
    classes: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for nodeid in sorted(block):
        classes[_class(nodeid)][nodeid] = block[nodeid]
    if len(classes) > 1:
        return sorted(classes.values(), key=lambda some: (-sum(some.values()), min(some)))
    ordered = sorted(block, key=lambda nodeid: (-block[nodeid], nodeid))
    first: dict[str, float] = {}
    taken = 0.0
    for nodeid in ordered[:-1]:
        if not first or taken + block[nodeid] <= room:
            first[nodeid] = block[nodeid]
            taken += block[nodeid]
    return [first, {nodeid: block[nodeid] for nodeid in ordered if nodeid not in first}]


def _class(nodeid: str) -> str:
    """Return the node id of the class of a test; ``::`` in its parameters is none of the separators."""
    return nodeid.partition("[")[0].rpartition("::")[0]
