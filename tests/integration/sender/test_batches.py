"""How many messages a run costs."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from pytest_tms import TmsClient, wire
from pytest_tms.journal.lines import VERSION, Opened, ShardStarted, encode, encode_tested, text_as_json
from pytest_tms.journal.reader import Journal
from pytest_tms.journal.writer import JournalWriter
from pytest_tms.sender.uploader import Uploader
from tests.helpers.foreign_tms import ForeignTms


def test_shards_that_take_turns_cost_a_message_each_not_one_per_test(
    mocked_tms: ForeignTms, tmp_path: Path
) -> None:
    mocked_tms.add_response(201, {"executionId": "exec_1", "capabilities": ["live-tests"]})
    writer = JournalWriter.create([tmp_path], "run")
    request = wire.ExecutionRequest(test_suite="all", environment="dev")
    writer.append(encode(Opened(version=VERSION, run="run", request=request)))
    for shard in ("1", "2"):
        writer.append(encode(ShardStarted(shard=shard)))
    for number in range(100):
        test = msgspec.json.encode(wire.TestResult(title=f"test_{number}", status="passed"))
        writer.append(encode_tested(text_as_json(str(number % 2 + 1)), test, test_number=number + 1))
    writer.close()
    journal = Journal.adopt(writer.path)
    assert journal is not None
    with TmsClient(mocked_tms.url, "t", retries=0) as client:
        uploader = Uploader(client, journal)
        uploader.upload()
    journal.close(delivered=True)
    sent = [json.loads(request["body"]) for request in mocked_tms.requests]
    tests = [len(body["data"]["tests"]) for body in sent if body.get("event") == "execution.progress"]
    assert tests == [50, 50]
    assert len(sent) == 1 + 1 + 2 + 2
    assert uploader.delivered == 100
