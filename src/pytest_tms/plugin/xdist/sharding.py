"""Selects the tests of the shard that this process runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from pytest_tms.plugin.xdist.division import divide_by_duration, divide_by_number, order_by_duration
from pytest_tms.settings.table import SettingError

EMPTY = "tms_empty_shard"
"""The name under which an xdist worker reports to its controller that its shard has no tests."""


class ShardName(NamedTuple):
    """The value of ``--tms-shard``: the shard's id, and the number of shards (0: it runs all tests)."""

    id: str
    total: int


def parse_shard(text: str) -> ShardName | None:
    """Return the value of ``I/N`` or ``I``; None if the text is empty.

    Raises:
        SettingError: it is neither.
    """
    if not text:
        return None
    index, slash, total = text.partition("/")
    if not slash:
        return ShardName(text, 0)
    if index.isdecimal() and total.isdecimal() and 1 <= int(index) <= int(total):
        return ShardName(str(int(index)), int(total))
    raise SettingError(f"the shard is {text!r}: write I/N with I from 1 to N, as in 2/4")


DURATIONS: pytest.StashKey[Callable[[], KnownDurations | None]] = pytest.StashKey()
"""On the config of a process that collects tests: returns the durations that the TMS fixed for all shards,
None if there are none. It may wait for the TMS."""


class KnownDurations(NamedTuple):
    """Milliseconds of tests by node id. ``longest_first`` is whether the order of tests may be changed."""

    by_test: Mapping[str, int]
    longest_first: bool = False


class ShardSelection:
    """Selects the tests of shard I of N, in every process that collects: xdist's workers must agree."""

    def __init__(self, name: ShardName) -> None:
        self._name = name
        self._is_empty = False

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect the tests of other shards, after the user's own selection."""
        name_of = test_id if is_grouped(config) else str
        tests = [(name_of(item.nodeid), _group(item)) for item in items]
        find_durations = config.stash.get(DURATIONS, None)
        known = find_durations() if find_durations is not None else None
        if known is None or not known.by_test:
            parts = divide_by_number(tests, self._name.total)
        else:
            parts = divide_by_duration(tests, self._name.total, known.by_test)
            if known.longest_first:
                places = {test: place for place, test in enumerate(order_by_duration(tests, known.by_test))}
                items.sort(key=lambda item: places[name_of(item.nodeid), _group(item)])
        part = parts[int(self._name.id) - 1]
        mine: list[pytest.Item] = []
        others: list[pytest.Item] = []
        for item in items:
            (mine if name_of(item.nodeid) in part else others).append(item)
        if others:
            items[:] = mine
            config.hook.pytest_deselected(items=others)
        self._is_empty = bool(others) and not items

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Make an empty shard a success (every process): there are fewer tests than shards."""
        if self._is_empty and (output := getattr(session.config, "workeroutput", None)) is not None:
            output[EMPTY] = True
        if self._is_empty and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Record that a worker reported an empty shard (xdist's controller)."""
        self._is_empty = self._is_empty or EMPTY in getattr(node, "workeroutput", {})


def is_grouped(config: pytest.Config) -> bool:
    """Return whether xdist may have appended ``@group`` to node ids, as on some versions of pytest."""
    grouped = config.getoption("loadgroup", default=False)  # in a worker
    return bool(grouped) or config.getoption("dist", default="no") == "loadgroup"


def test_id(nodeid: str) -> str:
    """Return a node id without the ``@group`` that xdist's loadgroup appends."""
    found = re.fullmatch(_WITH_GROUP, nodeid)
    return found[1] if found else nodeid


_WITH_GROUP = r"(?s)(.+?::[^\[@]+(?:\[.*\])?)@[^\]]*"


def appended_group(item: pytest.Item) -> str:
    """Return the ``@group`` that xdist appended to the node id of an item, or an empty text."""
    names = _group_names(item)
    suffix = f"@{'_'.join(sorted(names))}"
    return suffix if names and item.nodeid.endswith(f"{item.name}{suffix}") else ""


def _group(item: pytest.Item) -> str:
    names = _group_names(item)
    return f"@{'_'.join(sorted(names))}" if names else item.nodeid.partition("::")[0]


def _group_names(item: pytest.Item) -> set[str]:
    return {
        str(marker.args[0] if marker.args else marker.kwargs.get("name", "default"))
        for marker in item.iter_markers("xdist_group")
    }
