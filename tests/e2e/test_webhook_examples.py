"""The receivers in examples/webhooks: with deliveries of a real server, and with repeated and forged ones."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_tms import signing
from tests.helpers.api import Api, expect_success, running
from tests.helpers.processes import wait_for
from tests.helpers.subscribers import ReceivedRequest, Subscribers, subscribing

EXAMPLES = Path(__file__).parents[2] / "examples" / "webhooks"
SECRET = "webhook_secret_key"
COMMANDS = {
    "receiver.py": [sys.executable, str(EXAMPLES / "receiver.py")],
    "receiver.mjs": ["node", str(EXAMPLES / "receiver.mjs")],
    "chat.py": [sys.executable, str(EXAMPLES / "chat.py")],
}


class Program:
    """A running receiver, and the lines that it has printed."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self.process = process
        self._output = output
        wait_for(lambda: self.lines() or process.poll() is not None)
        self.url = self.lines()[0].removeprefix("Listening on ")
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def lines(self) -> list[str]:
        return self._output.read_text().splitlines()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def post(self, headers: dict[str, str], body: bytes) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("POST", "/", body, headers)
        status = connection.getresponse().status
        connection.close()
        return status

    def send(
        self, payload: dict[str, Any], delivery: str, age: int = 0, secrets: tuple[str, ...] = (SECRET,)
    ) -> int:
        body = json.dumps(payload).encode()
        return self.post(signing.sign(secrets, delivery, int(time.time()) - age, body), body)


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a receiver on a free port, in a folder of the test."""
    started: list[Program] = []

    def one(name: str, **environ: str) -> Program:
        command = COMMANDS[name]
        if shutil.which(command[0]) is None:
            pytest.skip(f"{command[0]} is not installed")
        output = tmp_path / f"output-{len(started)}.txt"
        with output.open("w") as file:
            process = subprocess.Popen(
                command,
                cwd=tmp_path,
                env={**os.environ, "TMS_WEBHOOK_SECRET": SECRET, "PORT": "0", **environ},
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        started.append(Program(process, output))
        return started[-1]

    yield one
    for program in started:
        program.stop()


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that may send to this machine."""
    with running(tmp_path_factory.mktemp("sender") / "data", TMS_SERVER_ALLOW_INSECURE_WEBHOOKS="1") as api:
        yield api


@pytest.fixture
def server(sender: Api) -> Iterator[Api]:
    yield sender
    sender.delete_webhooks()


@pytest.fixture(scope="module")
def chats() -> Iterator[Subscribers]:
    with subscribing() as known:
        yield known


receivers = pytest.mark.parametrize(
    "name", ["receiver.py", pytest.param("receiver.mjs", marks=pytest.mark.node)]
)


def subscribe(api: Api, program: Program, events: list[str]) -> None:
    body = {"url": program.url, "events": events, "secret": SECRET}
    expect_success(api.request("POST", "/webhooks", body), 201)


def run_one(api: Api) -> str:
    """Report a run with a passed and a failed test, and return its execution."""
    created = api.create(testSuite="smoke", environment="dev")
    tests = [
        {"title": "logs in", "file": "test_shop.py", "status": "passed"},
        {"title": "pays", "file": "test_shop.py", "status": "failed", "error": "declined"},
    ]
    api.submit(created, tests=tests)
    return str(created["executionId"])


@receivers
def test_a_receiver_records_the_events_of_a_run(name: str, start: Start, server: Api) -> None:
    program = start(name)
    subscribe(server, program, ["execution.started", "shard.completed", "execution.completed"])
    execution = run_one(server)
    expected = [
        f"{event} {execution}" for event in ("execution.started", "shard.completed", "execution.completed")
    ]
    wait_for(lambda: program.lines()[1:] == expected)


@receivers
def test_a_repeated_delivery_has_one_effect_also_after_a_restart(name: str, start: Start) -> None:
    first = start(name)
    payload = {"event": "execution.started", "executionId": "exec_1", "sequence": 1, "data": {}}
    assert [first.send(payload, "msg_1"), first.send(payload, "msg_1")] == [204, 204]
    first.stop()
    second = start(name)
    assert [second.send(payload, "msg_1"), second.send(payload, "msg_2")] == [204, 204]
    assert first.lines()[1:] == ["execution.started exec_1"]
    assert second.lines()[1:] == ["execution.started exec_1"]  # of the second delivery


@receivers
def test_a_delivery_that_is_not_from_the_tms_is_refused(name: str, start: Start) -> None:
    program = start(name)
    payload = {"event": "webhook.test"}
    body = json.dumps(payload).encode()
    signed = signing.sign([SECRET], "msg_1", int(time.time()), body)
    assert program.post(signed, body + b" ") == 401
    assert program.post({**signed, "webhook-id": "msg_2"}, body) == 401
    assert program.post({}, body) == 401
    assert program.send(payload, "msg_3", age=600) == 401
    assert program.send(payload, "msg_4", secrets=("another secret key",)) == 401
    assert program.send(payload, "msg_5", secrets=("another secret key", SECRET)) == 204  # after a rotation
    assert program.post(signing.sign([SECRET], "msg_6", int(time.time()), b"{"), b"{") == 400
    assert program.post({}, b" " * 70_000) == 413
    assert [line.strip() for line in program.lines()[1:]] == ["webhook.test"]


@receivers
def test_a_secret_in_base64_is_decoded(name: str, start: Start) -> None:
    secret = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    program = start(name, TMS_WEBHOOK_SECRET=secret)
    assert program.send({"event": "webhook.test"}, "msg_1", secrets=(secret,)) == 204


def test_the_end_of_a_run_is_posted_to_a_chat_once(start: Start, server: Api, chats: Subscribers) -> None:
    program = start("chat.py", CHAT_URL=chats.url("chat"))
    subscribe(server, program, ["execution.started", "execution.completed"])
    execution = run_one(server)
    chats.wait_for(lambda: chats.of("chat"))
    (posted,) = chats.of("chat")
    text = posted.payload["text"].splitlines()
    assert text[0] == "The run completed: 1 passed, 1 failed."
    assert text[-1] == f"{server.root}/reports/{execution}"


def ended(execution: str) -> dict[str, Any]:
    counts = {"total": 1, "passed": 0, "failed": 1, "skipped": 0, "flaky": 0}
    changes = {"newFailures": {"count": 1, "tests": ["test_shop.py::pays"]}}
    artifacts = {"reportUrl": f"https://tms.example.com/reports/{execution}"}
    data = {"reason": None, "results": counts, "changes": changes, "artifacts": artifacts}
    return {"event": "execution.completed", "executionId": execution, "data": data}


def test_a_chat_that_is_down_gets_the_message_when_the_delivery_is_repeated(
    start: Start, chats: Subscribers
) -> None:
    async def refuse(request: ReceivedRequest, writer: Any) -> None:
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    chats.behave["down"] = refuse
    program = start("chat.py", CHAT_URL=chats.url("down"))
    assert program.send(ended("exec_1"), "msg_1") == 503
    del chats.behave["down"]
    assert [program.send(ended("exec_1"), "msg_1") for _ in range(2)] == [204, 204]
    assert len(chats.of("down")) == 2  # the refused one, and the one that was taken
    assert chats.of("down")[-1].payload == {
        "text": "The run completed: 0 passed, 1 failed.\n1 new:\n- test_shop.py::pays\n"
        "https://tms.example.com/reports/exec_1"
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_a_missing_secret_is_named(name: str, tmp_path: Path) -> None:
    if shutil.which(COMMANDS[name][0]) is None:
        pytest.skip(f"{COMMANDS[name][0]} is not installed")
    completed = subprocess.run(
        COMMANDS[name],
        cwd=tmp_path,
        env={**os.environ, "TMS_WEBHOOK_SECRET": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert completed.returncode == 1
    assert completed.stderr.startswith(f"{name}: Set TMS_WEBHOOK_SECRET")


def test_each_receiver_is_run_and_listed() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == {*COMMANDS, "README.md"}
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"| `{name}` |" not in readme] == []
