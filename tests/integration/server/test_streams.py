"""Streams of server-sent events: what open pages are notified of, on every database and by every process."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from pytest_tms.server.pages import streams
from pytest_tms.server.store import versions
from pytest_tms.server.store.database import Database
from tests.helpers.api import KEY, Api, Serve, result, running, upgraded_database
from tests.helpers.event_streams import event_stream
from tests.helpers.processes import TOKEN, run_tms, wait_for
from tests.integration.server.test_authentication import BEYOND, Visit
from tests.integration.server.test_tokens import stored


def of(api: Api, execution: dict[str, Any], query: str = "") -> str:
    return f"{api.root}/runs/{execution['executionId']}/stream{query}"


def version(api: Api, execution: dict[str, Any]) -> str:
    """The present version of an execution, as a stream says it."""
    with event_stream(of(api, execution, "?version=99")) as stream:
        return stream.next("changed")["id"]


def test_a_result_is_an_event(api: Api) -> None:
    execution = api.create()
    with event_stream(of(api, execution)) as stream:
        headers = stream.response.headers
        assert headers["Content-Type"].startswith("text/event-stream")
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["Cache-Control"] == "no-cache"
        assert "Content-Encoding" not in headers
        api.submit(execution, tests=[result("a", "failed")])
        changed = stream.next("changed")
        assert int(changed["id"]) == int(changed["data"]) == 1


@pytest.mark.parametrize(
    "data",
    [{"shardId": "1", "running": [{"nodeId": "a.py::test_a"}]}, {"tests": [result("b")], "shardId": "2"}],
)
def test_progress_is_an_event(api: Api, data: dict[str, Any]) -> None:
    execution = api.create()
    with event_stream(of(api, execution)) as stream:
        api.send(execution, "execution.progress", **data)
        stream.next("changed")


def test_a_heartbeat_of_a_runner_without_news_is_no_event(api: Api) -> None:
    execution = api.create()
    running = [{"nodeId": "a.py::test_a"}]
    api.send(execution, "execution.progress", shards=["1"], running=running, shardId="1", interval=5)
    before = version(api, execution)
    for _ in range(3):
        api.send(execution, "execution.progress", shards=["1"], running=running, interval=5)
    assert version(api, execution) == before
    api.send(execution, "execution.progress", shards=["1"], running=[{"nodeId": "b"}], interval=5)
    assert int(version(api, execution)) == int(before) + 1


def test_a_file_a_cancel_and_a_deletion_are_events(api: Api) -> None:
    execution = api.create()
    with event_stream(of(api, execution)) as stream:
        path = f"/executions/{execution['executionId']}/artifacts/{EMPTY}"
        uploaded = api.request("PUT", path, b"", Content_Type="text/plain")
        assert uploaded.status_code == 201, uploaded.text
        first = stream.next("changed")
        path = f"/executions/{execution['executionId']}"
        assert api.request("DELETE", path).status_code == 200  # cancels it
        assert int(stream.next("changed")["id"]) > int(first["id"])
        assert api.request("POST", f"{path}/delete", token=stored(api, "admin")).status_code == 200
        rest = stream.until_its_end()  # its page is gone
        assert [event["event"] for event in rest] == ["changed"]
    assert requests.get(of(api, execution), timeout=20).status_code == 404


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""The SHA-256 of no bytes."""


@pytest.mark.parametrize("place", ["header", "query"])
def test_a_page_of_an_earlier_version_gets_an_event_at_once(api: Api, place: str) -> None:
    execution = api.create()
    api.submit(execution, tests=[result("a")])
    now = version(api, execution)
    headers = {"Last-Event-ID": "0"} if place == "header" else {}
    query = "" if place == "header" else "?version=0"
    with event_stream(of(api, execution, query), **headers) as stream:
        assert stream.next("changed")["id"] == now


def test_a_page_of_the_present_version_gets_the_next_event_only(api: Api) -> None:
    execution = api.create()
    api.submit(execution, tests=[result("a")])
    now = version(api, execution)
    with event_stream(of(api, execution), Last_Event_ID=now) as stream:
        api.submit(execution, "2", tests=[result("b")])
        assert int(stream.next("changed")["id"]) == int(now) + 1


@pytest.mark.parametrize("given", ["\x01", "é", "x" * 5000, "1; DROP", "-1"])
def test_a_version_that_is_none_is_ignored(api: Api, given: str) -> None:
    execution = api.create()
    response = requests.get(of(api, execution), params={"version": given}, stream=True, timeout=20)
    with response:
        assert response.status_code == 200
        assert next(response.iter_lines(chunk_size=1)) == b"id: 0"


def test_new_and_changed_executions_are_events_of_the_list(api: Api) -> None:
    with event_stream(f"{api.root}/stream") as stream:
        execution = api.create()
        first = stream.next("changed")["id"]
        api.submit(execution, tests=[result("a")])
        second = stream.next("changed")["id"]
        assert second != first
    with event_stream(f"{api.root}/stream", Last_Event_ID=first) as stream:
        assert stream.next("changed")["id"] == second


def test_unknown_executions_and_other_methods_have_no_stream(api: Api) -> None:
    assert api.page("/runs/exec_0/stream").status_code == 404
    assert api.page("/runs/%00/stream").status_code == 404
    execution = api.create()
    assert requests.post(of(api, execution), timeout=20).status_code == 405
    head = requests.head(of(api, execution), timeout=20)
    assert head.status_code == 200
    assert head.headers["Content-Type"].startswith("text/event-stream")


@pytest.mark.slow
def test_a_stream_requires_the_login_of_its_page(tmp_path: Path) -> None:
    with running(tmp_path, options=BEYOND) as api:
        dev, staging = api.create(environment="dev"), api.create(environment="staging")
        for url in (of(api, dev), f"{api.root}/stream"):
            assert requests.get(url, timeout=20).status_code == 401
        made = run_tms(
            "token", "create", "--name", "dev", "--environment", "dev", "--data-dir", str(tmp_path)
        )
        visit = Visit(api.root)
        token = TOKEN.search(made.stdout)
        assert token is not None
        assert visit.login(token[0]).status_code == 303
        session = visit.session
        assert session.get(of(api, staging), timeout=20).status_code == 403
        with (
            event_stream(of(api, dev), session) as own,
            event_stream(f"{api.root}/stream", session) as listed,
        ):
            api.submit(staging, tests=[result("a")])
            api.submit(dev, tests=[result("a")])
            assert own.next("changed")["id"] == "1"
            listed.next("changed")
            api.submit(staging, "2", tests=[result("b")])
            api.submit(dev, "2", tests=[result("b")])
            last = listed.next("changed")["id"]
        with event_stream(f"{api.root}/stream", session) as stream:
            api.submit(dev, "3", tests=[result("c")])
            assert stream.next("changed")["id"] != last


@pytest.mark.slow
def test_servers_of_one_database_notify_each_others_pages(tmp_path: Path) -> None:
    with upgraded_database() as url, ExitStack() as stack:
        place = ("--database-url", url)
        one, two = (
            stack.enter_context(running(tmp_path / name, *place, TMS_SERVER_KEYS=KEY)) for name in ("a", "b")
        )
        execution = one.create()
        with event_stream(of(two, execution)) as stream, event_stream(f"{two.root}/stream") as listed:
            one.submit(execution, tests=[result("a")])
            assert stream.next("changed")["id"] == "1"
            listed.next("changed")


def test_another_process_notifies_pages(api: Api) -> None:
    execution = api.create()
    url = api.database[1] if api.database else f"sqlite:///{api.data_dir}/tms.sqlite3"
    database = Database(url)
    with event_stream(of(api, execution)) as stream:
        with database.write() as connection:
            versions.increase(connection, execution["executionId"])
        stream.next("changed")
    database.close()


def test_a_stop_ends_streams_at_once(start: Serve, tmp_path: Path) -> None:
    process, url = start(tmp_path)
    root = url.removesuffix("/api")
    with event_stream(f"{root}/stream") as first, event_stream(f"{root}/stream") as second:
        process.send_signal(signal.SIGTERM)
        assert first.until_its_end() == second.until_its_end() == []
        process.wait(timeout=5)  # half of the time that other requests have
    assert "Error" not in (tmp_path / "serve.log").read_text()


@pytest.mark.slow
def test_streams_beyond_the_limit_are_refused_and_others_are_served(start: Serve, tmp_path: Path) -> None:
    _, url = start(tmp_path)
    root = url.removesuffix("/api")
    address = root.rpartition("/")[2].split(":")
    request = f"GET /stream HTTP/1.1\r\nHost: {':'.join(address)}\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(streams.MAX_STREAMS):
            client = stack.enter_context(socket.create_connection((address[0], int(address[1])), timeout=30))
            client.sendall(request)
            opened = b""
            while b"event: opened" not in opened:  # a stream counts from its first event on
                received = client.recv(1000)
                assert received, opened
                opened += received
            assert opened.startswith(b"HTTP/1.1 200")
        refused = requests.get(f"{root}/stream", timeout=20)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) == streams.RETRY_AFTER
        assert requests.get(f"{root}/", timeout=20).status_code == 200
    wait_for(lambda: is_open(f"{root}/stream"))


def is_open(url: str) -> bool:
    with requests.get(url, timeout=20, stream=True) as response:
        return response.status_code == 200
