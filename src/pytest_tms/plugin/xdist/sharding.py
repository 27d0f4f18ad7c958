"""Selects the tests of the shard that this process runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pytest_tms.division import Setup, divide_by_duration, divide_by_number, find_setups, order_by_duration
from pytest_tms.settings.table import SettingError

if TYPE_CHECKING:
    from pytest_tms.journal.plan import ShardPlan

EMPTY = "tms_empty_shard"
"""The name under which an xdist worker reports to its controller that its shard has no tests."""


DIVISION = "tms_division"
"""The name under which an xdist worker reports to its controller how its shard divided the tests."""


class ShardName(NamedTuple):
    """The value of ``--tms-shard``: the shard's id, and the number of shards (0: it runs all tests)."""

    id: str
    total: int


MAX_SHARDS = 10_000
"""Shards of a run: no server accepts more."""


def parse_shard(text: str) -> ShardName | None:
    """Return the value of ``I/N`` or ``I``; None if the text is empty.

    Raises:
        SettingError: it is neither, or there are more than ``MAX_SHARDS``.
    """
    if not text:
        return None
    index, slash, total = text.partition("/")
    if not slash:
        return ShardName(text, 0)
    if index.isdecimal() and total.isdecimal() and len(total) < 100 and 1 <= int(index) <= int(total):
        if int(total) > MAX_SHARDS:
            raise SettingError(f"the shard is {text!r}: a run has at most {MAX_SHARDS} shards")
        return ShardName(str(int(index)), int(total))
    raise SettingError(f"the shard is {text!r}: write I/N with I from 1 to N, as in 2/4")


PLAN: pytest.StashKey[Callable[[], ShardPlan | None]] = pytest.StashKey()
"""On the config of a process that collects tests: returns what the TMS knows of them, None if nothing. It may
wait for the TMS."""


LONGEST_FIRST: pytest.StashKey[bool] = pytest.StashKey()
"""On the config of an xdist worker: whether the tests that take the longest begin first."""


class ShardSelection:
    """Selects the tests of a shard, in every process that collects: xdist's workers must agree.

    These are the tests of part I of N, or all if they are taken from a queue, without those that need not run
    again. ``division`` is a text that is
    equal in all shards that divide the same tests in the same way; empty if this shard runs all tests.
    """

    def __init__(self, name: ShardName) -> None:
        self._name = name
        self._is_empty = False
        self.division = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect tests of other shards, and those that need not run again, after the user's selection."""
        find_plan = config.stash.get(PLAN, None)
        plan = find_plan() if find_plan is not None else None
        name_of = test_id if is_grouped(config) else str
        chosen = [(item, (name_of(item.nodeid), group_of(item))) for item in items]
        is_queued = plan is not None and plan.is_queued
        if is_queued:
            self.division = f"queue, {_describe(name for _, (name, _) in chosen)}"
        elif self._name.total:
            chosen = self._own(config, chosen, plan)
        if plan is not None and plan.settled:
            chosen = [each for each in chosen if each[1][0] not in plan.settled]
        if len(chosen) < len(items):
            mine = [item for item, _ in chosen]
            kept = set(map(id, mine))
            others = [item for item in items if id(item) not in kept]
            items[:] = mine
            config.hook.pytest_deselected(items=others)
            self._is_empty = not mine
        elif self._name.total and not is_queued:
            items[:] = [item for item, _ in chosen]

    def _own(
        self, config: pytest.Config, items: list[tuple[pytest.Item, tuple[str, str]]], plan: ShardPlan | None
    ) -> list[tuple[pytest.Item, tuple[str, str]]]:
        """Return the tests of this part, each with its node id and group."""
        tests = [test for _, test in items]
        durations = plan.durations if plan is not None else None
        how = "by duration" if durations else "by number"
        self.division = f"{self._name.total} shards, {_describe((name for name, _ in tests), how)}"
        if not durations:
            part = divide_by_number(tests, self._name.total)[int(self._name.id) - 1]
            return [each for each in items if each[1][0] in part]
        fixtures = {name: getattr(item, "fixturenames", None) for item, (name, _) in items}
        setups = find_setups(fixtures, [Setup(*each) for each in plan.setups] if plan is not None else ())
        division = divide_by_duration(tests, self._name.total, durations, setups)
        part = division.parts[int(self._name.id) - 1]
        own = [each for each in items if each[1][0] in part]
        if is_reordered(config):
            order = order_by_duration([test for _, test in own], durations)
            places = {test: place for place, test in enumerate(order)}
            own.sort(key=lambda each: places[each[1]])
        return own

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Make an empty shard a success (every process): others have the tests, or they passed before."""
        if self._is_empty and (output := getattr(session.config, "workeroutput", None)) is not None:
            output[EMPTY] = True
        if self.division and (output := getattr(session.config, "workeroutput", None)) is not None:
            output[DIVISION] = self.division
        if self._is_empty and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Record what a worker says about its selection (xdist's controller)."""
        output = getattr(node, "workeroutput", {})
        self._is_empty = self._is_empty or EMPTY in output
        self.division = output.get(DIVISION, self.division)


def _describe(names: Iterable[str], how: str = "") -> str:
    """Return a text that is equal for the same tests: their number, ``how`` they are divided, and a hash."""
    listed = sorted(set(names))
    digest = hashlib.sha256("\n".join(listed).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{len(listed)} tests{' ' * bool(how)}{how}, {digest}"


def is_reordered(config: pytest.Config) -> bool:
    """Return whether the tests that take the longest begin first: see ``LONGEST_FIRST``."""
    return bool(config.stash.get(LONGEST_FIRST, False))


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


def group_of(item: pytest.Item) -> str:
    """Return what tests that stay together have in common: their groups of xdist, else their file."""
    names = _group_names(item)
    return f"@{'_'.join(sorted(names))}" if names else item.nodeid.partition("::")[0]


def _group_names(item: pytest.Item) -> set[str]:
    return {
        str(marker.args[0] if marker.args else marker.kwargs.get("name", "default"))
        for marker in item.iter_markers("xdist_group")
    }
