"""The tests that this session takes from the queue of its execution, through the sender.

No thread and no socket: requests and responses are lines of two files. Functions of other modules are bound
before tests run, since tests may replace those of the standard library.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pytest_tms.division import divide_by_hash, divide_by_number
from pytest_tms.journal.files import remove
from pytest_tms.journal.queue import REQUESTS, RESPONSES, BatchRequest, BatchResponse, MessageFile
from pytest_tms.plugin.session.delivery import NOTICE_AFTER, ResultDelivery
from pytest_tms.plugin.xdist.sharding import ShardName
from pytest_tms.text import counted
from pytest_tms.wire.claims import Claim, QueuedTest

RESPONSE_TIMEOUT = 10.0
"""Seconds after a request within which its response must arrive; then the shard continues without the TMS."""
MIN_WORK_LEFT = 0.5
"""Seconds of work below which the shard requests more."""
POLL_INTERVAL = 0.01
"""Seconds between two checks for a response while no test runs."""
CHECK_INTERVAL = 0.5
"""Seconds between two checks whether the run has to stop, while no test runs."""
STANDBY_NOTICE_AFTER = 3.0
"""Seconds of waiting for tests of other shards after which the terminal shows it."""
EMPTY_BATCH_WAIT = 1.0
"""Seconds before the next request after a batch without a test that this shard can run."""


class QueueSession(NamedTuple):
    """What a queue needs of its session.

    ``mask`` returns a node id as the journal has it. ``check`` stops the run if that is due, and returns
    whether it stops. ``notify`` receives sentences for the terminal.
    """

    journal: Path
    shard: ShardName
    delivery: ResultDelivery
    mask: Callable[[str], str]
    check: Callable[[], bool]
    notify: Callable[[str], None]


class TestQueue:
    """Takes tests, as positions in the list that this session collected.

    ``taken`` has the positions of the tests that began, ``batches`` counts batches, ``left_out`` the tests
    that the TMS does not queue because they need not run again. ``warnings`` are sentences for the summary.
    ``is_over`` is whether the queue has no more tests for this session.
    """

    __test__ = False

    def __init__(self, session: QueueSession) -> None:
        self.taken: list[int] = []
        self.batches = 0
        self.left_out = 0
        self.is_over = False
        self.warnings: list[str] = []
        self._session = session
        self._files = [session.journal.with_suffix(suffix) for suffix in (REQUESTS, RESPONSES)]
        self._requests = MessageFile(self._files[0], BatchRequest)
        self._responses = MessageFile(self._files[1], BatchResponse)
        self._names: list[str] = []
        self._groups: dict[str, str] = {}
        self._positions: dict[str, list[int]] = {}
        self._ready: deque[tuple[int, str]] = deque()
        self._begun: set[str] = set()
        self._own_part: frozenset[str] = frozenset()  # tests that no response assigned
        self._order: Sequence[int] = ()
        self._claim: Claim | None = None
        self._number = 0
        self._responded = 0
        self._requested_at = 0.0
        self._next_request = 0.0
        self._working_since = 0.0
        self._waited = 0.0
        self._has_notified_of_standby = False
        self._is_without_tms = False
        self._clock: Callable[[], float] = time.monotonic
        self._sleep: Callable[[float], None] = time.sleep

    # Taking tests -------------------------------------------------------------------------------

    def start(self, tests: Iterable[tuple[str, str]], workers: int) -> None:
        """Request the first batch of ``tests``, given as (node id, group) in the order of the collection."""
        for position, (nodeid, group) in enumerate(tests):
            name = self._session.mask(nodeid)
            self._groups.setdefault(name, group)
            self._positions.setdefault(name, []).append(position)
        self._names = list(self._groups)
        queued = [QueuedTest(node_id=name, group=group) for name, group in self._groups.items()]
        self._working_since = self._clock()
        self._request(tests=queued, workers=workers)

    @property
    def left(self) -> int:
        """How many tests have arrived and are not taken."""
        return len(self._ready)

    @property
    def collected(self) -> int:
        """How many tests the session collected."""
        return sum(map(len, self._positions.values()))

    @property
    def is_without_tms(self) -> bool:
        """Whether the TMS did not assign the latest tests."""
        return self._is_without_tms

    @property
    def is_started(self) -> bool:
        """Whether this session takes its tests from the queue."""
        return self._number > 0

    def progress_total(self, *, is_over: bool = False) -> int:
        """Return the number of tests of which the terminal shows the progress of the session.

        Unless the session ``is_over``, this is an estimate: as if other shards took as many of the rest.
        """
        if is_over:  # not 0: pytest would end with the status for an empty collection
            return len(self.taken) or self.collected
        more = 0
        if self._claim is not None and not self._is_without_tms:
            free = sum(end - start for start, end in self._claim.unclaimed)
            more = math.ceil(free / max(1, len(self._claim.shards)))
        return len(self.taken) + max(len(self._ready) + more, 1)

    def peek(self) -> int | None:
        """Return the position of the next test, None if none has arrived."""
        if not self._ready:
            self._read()
        return self._ready[0][0] if self._ready else None

    def take(self) -> int:
        """Return the position of the next test; there must be one."""
        position, name = self._ready.popleft()
        self._begun.add(name)
        self.taken.append(position)
        return position

    def request_ahead(self, ahead: int, unfinished: int) -> None:
        """Request the next batch if at most ``ahead`` tests, or work for a short time, are left to take.

        ``unfinished`` is how many of the taken tests have not ended.
        """
        self._read()
        if self._is_requested or self._is_without_tms or self.is_over or self._is_waiting:
            return
        worked = self._clock() - self._working_since - self._waited
        ended = len(self.taken) - unfinished
        if len(self._ready) <= ahead or (ended > 0 and len(self._ready) * worked / ended < MIN_WORK_LEFT):
            self._request()

    def wait(self, *, for_others: bool) -> bool:
        """Wait until a test has arrived; return False if the queue is over or the run has to stop.

        ``for_others`` is whether to wait also for tests that other shards have and may not finish.
        """
        self._read()
        if self._ready:
            return True
        begun = self._clock()
        try:
            return self._wait(begun, for_others=for_others)
        finally:
            self._waited += self._clock() - begun

    def _wait(self, begun: float, *, for_others: bool) -> bool:
        checked = begun
        is_idle = has_notified = False
        while not self._ready and not self.is_over:
            now = self._clock()
            if self._is_without_tms:
                self.is_over = True  # its own part is done
            elif self._is_requested:
                has_ended = self._session.delivery.has_ended
                if has_ended or now - self._requested_at > RESPONSE_TIMEOUT:
                    self._continue_without_tms("its sender has ended" if has_ended else "")
                elif not has_notified and now - max(begun, self._requested_at) > NOTICE_AFTER:
                    has_notified = True
                    self._session.notify(
                        f"waiting for the TMS to assign tests, at most {RESPONSE_TIMEOUT:g} s"
                    )
            elif self._is_waiting and not for_others:
                return False
            elif not is_idle or now >= self._next_request:
                if now - begun > STANDBY_NOTICE_AFTER:
                    self._notify_of_standby()
                is_idle = True
                self._request(is_idle=True)
            if now - checked > CHECK_INTERVAL:
                checked = now
                if self._session.check():
                    return False
            self._sleep(POLL_INTERVAL)
            self._read()
        return bool(self._ready)

    def _notify_of_standby(self) -> None:
        if not self._has_notified_of_standby:
            self._has_notified_of_standby = True
            self._session.notify("no test is free: waiting until other shards have finished theirs")

    # Messages -----------------------------------------------------------------------------------

    @property
    def _is_requested(self) -> bool:
        return self._number > self._responded

    @property
    def _is_waiting(self) -> bool:
        """Whether by the latest response no test is free, but those of other shards may become free."""
        return self._claim is not None and self._claim.state == "waiting"

    def _request(self, *, is_idle: bool = False, **first: Any) -> None:
        self._number += 1
        self._requested_at = self._clock()
        try:
            self._requests.append(BatchRequest(number=self._number, is_idle=is_idle, **first))
        except OSError as error:
            self._continue_without_tms(f"{error.strerror}: {self._files[0]}")

    def _read(self) -> None:
        """Read the response that has arrived."""
        if not self._is_requested:
            return
        try:
            responses = self._responses.read()
        except (OSError, msgspec.MsgspecError) as error:
            self._responded = self._number
            self._continue_without_tms(f"its response cannot be read: {error}")
            return
        for response in responses:
            if response.number == self._number:
                self._responded = response.number
                if response.claim is None:
                    self._continue_without_tms(response.problem)
                else:
                    self._accept(response.claim)

    def _accept(self, claim: Claim) -> None:
        if self._is_without_tms:  # what is left of its own part may be that of other shards by now
            self._is_without_tms = False
            self._ready = deque(each for each in self._ready if each[1] not in self._own_part)
            self._session.notify("the TMS responds again, and assigns tests")
        if self._claim is None:
            self._order = claim.order
            self.left_out = max(0, len(self._names) - len(claim.order))
        self._claim = claim
        arrived = {name for _, name in self._ready}
        names = [
            name
            for name in claim.tests
            if name in self._positions and name not in self._begun and name not in arrived
        ]
        self._add(names)
        self.is_over = claim.state == "finished" and not self._ready
        if self.is_over:  # possibly because the execution was cancelled
            self._session.check()
        wait = EMPTY_BATCH_WAIT if claim.state == "running" and not names else claim.retry_after / 1000
        self._next_request = self._clock() + wait

    def _add(self, names: Sequence[str]) -> None:
        self._ready.extend((position, name) for name in names for position in self._positions[name])
        self.batches += bool(names)

    # Without the TMS ----------------------------------------------------------------------------

    def _continue_without_tms(self, problem: str) -> None:
        """Take the part of this shard in the tests that no shard has."""
        if self._is_without_tms:
            return
        self._is_without_tms = True
        shard = self._session.shard
        if self._claim is None and shard.total:
            parts = divide_by_number(self._groups.items(), shard.total)
            part = [name for name in self._names if name in parts[int(shard.id) - 1]]
            what, how = "tests are", f"by number over {counted(shard.total, 'shard')}"
        elif self._claim is None:
            part, what, how = self._names, "tests are", "not at all, so that all of them run here"
        else:
            name = self._session.delivery.read().names.get(shard.id, shard.id)
            shards = {*self._claim.shards, name}
            part = divide_by_hash(self._unclaimed(self._claim), shards)[name]
            what, how = "free tests are", f"over {counted(len(shards), 'shard')} by their names"
        arrived = {name for _, name in self._ready}
        own = [name for name in part if name not in self._begun and name not in arrived]
        self._own_part = frozenset(own)
        self._add(own)
        reason = problem or f"no response within {RESPONSE_TIMEOUT:g} s"
        sentence = f"no queue ({reason}): {what} divided {how}; {counted(len(own), 'test')} more run here"
        self._session.notify(sentence)
        self.warnings.append(sentence)

    def _unclaimed(self, claim: Claim) -> list[str]:
        """Return the tests that no shard had when the TMS responded last."""
        places = [
            self._order[place]
            for start, end in claim.unclaimed
            for place in range(start, min(end, len(self._order)))
        ]
        return [self._names[place] for place in places if 0 <= place < len(self._names)]

    def close(self) -> None:
        """Delete the files."""
        for file in self._files:
            remove(file)
