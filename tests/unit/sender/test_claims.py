"""The requests for tests of a queue: repeated until the TMS responds, after the results that it must know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_tms.client import TmsClient
from pytest_tms.journal.queue import BatchRequest, BatchResponse, MessageFile
from pytest_tms.sender.claims import ClaimRequests
from pytest_tms.wire.claims import ClaimRequest, QueuedTest
from tests.helpers.foreign_tms import ForeignTms
from tests.helpers.processes import wait_for


class Requests:
    """The thread, and pytest's ends of its files."""

    def __init__(self, folder: Path, url: str) -> None:
        journal = folder / "run.jsonl"
        template = ClaimRequest(runner="run-1", shard_id="2", number=1, attempt=3)
        client = TmsClient(url, "tms_token", retries=0)
        self.thread = ClaimRequests(client, journal, "exec_1", template, str)
        self.sent = MessageFile(journal.with_suffix(".queue"), BatchRequest)
        self._received = MessageFile(journal.with_suffix(".claims"), BatchResponse)
        self.thread.start()

    def response(self) -> BatchResponse:
        return wait_for(self._received.read)[0]


@pytest.fixture
def requests(tmp_path: Path, foreign: ForeignTms) -> Iterator[Requests]:
    made = Requests(tmp_path, foreign.url)
    yield made
    made.thread.stop()
    made.thread.join(10)


def test_a_request_is_repeated_until_the_tms_responds(requests: Requests, foreign: ForeignTms) -> None:
    foreign.add_response(503, {}, Retry_After="0")
    foreign.add_response(200, {"number": 1, "tests": ["a::b"], "lease": 6000})
    requests.sent.append(BatchRequest(number=1, tests=[QueuedTest(node_id="a::b")], workers=2))
    wait_for(lambda: requests.thread.is_upload_wanted)
    requests.thread.confirm_upload(has_succeeded=True)
    response = requests.response()
    assert response.claim is not None
    assert response.claim.tests == ["a::b"]
    assert requests.thread.lease == 6
    first, second = (json.loads(request["body"]) for request in foreign.requests)
    assert first == second
    assert first == {
        "runner": "run-1",
        "shardId": "2",
        "number": 1,
        "tests": [{"nodeId": "a::b"}],
        "workers": 2,
        "attempt": 3,
    }


def test_an_idle_request_follows_the_delivery_of_results(requests: Requests, foreign: ForeignTms) -> None:
    foreign.add_response(200, {"number": 2, "state": "finished"})
    requests.sent.append(BatchRequest(number=2, is_idle=True))
    wait_for(lambda: requests.thread.is_upload_wanted)
    assert foreign.requests == []
    requests.thread.confirm_upload(has_succeeded=True)
    claim = requests.response().claim
    assert claim is not None
    assert claim.state == "finished"


def test_a_refusal_is_reported_at_once(requests: Requests, foreign: ForeignTms) -> None:
    foreign.add_response(403, {"error": {"code": "FORBIDDEN", "message": "no"}})
    requests.sent.append(BatchRequest(number=1))
    response = requests.response()
    assert response.claim is None
    assert response.problem
