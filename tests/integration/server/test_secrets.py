"""No secret is in any log, trace, answer, page, list of processes, file or row, but where it is shown once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.fernet import Fernet
from sqlalchemy import text

from pytest_tms.server.store import tables
from tests.helpers.api import Api, expect_error, expect_success, result, running, scratch_database
from tests.helpers.processes import TMS, run_tms, wait_for
from tests.integration.server.test_tokens import written

IN_URL = "planted-in-an-url"


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server with secrets in its settings, and those secrets by name."""
    known = {"key": Fernet.generate_key().decode(), "database": "planted-database", "redis": "planted-redis"}
    with scratch_database() as url:
        url = url.replace("postgres@", f"postgres:{known['database']}@")
        monkeypatch.setenv("TMS_SERVER_DATABASE_URL", url)
        monkeypatch.setenv("TMS_SERVER_KEYS", known["key"])
        monkeypatch.setenv("TMS_SERVER_RATE_LIMITS", "documented")
        monkeypatch.setenv("TMS_SERVER_REDIS_URL", f"redis://:{known['redis']}@127.0.0.1:1/0")
        with running(tmp_path / "data") as api:
            yield Api(api.url, api.token, api.data_dir, ("--database-url", url)), known


@pytest.mark.slow
def test_planted_secrets_are_found_nowhere(planted: tuple[Api, dict[str, str]]) -> None:
    api, known = planted
    responses: list[requests.Response] = []

    def ask(method: str, path: str, body: object = None, **headers: str) -> requests.Response:
        responses.append(api.request(method, path, body, **headers))
        return responses[-1]

    def page(path: str) -> None:
        responses.append(api.page(path))
        assert responses[-1].status_code == 200

    known["token"] = api.token
    hook = {"url": f"https://hooks.invalid/?key={IN_URL}", "events": ["execution.completed"]}
    # Shown once, to whoever made them:
    execution = api.create()
    made = expect_success(api.request("POST", "/webhooks", hook), 201)
    known.update(own=execution["webhookToken"], made=made["secret"], given="planted-given-secret")
    path = f"/webhooks/{made['webhookId']}"
    known["rotated"] = expect_success(api.request("POST", f"{path}/rotate", {}), 200)["secret"]

    expect_success(ask("POST", f"{path}/rotate", {"secret": known["given"]}), 200)
    expect_success(ask("POST", "/webhooks", {**hook, "secret": known["given"]}), 201)
    expect_success(ask("POST", f"{path}/validate"), 200)
    expect_success(ask("GET", "/webhooks"), 200)
    expect_success(ask("GET", "/"), 200)
    api.send(execution, "execution.started")
    api.submit(execution, tests=[result("t", "failed", error="wrong")])
    expect_success(ask("GET", f"/executions/{execution['executionId']}"), 200)
    expect_success(ask("GET", f"{path}/deliveries"), 200)
    # Wrong requests, each with a secret in it:
    expect_error(ask("POST", "/webhooks", {**hook, "url": "nonsense", "secret": known["given"]}), 422)
    expect_error(ask("POST", "/webhooks", {**hook, "secret": [known["given"]]}), 422)
    expect_error(ask("POST", "/webhooks", f'{{"secret": "{known["given"]}"'.encode()), 400)
    expect_error(ask("GET", "/webhooks", token=f"{known['token']}x"), 401)
    expect_error(ask("GET", "/webhooks", token=f"{known['own']}x"), 401)
    expect_error(ask("POST", f"{path}/replay", {"deliveryId": "msg_nope"}), 404)
    # A bug, with a trace in the log:
    with written(api) as connection:
        connection.execute(text("ALTER TABLE webhooks RENAME TO away"))
    expect_error(ask("POST", "/webhooks", {**hook, "secret": known["given"]}), 500)
    with written(api) as connection:
        connection.execute(text("ALTER TABLE away RENAME TO webhooks"))
    for each in (
        "/",
        f"/runs/{execution['executionId']}",
        f"/runs/{execution['executionId']}/events",
        path,
        "/audit",
    ):
        page(each)
    place = ("--data-dir", str(api.data_dir))
    token_id = expect_success(ask("GET", "/"), 200)["token"]["id"]
    turned = json.loads(run_tms("token", "rotate", token_id, "--json", *place).stdout)
    known["newer"] = turned["token"]
    said = [run_tms(*command, *place) for command in (
        ["token", "list", "--json"], ["token", "list"], ["audit", "--json"], ["audit"],
        ["key", "rotate"], ["token", "revoke", token_id], ["db", "upgrade"],
    )]  # fmt: skip
    assert [each.returncode for each in said] == [0] * len(said)

    log = api.output()
    assert "Traceback" in log
    assert "INSERT INTO webhooks" in log
    assert "Redis is unavailable" in log
    with written(api) as connection:
        rows = {
            table.name: repr(connection.execute(table.select()).all())
            for table in tables.metadata.sorted_tables
        }
    places = {
        "the log": log,
        "an answer": "\n".join(f"{each.headers} {each.text}" for each in responses),
        "a command": "\n".join(each.stdout + each.stderr for each in said),
        "a list of processes": processes_of(api.data_dir),
        **{f"the table {name}": shown for name, shown in rows.items()},
        **{
            f"the file {file.name}": file.read_bytes().decode("latin-1")
            for file in api.data_dir.rglob("*")
            if file.is_file()
        },
    }
    assert "tms" in places["a list of processes"]
    found = [
        (name, where) for where, shown in places.items() for name, secret in known.items() if secret in shown
    ]
    assert found == []
    quiet = [where for where, shown in places.items() if IN_URL in shown]
    assert quiet == ["an answer", "the table webhooks"]  # the API gives the URL back, as documented
    assert not any(
        IN_URL in each.text for each in responses if each.headers["Content-Type"].startswith("text/html")
    )


def processes_of(data_dir: Path) -> str:
    """Return the command lines of a server with two workers, which is started as its operator does."""
    log = data_dir / "second.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*TMS, "serve", "--port", "0", "--workers", "2", "--data-dir", str(data_dir)],
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: "/api" in log.read_text(), seconds=90)
        lines = map(command_line, Path("/proc").glob("[0-9]*"))
        return "\n".join(line for line in lines if str(data_dir) in line)
    finally:
        process.terminate()
        process.wait(30)


def command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:  # it ended
        return ""
