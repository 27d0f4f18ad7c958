"""A simulated suite whose flaky tests, faults and infrastructure failures are known, reported to a real server.

Every day has one commit, which runs twice. Flaky tests fail at known rates, and half of these failures are
followed by a retry that passes. Faults make a stable test fail from one commit up to another. On some days
most tests fail in both runs because of the infrastructure; on others, a third of the tests in one run.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.helpers.api import Api, expect_success

TESTS = 200
FLAKY = 12
SEEN = 50
"""Days whose runs the list of flaky tests covers: 100 runs."""


class Fault(NamedTuple):
    """A test that fails from the commit of one day up to that of another, which is not included."""

    test: int
    first: int
    end: int


class Found(NamedTuple):
    """What the server says of a fault in its last run: the commit in which it began, and the failed runs."""

    fault: Fault
    commit: str
    runs: int


@dataclass
class Year:
    """The plan of a simulation; the same ``seed`` gives the same one."""

    seed: int
    days: int
    rates: dict[int, float] = field(init=False)
    """Flaky tests, and the probability with which one fails."""
    faults: list[Fault] = field(init=False)
    infrastructure: set[int] = field(init=False)
    """Days on which most tests fail."""
    outages: set[int] = field(init=False)
    """Days on which a third of the tests fail in one of the two runs."""
    branch: str = field(init=False)

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)
        self.branch = f"year-{secrets.token_hex(4)}"
        tests = chance.sample(range(TESTS), FLAKY + self.days // 12)
        self.rates = {test: round(0.02 * 1.25**number, 3) for number, test in enumerate(tests[:FLAKY])}
        special = chance.sample(range(5, self.days - 5), 2 * max(1, self.days // 50))
        self.infrastructure = set(special[::2])
        self.outages = set(special[1::2])
        self.faults = []
        for test in tests[FLAKY:]:
            first = chance.randrange(1, self.days - 4)
            while first in self.infrastructure | self.outages:
                first += 1
            self.faults.append(Fault(test, first, min(first + chance.randint(1, 9), self.days)))

    def commit(self, day: int) -> str:
        return f"{day + 1:040x}"

    def report(self, api: Api) -> Iterator[tuple[int, str]]:
        """Report all runs; yields the day and the id of the second run, after each day."""
        chance = random.Random(self.seed + 1)
        for day in range(self.days):
            for run in (1, 2):
                execution = api.create(metadata={"branch": self.branch, "commit": self.commit(day)})
                api.submit(execution, tests=[self._test(test, day, run, chance) for test in range(TESTS)])
            yield day, execution["executionId"]

    def _test(self, test: int, day: int, run: int, chance: random.Random) -> dict[str, Any]:
        file = f"tests/test_{test % 20}.py"
        result: dict[str, Any] = {
            "title": f"test_{test}",
            "nodeId": f"{file}::{self.branch}::test_{test}",
            "file": file,
            "status": "passed",
            "duration": 10 + test,
        }
        fails = chance.random() < self.rates.get(test, 0)
        if day in self.infrastructure and test % 10:
            return result | {"status": "failed", "error": "ConnectionError: 10.0.0.1:5432 refused"}
        if day in self.outages and run == 1 and test % 3 == 0:
            return result | {"status": "failed", "error": "TimeoutError: no answer from shipping"}
        if any(fault.test == test and fault.first <= day < fault.end for fault in self.faults):
            return result | {"status": "failed", "error": f"AssertionError: total of order is {name(test)}"}
        if fails:
            passes_again = chance.random() < 0.5
            return result | (
                {"retries": 1} if passes_again else {"status": "failed", "error": "KeyError: 'id'"}
            )
        return result

    def flaky(self, api: Api) -> dict[int, float]:
        """Return the tests of the server's list of flaky tests, with the lower bounds of their rates."""
        found: dict[int, float] = {}
        path = f"/tests?flaky=true&branch={self.branch}&limit=200"
        page = expect_success(api.request("GET", path), 200)
        while True:
            found |= {
                int(each["title"].removeprefix("test_")): each["flakeRateLow"] for each in page["tests"]
            }
            if not page["cursor"]:
                return found
            page = expect_success(api.request("GET", f"{path}&cursor={page['cursor']}"), 200)

    def found(self, api: Api, day: int, execution_id: str) -> list[Found]:
        """Return what the server says of the faults whose last day this is."""
        ending = {fault.test: fault for fault in self.faults if fault.end == day + 1}
        if not ending:
            return []
        path = f"/executions/{execution_id}/failures"
        causes = expect_success(api.request("GET", f"{path}?limit=200"), 200)["causes"]
        since = {
            int(each["title"].removeprefix("test_")): each["since"]
            for cause in causes
            for each in cause["tests"]
        }
        return [Found(fault, since[test]["commit"], since[test]["runs"]) for test, fault in ending.items()]

    def runs_of(self, fault: Fault) -> int:
        """Return in how many runs a fault was seen, without those of infrastructure failures."""
        return 2 * len(set(range(fault.first, fault.end)) - self.infrastructure)


def name(number: int) -> str:
    """Return a number as a word, which is not left out of the message of a cause."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))
