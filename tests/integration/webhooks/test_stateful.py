"""Events, results and cancels in any order, repeated and late, against a model of a few lines.

After each step the server and the model agree on states, counts and progress; at the end of an example also
on the tests that are kept and on every event that a webhook was sent.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
import requests
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.helpers.api import Api, expect_error, expect_success, result
from tests.helpers.subscribers import Subscribers
from tests.integration.webhooks.conftest import EVENTS, subscribe

EXAMPLES = int(os.environ.get("STATEFUL_EXAMPLES", "10"))
"""Executions to drive on each database; `make nightly` drives 500."""
ENDED = {"completed", "failed", "cancelled"}
KNOWN = {*ENDED, "error"}
FINISHED = {*KNOWN, "lost"}
"""States of a shard that runs no more; a lost one runs again as soon as it is heard of."""
Document = dict[str, Any]


def counted(words: Counter[str]) -> Document:
    """Counts as the API gives them, of one word for each test."""
    flaky = words["flaky"]
    return {
        "total": words.total(),
        "passed": words["passed"] + flaky,
        "failed": words["failed"],
        "skipped": words["skipped"],
        "flaky": flaky,
    }


def effective_counts(sent: Document, reported_counts: Document | None) -> Document:
    """A runner's own counts, unless more tests were sent than they cover; failures are never hidden."""
    if not reported_counts:
        return sent
    if reported_counts["total"] >= sent["total"]:
        return with_failures(reported_counts, sent["failed"])
    return with_failures(sent, reported_counts["failed"])


def with_failures(counts: Document, failed: int) -> Document:
    """Counts with at least so many failures, one by one in place of a passed test, a skipped one, or beside."""
    counts = dict(counts)
    while counts["failed"] < failed:
        counts["failed"] += 1
        name = "passed" if counts["passed"] else "skipped" if counts["skipped"] else "total"
        counts[name] += 1 if name == "total" else -1
    return {**counts, "flaky": min(counts["flaky"], counts["passed"])}


@dataclass
class Shard:
    """What the model knows of a shard: each test by its title, in a word."""

    status: str = "pending"
    tests: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    reported_counts: Document | None = None
    attempt: int = 1

    @property
    def sent(self) -> Document:
        return counted(Counter(verdict([word for _, word in each]) for each in self.tests.values()))

    @property
    def results(self) -> Document:
        sent = self.sent
        if self.attempt > 1 and self.tests:
            return with_failures(sent, self.reported_counts["failed"] if self.reported_counts else 0)
        return effective_counts(sent, self.reported_counts)

    def begin_anew(self) -> None:
        self.status, self.attempt = "pending", self.attempt + 1
        self.reported_counts = None if self.tests else self.reported_counts

    def test(self, title: str, word: str) -> None:
        """Keep the newest verdict of each attempt, in their order."""
        earlier = [each for each in self.tests.get(title, ()) if each[0] != self.attempt]
        self.tests[title] = [*earlier, (self.attempt, word)]

    def report(self, status: str | None) -> None:
        if status and self.status != "cancelled" and not (self.status in KNOWN and status == "running"):
            self.status = status
        if self.status == "completed" and self.sent["failed"]:
            self.status = "failed"


def verdict(words: list[str]) -> str:
    """The newest word; what passed after a failure is flaky."""
    *earlier, last = words
    return "flaky" if last == "passed" and {"failed", "flaky"} & set(earlier) else last


@dataclass
class Model:
    """An execution by docs/protocol.md; ``deliveries`` is what its webhook is sent."""

    asked: int
    status: str = "created"
    reported_counts: Document | None = None
    by_user: bool = False
    seen: set[str] = field(default_factory=set)
    shards: dict[str, Shard] = field(default_factory=dict)
    deliveries: list[tuple[str, str | None, Document | None]] = field(default_factory=list)

    @property
    def results(self) -> Document:
        summed: Counter[str] = Counter(dict.fromkeys(counted(Counter()), 0))
        for shard in self.shards.values():
            summed.update(shard.results)
        return effective_counts(dict(summed), self.reported_counts)

    @property
    def finished(self) -> int:
        return sum(shard.status in FINISHED for shard in self.shards.values())

    @property
    def expected(self) -> int:
        return max(self.asked, len(self.shards))

    def became(self, status: str) -> None:
        """Follow a report, which changes no ended execution."""
        if self.status not in ENDED:
            self.status = status

    def is_new(self, *message: Any) -> bool:
        """Whether this very message has not come before; its tests are counted, not compared."""
        text = json.dumps(message)
        is_new = text not in self.seen
        self.seen.add(text)
        return is_new

    @property
    def may_cancel(self) -> bool:
        states = {shard.status for shard in self.shards.values()}
        return self.status not in ("completed", "failed") or bool(states & {"running", "lost"})

    def event(self, name: str, data: Document) -> None:
        before = self.status
        rest = {key: value for key, value in data.items() if key != "tests"}
        is_new = self.is_new(name, rest)
        self.became(
            name.removeprefix("execution.") if name.removeprefix("execution.") in ENDED else "running"
        )
        if name == "execution.completed":
            self.reported_counts = data.get("results") or self.reported_counts
        status = None
        if name == "shard.completed":
            status = data.get("status", "")
        elif name in ("execution.started", "execution.progress", "shard.started"):
            status = "running"
        if "shardId" in data and (status is not None or data.get("tests")):
            shard = self.shards.get(data["shardId"])
            ended_early = shard is not None and shard.status in ("cancelled", "lost")
            anew = name == "shard.started" and is_new and ended_early
            self.shard(before, data["shardId"], data, status, anew)
        else:
            self.expect_events(before, [])

    def submission(self, body: Document) -> None:
        before = self.status
        if self.status == "created":
            self.status = "running"
        rest = {key: value for key, value in body.items() if key not in ("tests", "executionId")}
        is_new = self.is_new("results", rest, len(body.get("tests", ())))
        shard = self.shards.get(body["shardId"])
        is_end = body.get("status", "cancelled") != "cancelled"
        anew = is_new and is_end and shard is not None and shard.status == "cancelled"
        self.shard(before, body["shardId"], body, body.get("status", ""), anew)

    def shard(self, before: str, shard_id: str, sent: Document, status: str | None, anew: bool) -> None:
        """Take in what was sent of a shard. No ``status`` is no report; an empty one is an end by its counts."""
        shard = self.shards.setdefault(shard_id, Shard())
        reopened = False
        if anew:
            shard.begin_anew()
            if self.status in ENDED and not self.by_user:
                if self.status == "completed":
                    self.asked = min(self.asked, len(self.shards))
                self.status, self.reported_counts, reopened = "running", None, True
        old = shard.status
        if sent.get("tests") and not shard.tests and shard.attempt > 1:
            shard.reported_counts = None
        for test in sent.get("tests", ()):
            shard.test(test["title"], "flaky" if test.get("retries") else test["status"])
        if status is not None and status != "running":
            shard.reported_counts = sent.get("results") or shard.reported_counts
            status = status if status in FINISHED else "failed" if shard.results["failed"] else "completed"
        shard.report(status)
        if self.finished == self.expected:
            states = {each.status for each in self.shards.values()}
            broke = "failed" if states & {"error", "lost"} else None
            self.became(broke or ("cancelled" if "cancelled" in states else "completed"))
        shard_events: list[tuple[str, str | None, Document | None]] = []
        if old == "pending" and shard.status != "pending":
            shard_events.append(("shard.started", shard_id, None))
        if shard.status in FINISHED and old not in KNOWN and old != shard.status:
            shard_events.append(
                ("shard.completed", shard_id, {"status": shard.status, "results": shard.results})
            )
        self.expect_events(before, shard_events, reported=True, again=reopened)

    def cancel(self) -> None:
        before, self.status = self.status, "cancelled"
        self.by_user = self.by_user or before != "cancelled"
        self.expect_events(before, [])

    def expect_events(
        self,
        before: str,
        shards: list[tuple[str, str | None, Document | None]],
        reported: bool = False,
        again: bool = False,
    ) -> None:
        if before == "created" and (reported or self.status not in ("created", "cancelled")):
            self.deliveries.append(("execution.started", None, None))
        self.deliveries += shards
        if self.status in ENDED and (before != self.status or again):
            data = {"status": self.status, "results": self.results}
            self.deliveries.append((f"execution.{self.status}", None, data))


@dataclass(frozen=True)
class Message:
    """Something that was sent, and the answer; the API's token where it names none, no key where empty."""

    path: str
    body: Document
    token: str | None
    key: str
    response: Document


small = st.integers(0, 3)
shard_ids = st.sampled_from(["1", "gpu"])
tests = st.lists(
    st.builds(
        lambda title, status, retries: result(title, status, **({"retries": 1} if retries else {})),
        st.sampled_from("abcd"),
        st.sampled_from(["passed", "failed", "skipped"]),
        st.booleans(),
    ).filter(lambda test: test["status"] == "passed" or "retries" not in test),
    max_size=3,
    unique_by=lambda test: str(test["title"]),
)
told_counts = st.builds(
    lambda passed, failed, skipped, flaky: {
        "total": passed + failed + skipped,
        "passed": passed,
        "failed": failed,
        "skipped": skipped,
        "flaky": min(flaky, passed),
    },
    small, small, small, small,
)  # fmt: skip
ends = st.sampled_from(["completed", "failed", "error", "cancelled"])
data_of_events = st.fixed_dictionaries(
    {},
    optional={
        "shardId": shard_ids,
        "tests": tests,
        "results": told_counts,
        "status": ends | st.just("lost"),
    },
)
events = st.tuples(st.sampled_from(EVENTS), data_of_events).filter(
    lambda event: "shardId" in event[1] or not (event[0].startswith("shard.") or event[1].get("tests"))
)
submissions = st.fixed_dictionaries(
    {"shardId": shard_ids}, optional={"tests": tests, "results": told_counts, "status": ends}
)


class Runners(RuleBasedStateMachine):
    """Runners and users of one execution."""

    def __init__(self, api: Api, subscribers: Subscribers) -> None:
        super().__init__()
        self.api, self.subscribers = api, subscribers
        self.sent: list[Message] = []
        self.cancelled: Document | None = None

    @initialize(shards=st.integers(1, 3))
    def create(self, shards: int) -> None:
        self.name = uuid4().hex
        self.webhook = subscribe(self.api, self.subscribers.url(self.name))
        self.execution = self.api.create(configuration={"shards": shards})
        self.model = Model(shards)
        self.path = f"/executions/{self.execution['executionId']}"

    @rule(events=st.lists(events, min_size=1, max_size=4), own=st.booleans(), keyed=st.booleans())
    def report(self, events: list[tuple[str, Document]], own: bool, keyed: bool) -> None:
        token = self.execution["webhookToken"] if own else None
        for name, data in events:
            body = {"event": name, "executionId": self.execution["executionId"], "data": data}
            self.send(f"/webhooks{self.path}", body, 202, keyed, token)
            self.model.event(name, data)

    @rule(bodies=st.lists(submissions, min_size=1, max_size=2), keyed=st.booleans())
    def submit(self, bodies: list[Document], keyed: bool) -> None:
        for body in bodies:
            self.send("/results", {"executionId": self.execution["executionId"], **body}, 201, keyed)
            self.model.submission(body)

    @rule(data=st.data())
    def the_same_again_under_its_key(self, data: st.DataObject) -> None:
        if keyed := [message for message in self.sent if message.key]:
            message = data.draw(st.sampled_from(keyed))
            status = 201 if message.path == "/results" else 202
            again = expect_success(
                self.request(message.path, message.body, message.key, message.token), status
            )
            now = {"executionStatus": self.model.status} if status == 202 else {}
            assert again == {**message.response, **now}

    @rule(data=st.data())
    def the_same_again_without_a_key(self, data: st.DataObject) -> None:
        if self.sent:
            message = data.draw(st.sampled_from(self.sent))
            response = self.request(message.path, message.body, "")
            if message.path == "/results":
                expect_success(response, 201)
                self.model.submission(message.body)
            else:
                expect_success(response, 202)
                self.model.event(message.body["event"], message.body["data"])

    @rule(data=st.data())
    def a_key_with_another_body(self, data: st.DataObject) -> None:
        if keyed := [message for message in self.sent if message.key]:
            message = data.draw(st.sampled_from(keyed))
            expect_error(
                self.request(message.path, {**message.body, "more": 1}, message.key, message.token), 422
            )

    @rule(event=st.sampled_from(EVENTS), bad=st.sampled_from(["executionId", "results", "shardId"]))
    def a_wrong_event(self, event: str, bad: str) -> None:
        wrong: dict[str, Document] = {
            "executionId": {"executionId": "exec_other"},
            "results": {"data": {"shardId": "1", "results": {"total": 1, "passed": 2}}},
            "shardId": {"data": {"shardId": "", "tests": [result()]}},
        }
        body = {"event": event, "executionId": self.execution["executionId"], **wrong[bad]}
        expect_error(self.request(f"/webhooks{self.path}", body, ""), 422)

    @rule()
    def cancel(self) -> None:
        response = self.api.request("DELETE", self.path)
        if not self.model.may_cancel:
            assert self.model.status in expect_error(response, 409)["message"]
            return
        is_first = self.model.status != "cancelled"
        first, self.cancelled = self.cancelled, expect_success(response, 200)
        assert is_first or first in (None, self.cancelled)
        assert self.cancelled["status"] == "cancelled"
        self.model.cancel()

    @invariant()
    def the_server_agrees(self) -> None:
        found, model = self.api.status(self.execution), self.model
        assert found["status"] == model.status
        assert found["results"] == model.results
        assert {each["shardId"]: (each["status"], each["results"]) for each in found["shardResults"]} == {
            name: (shard.status, shard.results) for name, shard in model.shards.items()
        }
        progress = found["progress"]
        assert (progress["shardsCompleted"], progress["totalShards"]) == (model.finished, model.expected)
        assert (progress["startedAt"] is None) == (model.status == "created")
        assert (
            (progress["completedAt"] is None) == (progress["duration"] is None) == (model.status not in ENDED)
        )

    def teardown(self) -> None:
        kept = {(test["shardId"], test["title"]) for test in self.api.tests(self.execution)}
        assert kept == {(name, title) for name, shard in self.model.shards.items() for title in shard.tests}
        self.subscribers.wait_for(lambda: len(self.deliveries()) >= len(self.model.deliveries))
        expect_success(self.api.request("DELETE", f"/webhooks/{self.webhook['webhookId']}"), 200)
        assert self.deliveries() == self.model.deliveries

    def deliveries(self) -> list[tuple[str, str | None, Document | None]]:
        """What the webhook was sent of this execution, what the clock tells left out."""
        found = []
        for payload in (got.payload for got in self.subscribers.of(self.name)):
            event, data = payload["event"], payload["data"]
            if payload["executionId"] == self.execution["executionId"] and event != "execution.progress":
                ends = event not in ("execution.started", "shard.started")
                end = {name: data[name] for name in ("status", "results")} if ends else None
                found.append((event, data.get("shardId"), end))
        return found

    def send(self, path: str, body: Document, status: int, keyed: bool, token: str | None = None) -> None:
        key = uuid4().hex if keyed else ""
        response = expect_success(self.request(path, body, key, token), status)
        self.sent.append(Message(path, body, token, key, response))

    def request(self, path: str, body: Document, key: str, token: str | None = None) -> requests.Response:
        return self.api.request("POST", path, body, token=token, **({"Idempotency-Key": key} if key else {}))


@pytest.mark.slow
def test_a_model_and_the_server_agree_whatever_runners_send(hooks: Api, subscribers: Subscribers) -> None:
    class ConnectedRunners(Runners):
        def __init__(self) -> None:
            super().__init__(hooks, subscribers)

    run_state_machine_as_test(
        ConnectedRunners,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
