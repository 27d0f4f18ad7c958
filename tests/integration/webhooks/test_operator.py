"""Webhooks for operators and integrators: rate, keys, disabled webhooks and commands."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_tms import signing
from tests.helpers.api import Api, expect_error, expect_success, invalid_fields, result, running
from tests.helpers.processes import TMS, run_tms, wait_for
from tests.helpers.subscribers import ReceivedRequest, Subscribers, responds_with
from tests.integration.webhooks.conftest import EVENTS, SECRET, deliveries, subscribe

DEAD_NAME_SERVERS = """
import socket, time

found = socket.getaddrinfo

def look_up(host, *more, **options):
    if str(host).endswith(".dead.example"):
        time.sleep(6)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")
    return found(host, *more, **options)

socket.getaddrinfo = look_up
"""


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A server with its limits, which may send to this machine."""
    monkeypatch.setenv("TMS_SERVER_ALLOW_INSECURE_WEBHOOKS", "1")
    with running(tmp_path / "data") as api:
        yield api


def change(api: Api, statement: str) -> None:
    with sqlite3.connect(api.data_dir / "tms.sqlite3", timeout=20) as connection:
        connection.execute(statement)
    connection.close()


def test_at_most_ten_deliveries_are_sent_in_any_second(local: Api, subscribers: Subscribers) -> None:
    times: list[float] = []

    async def note(got: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        times.append(time.monotonic())
        await responds_with(200)(got, writer)

    subscribers.behave["paced"] = note
    subscribe(local, subscribers.url("paced"), events=["shard.started"])
    execution = local.create(configuration={"shards": 40})
    for shard in range(25):
        local.submit(execution, str(shard), tests=[result()])
    subscribers.wait_for(lambda: len(times) == 25)
    for got in subscribers.of("paced"):
        signing.verify(SECRET, got.headers, got.body)
    # Each eleventh begins a second after; half of it may be lost on the way here.
    assert all(later - first > 0.5 for first, later in zip(times, times[10:], strict=False))
    assert times[-1] - times[0] > 1.5


def test_a_webhook_that_only_failed_for_five_days_is_disabled(local: Api, subscribers: Subscribers) -> None:
    subscribers.behave["old"] = responds_with(500)
    webhook = subscribe(
        local, subscribers.url("old"), retryPolicy={"maxRetries": 0}, events=["execution.completed"]
    )
    path = f"/webhooks/{webhook['webhookId']}"
    local.submit(local.create(), tests=[result()])
    wait_for(lambda: deliveries(local, webhook, "failed"))
    assert local.request("GET", path).json()["status"] == "active"
    change(local, f"UPDATE webhooks SET failing_since = failing_since - {5 * 86_400_000}")
    local.submit(local.create(), tests=[result()])
    wait_for(lambda: local.request("GET", path).json()["status"] == "disabled")
    assert local.request("GET", path).json()["reason"] == "Every delivery failed for 5 days"


@pytest.mark.slow
def test_unresponsive_name_servers_delay_no_other_webhook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subscribers: Subscribers
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEAD_NAME_SERVERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("TMS_SERVER_ALLOW_INSECURE_WEBHOOKS", "1")
    with running(tmp_path / "data") as api:
        policy, events = {"maxRetries": 0}, ["shard.completed", "execution.completed"]
        dead = [
            subscribe(api, f"http://{number}.dead.example/", retryPolicy=policy, events=events)
            for number in range(8)
        ]
        alive = subscribe(api, subscribers.url("alive"), events=events)
        for _ in range(4):
            api.submit(api.create(), tests=[result()])
        wait_for(lambda: len(deliveries(api, alive, "delivered")) == 8)
        assert not any(deliveries(api, each, "failed") for each in dead)
        for each in dead:
            failed = wait_for(partial(deliveries, api, each, "failed"))
            assert failed[-1]["reason"] == "its host name cannot be resolved"


@pytest.mark.slow
def test_keys_are_rotated_under_a_running_server(local: Api, subscribers: Subscribers) -> None:
    subscribe(local, subscribers.url("rotated"), events=["execution.completed"])
    file = local.data_dir / "secrets.key"
    before = file.read_text().split()
    for _ in range(2):
        completed = run_tms("key", "rotate", "--data-dir", str(local.data_dir))
        assert completed.returncode == 0, completed.stderr
        assert completed.stdout == "the secrets of 1 webhooks are encrypted with the newest key\n"
    assert before[0] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    local.submit(local.create(), tests=[result()])
    subscribers.wait_for(lambda: subscribers.of("rotated"))
    file.write_text("nonsense\n")
    completed = run_tms("key", "rotate", "--data-dir", str(local.data_dir))
    assert completed.returncode == 1
    assert "is malformed" in completed.stderr
    assert "Traceback" not in completed.stderr


def test_by_default_webhooks_are_sent_to_public_https_urls_only(sqlite_api: Api) -> None:
    for url in ("http://ci.example.com/", "https://127.0.0.1/", "https://10.0.0.1/", "x"):
        body = {"url": url, "events": EVENTS}
        assert invalid_fields(sqlite_api.request("POST", "/webhooks", body)) == {"url"}
    wrong = {"url": "x", "events": ["nope"], "secret": "whsec_!", "retryPolicy": {"maxRetries": -1}}
    named = invalid_fields(sqlite_api.request("POST", "/webhooks", wrong))
    assert named == {"url", "events[0]", "secret", "retryPolicy.maxRetries"}
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/validate"),
        ("POST", "/replay"),
    ):
        empty: dict[str, Any] | None = {} if method in ("PATCH", "POST") else None
        expect_error(sqlite_api.request(method, f"/webhooks/wh_nope{path}", empty), 404)


def test_the_commands_register_validate_list_and_replay(
    local: Api, subscribers: Subscribers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_URL", local.url)
    monkeypatch.setenv("TMS_API_TOKEN", local.token)
    made = run_tms("webhook", "create", subscribers.url("cli"), "--event", "execution.completed")
    webhook_id, shown = made.stdout.splitlines()
    assert re.match(r"secret whsec_\S+ ", shown)
    assert run_tms("webhook", "validate", webhook_id).stdout.startswith("valid: 200 in ")
    listed = run_tms("webhook", "list").stdout
    assert listed == f"{webhook_id}  active  {subscribers.url('cli')}\n"
    subscribers.behave["cli"] = responds_with(410)
    invalid = run_tms("webhook", "validate", webhook_id)
    assert (invalid.returncode, invalid.stdout.rpartition(": ")[2]) == (1, "it responded with 410\n")
    local.submit(local.create(), tests=[result()])
    webhook = {"webhookId": webhook_id}
    (failed,) = wait_for(lambda: deliveries(local, webhook, "failed"))
    del subscribers.behave["cli"]
    expect_success(local.request("PATCH", f"/webhooks/{webhook_id}", {"status": "active"}), 200)
    completed = run_tms("webhook", "replay", webhook_id, "--delivery", failed["deliveryId"])
    assert completed.stdout == "1 deliveries are sent again\n"
    wait_for(lambda: deliveries(local, webhook, "delivered"))


def test_the_command_registers_a_chat_for_the_ends_of_runs(
    local: Api, subscribers: Subscribers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_URL", local.url)
    monkeypatch.setenv("TMS_API_TOKEN", local.token)
    made = run_tms("webhook", "create", subscribers.url("chat"), "--format", "slack")
    (webhook_id,) = made.stdout.splitlines()
    webhook = expect_success(local.request("GET", f"/webhooks/{webhook_id}"), 200)
    assert webhook["format"] == "slack"
    assert webhook["events"] == ["execution.completed", "execution.failed", "execution.cancelled"]
    refused = run_tms(
        "webhook", "create", subscribers.url("chat"), "--format", "teams", "--event", "shard.completed"
    )
    assert refused.returncode == 1
    assert "Has no message in the format teams: use execution.completed, " in refused.stderr
    expect_success(local.request("DELETE", f"/webhooks/{webhook_id}"), 200)


@pytest.mark.parametrize(("secret", "answered"), [(SECRET, 503), ("another", 401)])
def test_listen_prints_and_verifies_payloads_and_sends_the_given_status(
    local: Api, secret: str, answered: int
) -> None:
    process = subprocess.Popen(
        [*TMS, "webhook", "listen", "--port", "0", "--status", "503", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMS_WEBHOOK_SECRET": secret, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        webhook = subscribe(local, url)
        response = expect_success(local.request("POST", f"/webhooks/{webhook['webhookId']}/validate"), 200)
        assert response["responseCode"] == answered
        shown = json.loads(process.stdout.readline())
        assert (shown["signature"] == "valid") == (secret == SECRET)
        assert shown["payload"]["event"] == "webhook.test"
    finally:
        process.terminate()
        process.communicate()
