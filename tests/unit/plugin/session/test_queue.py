"""The tests that a session takes from a queue: when it requests more, and what it does without the TMS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_tms.division import divide_by_hash, divide_by_number
from pytest_tms.journal.queue import BatchRequest, BatchResponse, MessageFile
from pytest_tms.plugin.session.delivery import ResultDelivery
from pytest_tms.plugin.session.queue import QueueSession, TestQueue
from pytest_tms.plugin.xdist.sharding import ShardName
from pytest_tms.sender.launch import SenderState
from pytest_tms.wire.claims import Claim

TESTS = [(f"test_{group}.py::test_it[{n}]", f"test_{group}.py") for group in "ab" for n in range(10)]
NAMES = [name for name, _ in TESTS]


class Delivery:
    """A sender that runs, and knows the shard by another name."""

    has_ended = False

    def read(self) -> SenderState:
        return SenderState(names={"1": "1-2"})


class Session:
    """A queue whose time passes only while it waits; ``respond`` is called at each look for a response."""

    def __init__(self, folder: Path, shard: ShardName) -> None:
        self.delivery = Delivery()
        self.sentences: list[str] = []
        self.must_stop = False
        self.now = 0.0
        self.responses: list[Claim | str] = []
        self.queue = TestQueue(
            QueueSession(
                journal=folder / "run.jsonl",
                shard=shard,
                delivery=cast("ResultDelivery", self.delivery),
                mask=str,
                check=lambda: self.must_stop,
                notify=self.sentences.append,
            )
        )
        self._requests = MessageFile(folder / "run.queue", BatchRequest)
        self._responses = MessageFile(folder / "run.claims", BatchResponse)
        self.requests: list[BatchRequest] = []
        self.queue._clock = lambda: self.now
        self.queue._sleep = self._sleep
        self.queue.start(TESTS, 1)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.respond()

    def respond(self) -> None:
        """Respond to the requests so far with the next responses."""
        self.requests += self._requests.read()
        while self.responses and self.requests:
            response = self.responses.pop(0)
            number = self.requests[-1].number
            if isinstance(response, Claim):
                self._responses.append(BatchResponse(number=number, claim=response))
            else:
                self._responses.append(BatchResponse(number=number, problem=response))

    def run(self, number: int, seconds: float = 0.0) -> list[str]:
        """Take tests that last some seconds, and return their names."""
        taken = []
        for _ in range(number):
            taken.append(NAMES[self.queue.take()])
            self.queue.request_ahead(0, 1)
            self.now += seconds
            self.respond()
        return taken


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Session]:
    return lambda shard="1", total=2: Session(tmp_path, ShardName(shard, total))


def claim(*names: str, **fields: Any) -> Claim:
    return Claim(number=1, tests=list(names), **fields)


def test_the_first_request_has_the_tests(make: Callable[..., Session]) -> None:
    session = make()
    session.responses = [claim(NAMES[3], NAMES[0])]
    assert session.queue.wait(for_others=True)
    first = session.requests[0]
    assert (first.number, first.workers) == (1, 1)
    assert [(test.node_id, test.group) for test in first.tests or ()] == TESTS
    assert session.run(2) == [NAMES[3], NAMES[0]]


def test_slow_tests_request_more_with_the_last_of_a_batch(make: Callable[..., Session]) -> None:
    session = make()
    session.responses = [claim(*NAMES[:4])]
    assert session.queue.wait(for_others=True)
    session.run(1, 2.0)
    session.run(2, 2.0)
    assert len(session.requests) == 1
    session.run(1)
    assert [request.number for request in session.requests] == [1, 2]


def test_quick_tests_request_more_before(make: Callable[..., Session]) -> None:
    session = make()
    session.responses = [claim(*NAMES[:10])]
    assert session.queue.wait(for_others=True)
    session.run(2, 0.01)
    assert len(session.requests) == 2


def test_an_idle_shard_repeats_its_request_until_the_queue_is_over(make: Callable[..., Session]) -> None:
    session = make()
    waiting = claim(state="waiting", retry_after=5000)
    session.responses = [claim(NAMES[0])]
    assert session.queue.wait(for_others=True)
    session.run(1)
    session.responses = [waiting]
    session.respond()
    session.responses = []
    assert session.queue.peek() is None

    def sleep(seconds: float) -> None:
        session.now += seconds
        session.responses = [waiting] if session.now < 8 else [claim(state="finished")]
        session.respond()

    session.queue._sleep = sleep
    assert not session.queue.wait(for_others=True)
    assert session.queue.is_over
    idle = [request for request in session.requests if request.is_idle]
    assert len(idle) >= 2
    assert session.sentences == ["no test is free: waiting until other shards have finished theirs"]


def test_a_shard_with_workers_does_not_wait_for_others(make: Callable[..., Session]) -> None:
    session = make()
    session.responses = [claim(state="waiting", retry_after=1000)]
    assert not session.queue.wait(for_others=False)


def test_a_run_that_has_to_stop_does_not_wait(make: Callable[..., Session]) -> None:
    session = make()
    session.must_stop = True
    assert not session.queue.wait(for_others=True)
    assert session.now < 1


@pytest.mark.parametrize("has_ended", [False, True])
def test_without_a_first_response_tests_are_divided_by_number(
    make: Callable[..., Session], has_ended: bool
) -> None:
    session = make("2")
    session.delivery.has_ended = has_ended
    assert session.queue.wait(for_others=True)
    assert session.now <= (0.1 if has_ended else 10.1)
    assert set(session.run(10)) == divide_by_number(TESTS, 2)[1]
    assert not session.queue.wait(for_others=True)
    [warning] = session.queue.warnings
    assert "tests are divided by number over 2 shards; 10 tests more run here" in warning


def test_a_named_shard_without_a_response_runs_all_tests(make: Callable[..., Session]) -> None:
    session = make("linux", 0)
    session.responses = ["the token is not valid"]
    assert session.queue.wait(for_others=True)
    assert session.run(20) == NAMES
    assert "(the token is not valid): tests are divided not at all" in session.queue.warnings[0]


def test_the_free_tests_are_divided_by_name_if_the_tms_stops_responding(make: Callable[..., Session]) -> None:
    session = make()
    order = list(reversed(range(20)))
    session.responses = [claim(NAMES[19], order=order, unclaimed=[(2, 20)], shards=["1-2", "2"])]
    assert session.queue.wait(for_others=True)
    session.run(1)
    assert session.queue.wait(for_others=True)
    free = [NAMES[number] for number in order[2:]]
    own = divide_by_hash(free, ["1-2", "2"])["1-2"]
    assert session.run(len(own)) == own
    assert not session.queue.wait(for_others=True)
    assert session.queue.is_without_tms


def test_a_tms_that_responds_again_decides_what_is_left(make: Callable[..., Session]) -> None:
    session = make()
    session.responses = [claim(NAMES[0], order=list(range(20)), unclaimed=[(1, 20)], shards=["1-2"])]
    assert session.queue.wait(for_others=True)
    session.run(1)
    assert session.queue.wait(for_others=True)
    assert session.queue.left == 19
    own = session.run(2)
    session.responses = [claim(own[0], NAMES[15])]
    session.respond()
    session.run(1)
    assert session.queue.left == 1
    assert session.run(1) == [NAMES[15]]
    assert not session.queue.is_without_tms
