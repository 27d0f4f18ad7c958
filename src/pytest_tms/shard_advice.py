"""How long a run takes at best, with its shards and with another number of them. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

from pytest_tms.division import Setup


class Work(NamedTuple):
    """The work of a run in milliseconds.

    ``total`` is that of all tests and the setups that they share, ``longest`` that of the longest test,
    ``each`` what every shard needs before its first test.
    """

    total: float
    longest: float
    each: float = 0.0


class ReadyShard(NamedTuple):
    """A shard: when it begins its first test, in milliseconds, and how much work it does in a millisecond."""

    ready: float
    speed: float = 1.0


def work_of(durations: Mapping[str, int], setups: Mapping[str, frozenset[Setup]]) -> Work:
    """Return the work of tests by their durations and setups, which are as in ``divide_by_duration``."""
    needs = [setups.get(nodeid, frozenset()) for nodeid in durations]
    everywhere = frozenset.intersection(*needs) if needs else frozenset()
    others = frozenset[Setup]().union(*needs) - everywhere
    longest = (
        duration + sum(setup.duration for setup in some - everywhere)
        for duration, some in zip(durations.values(), needs, strict=True)
    )
    return Work(
        sum(durations.values()) + sum(setup.duration for setup in others),
        max(longest, default=0),
        sum(setup.duration for setup in everywhere),
    )


def least_time(work: Work, shards: int) -> float:
    """Return the milliseconds that a run takes at least, with so many shards that all begin at once."""
    return work.each + max(work.longest, work.total / shards)


def fewest_shards(work: Work, target: float) -> int | None:
    """Return the least number of shards that may finish within ``target`` milliseconds; None if none does."""
    room = target - work.each
    if room <= 0 or work.longest > room:
        return None
    return max(1, math.ceil(work.total / room))


def most_shards(work: Work) -> int:
    """Return the number of shards beyond which a run does not end sooner: it waits for its longest test."""
    return max(1, math.ceil(work.total / max(1.0, work.longest)))


def useful_shards(work: Work) -> int:
    """Return the number of shards that run tests for as long as they need to begin, and as the longest test.

    More shards would spend more time on their start than they save.
    """
    return max(1, math.floor(work.total / max(1.0, work.longest, work.each)))


def ideal_end(shards: Iterable[ReadyShard], total: float, longest: float) -> float:
    """Return when shards could end together at best, in milliseconds.

    ``total`` is the work of all tests, which is taken to be divisible at will; ``longest`` is that of the
    longest test, before whose end the run does not end.
    """
    ordered = sorted(shards)
    end = speed = done = 0.0
    for shard, following in pairwise([*ordered, ReadyShard(math.inf)]):
        speed += shard.speed
        end = shard.ready + (total - done) / speed
        if end <= following.ready:
            break
        done += (following.ready - shard.ready) * speed
    return max(end, min((shard.ready + longest / shard.speed for shard in ordered), default=0.0))
