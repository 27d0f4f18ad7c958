"""Messages by which shards take tests from the queue of their execution: the capability ``claims``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pytest_tms.wire.base import ClientMessage, Identifier, ServerMessage, Text

QueueState = Literal["running", "waiting", "finished"]
"""Whether a shard continues: see ``Claim``."""
RerunTests = Literal["failed", "all"]
"""Which tests a repeated run queues: those that did not pass before, or all."""


class QueuedTest(ClientMessage, frozen=True, kw_only=True, gc=False):
    """A test that a shard collected; tests of one ``group`` share fixtures and run together if possible."""

    node_id: Text
    group: Text = ""


class ClaimRequest(ClientMessage, frozen=True, kw_only=True):
    """The body of POST /executions/{id}/claims: a shard asks for its next batch of tests.

    ``runner`` is the id that the process keeps for its whole run, as in events. ``number`` counts its
    requests from 1; a repeated number returns the same batch. ``tests`` are those that the shard collected,
    in its order; only the first request has them. ``workers`` is how many processes run tests in the shard.
    A request with ``is_leaving`` takes no tests and gives all unfinished ones of the runner back.

    ``attempt`` is the number of the CI attempt, as in ``shard.started``: the first request of a newer attempt
    begins the queue anew, with the tests that ``rerun`` says.
    """

    runner: Identifier
    shard_id: Identifier
    number: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    tests: list[QueuedTest] | None = None
    workers: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    is_leaving: bool = False
    attempt: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    rerun: RerunTests = "failed"


class Claim(ServerMessage, frozen=True, kw_only=True):
    """The response to POST /executions/{id}/claims.

    ``tests`` are the node ids of the batch, in the order in which they are to run. ``state`` is ``running``
    if the shard runs them and then asks again, ``waiting`` if no test is free but those of other shards may
    become free (the shard asks again after ``retry_after`` milliseconds), and ``finished`` if it ends.

    The runner must send an event, a result or a request at least every ``lease`` milliseconds; otherwise its
    unfinished tests are given to other shards.

    The other fields are for a runner that loses its connection to the TMS. ``order`` is the order of the
    queue, as positions in the list ``tests`` of the runner's first request; only the response to this request
    has it. ``unclaimed`` are the ranges ``[start, end)`` of that order that no shard has. ``shards`` are the
    shards that are alive.
    """

    number: int
    state: QueueState = "running"
    tests: list[str] = []
    retry_after: int = 0
    lease: int = 15_000
    order: list[int] = []
    unclaimed: list[tuple[int, int]] = []
    shards: list[str] = []
