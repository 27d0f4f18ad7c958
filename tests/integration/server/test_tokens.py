"""Tokens: who may do what, and that nobody finds them at rest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.errors import Conflict
from pytest_tms.server.domain import api_tokens, clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.domain.api_tokens import ApiToken
from pytest_tms.server.services.tokens import revoke_token, rotate_token
from pytest_tms.server.store import tokens
from pytest_tms.server.store.database import Database
from tests.helpers.api import Api, Serve, expect_error, expect_success, scratch_database
from tests.helpers.processes import run_tms, wait_for

OPERATOR = Actor(id="command", name="operator")


def token(api: Api, *options: str) -> dict[str, Any]:
    """A new token, as the command prints it for machines."""
    place = ("--data-dir", str(api.data_dir), *api.database)
    made = run_tms("token", "create", "--name", "another", "--json", *options, *place)
    assert made.returncode == 0, made.stderr
    document: dict[str, Any] = json.loads(made.stdout)
    return document


@contextmanager
def opened(api: Api) -> Iterator[Database]:
    """The server's database, without the second that a command takes to start."""
    database = Database(api.database[1] if api.database else f"sqlite:///{api.data_dir / 'tms.sqlite3'}")
    try:
        yield database
    finally:
        database.close()


@contextmanager
def written(api: Api) -> Iterator[Connection]:
    """A transaction on the server's database."""
    with opened(api) as database, database.write() as connection:
        yield connection


def stored(api: Api, *scopes: str, expires_at: int | None = None, environments: tuple[str, ...] = ()) -> str:
    """The text of a new token."""
    made, text = api_tokens.new_token(
        "another", clock.now(), scopes or api_tokens.DEFAULT_SCOPES, expires_at, environments
    )
    with written(api) as connection:
        tokens.add(connection, made, api_tokens.hash_token(text))
    return text


def listed(api: Api, token_id: str) -> dict[str, Any]:
    shown = run_tms("token", "list", "--json", "--data-dir", str(api.data_dir), *api.database)
    assert shown.returncode == 0, shown.stderr
    return next(each for each in json.loads(shown.stdout) if each["id"] == token_id)


def test_a_token_opens_what_its_scopes_say(api: Api) -> None:
    reads, writes, admin = (stored(api, scope) for scope in ("executions:read", "executions:write", "admin"))
    body = {"testSuite": "all", "environment": "dev"}
    error = expect_error(api.request("POST", "/executions", body, token=reads), 403)
    assert error["code"] == "FORBIDDEN"
    assert "executions:write" in error["message"]
    execution = expect_success(api.request("POST", "/executions", body, token=writes), 201)
    path = f"/executions/{execution['executionId']}"
    event = {"event": "execution.started", "executionId": execution["executionId"]}
    expect_success(api.request("GET", path, token=reads), 200)
    expect_error(api.request("GET", path, token=writes), 403)
    expect_error(api.request("DELETE", path, token=reads), 403)
    expect_error(api.request("POST", execution["webhookUrl"], event, token=reads), 403)
    expect_success(api.request("POST", execution["webhookUrl"], event, token=writes), 202)
    expect_success(api.request("GET", path, token=admin), 200)
    expect_success(api.request("DELETE", path, token=admin), 200)


@pytest.mark.slow
def test_a_revoked_token_opens_nothing(sqlite_api: Api) -> None:
    api, made = sqlite_api, token(sqlite_api)
    expect_error(api.request("GET", "/executions/x", token=made["token"]), 404)
    place = ("--data-dir", str(api.data_dir))
    for _ in range(2):  # again is harmless
        assert run_tms("token", "revoke", made["id"], *place).returncode == 0
    expect_error(api.request("GET", "/executions/x", token=made["token"]), 401)
    shown = listed(api, made["id"])
    assert shown["valid"] is False
    assert shown["revokedAt"]
    assert f"{made['id']}  revoked" in run_tms("token", "list", *place).stdout


def test_an_expired_token_opens_nothing(api: Api) -> None:
    expect_error(api.request("GET", "/executions/x", token=stored(api, expires_at=clock.now() + 60_000)), 404)
    expect_error(api.request("GET", "/executions/x", token=stored(api, expires_at=clock.now() - 1)), 401)


@pytest.mark.slow
def test_a_token_is_made_with_the_scopes_that_are_asked_for(sqlite_api: Api) -> None:
    made = token(sqlite_api, "--scope", "executions:read", "--scope", "admin")
    assert set(made) == {"token", "id", "name", "scopes"}
    assert made["name"] == "another"
    bound = token(sqlite_api, "--environment", "dev", "--environment", "staging")
    assert listed(sqlite_api, bound["id"])["environments"] == ["dev", "staging"]
    assert listed(sqlite_api, made["id"])["scopes"] == made["scopes"] == ["executions:read", "admin"]
    assert listed(sqlite_api, token(sqlite_api)["id"])["scopes"] == list(api_tokens.DEFAULT_SCOPES)


@pytest.mark.slow
@pytest.mark.parametrize(("expires", "hours"), [("12h", 12), ("4w", 4 * 7 * 24)])
def test_a_token_ends_when_it_was_told_to(sqlite_api: Api, expires: str, hours: int) -> None:
    shown = listed(sqlite_api, token(sqlite_api, "--expires", expires)["id"])
    ends = wire.parse_time(shown["expiresAt"])
    assert abs(ends - datetime.now(timezone.utc) - timedelta(hours=hours)) < timedelta(minutes=1)
    assert shown["valid"] is True


@pytest.mark.parametrize("expires", ["", "0d", "-1d", "soon", "90", "1y", "999999w", "٣x"])
def test_a_token_does_not_end_at_what_is_no_time(tmp_path: Path, expires: str) -> None:
    completed = run_tms("token", "create", "--name", "x", f"--expires={expires}", "--data-dir", str(tmp_path))
    assert completed.returncode == 2
    assert one_line(completed.stderr)


@pytest.mark.parametrize("name", ["", "  "])
def test_a_token_needs_a_name(tmp_path: Path, name: str) -> None:
    completed = run_tms("token", "create", "--name", name, "--data-dir", str(tmp_path))
    assert completed.returncode == 2
    assert "it is empty: name what uses the token" in one_line(completed.stderr)


def test_a_token_that_is_bound_to_environments_reaches_no_other(api: Api) -> None:
    bound = stored(api, environments=("staging", "production"))
    body = {"testSuite": "all", "environment": "dev"}
    error = expect_error(api.request("POST", "/executions", body, token=bound), 403)
    assert "is bound to staging, production" in error["message"]
    mine = expect_success(
        api.request("POST", "/executions", {**body, "environment": "staging"}, token=bound), 201
    )
    for execution, seen, sent in ((mine, 200, 201), (api.create(), 403, 403)):
        path = f"/executions/{execution['executionId']}"
        named = {"executionId": execution["executionId"]}
        event = {"event": "execution.started", **named}
        assert api.request("GET", path, token=bound).status_code == seen
        assert api.request("GET", f"{path}/tests", token=bound).status_code == seen
        assert api.request("POST", execution["webhookUrl"], event, token=bound).status_code == seen + 2 * (
            seen == 200
        )
        assert api.request("POST", "/results", {**named, "shardId": "1"}, token=bound).status_code == sent
    assert api.status(api.create(environment="dev"))["status"] == "created"


def test_a_token_that_is_bound_to_environments_hears_of_no_other(api: Api) -> None:
    bound = stored(api, environments=("staging",))
    hook = {"url": "https://example.com/", "events": ["execution.completed"]}
    mine = expect_success(
        api.request("POST", "/webhooks", {**hook, "filters": {"environments": ["staging"]}}, token=bound), 201
    )
    theirs = expect_success(api.request("POST", "/webhooks", hook), 201)
    wider: list[dict[str, list[str]] | None] = [
        None,
        {},
        {"environments": []},
        {"environments": ["staging", "dev"]},
    ]
    for filters in wider:
        expect_error(api.request("POST", "/webhooks", {**hook, "filters": filters}, token=bound), 403)
        if filters is not None:
            path = f"/webhooks/{mine['webhookId']}"
            expect_error(api.request("PATCH", path, {"filters": filters}, token=bound), 403)
    expect_error(api.request("GET", f"/webhooks/{theirs['webhookId']}", token=bound), 403)
    expect_error(api.request("DELETE", f"/webhooks/{theirs['webhookId']}", token=bound), 403)
    seen = expect_success(api.request("GET", "/webhooks", token=bound), 200)["webhooks"]
    assert [each["webhookId"] for each in seen] == [mine["webhookId"]]
    assert {"tok_"} == {each["createdBy"][:4] for each in (mine, theirs)}
    assert mine["createdBy"] != theirs["createdBy"]
    for each in (mine, theirs):
        expect_success(api.request("DELETE", f"/webhooks/{each['webhookId']}"), 200)


def test_a_rotated_token_opens_by_both_texts_until_the_overlap_ends(api: Api) -> None:
    first = stored(api, "executions:read")
    made = expect_success(api.request("GET", "/", token=first), 200)["token"]

    def rotate(overlap: int) -> str:
        with opened(api) as database:
            return rotate_token(database, OPERATOR, made["id"], overlap=overlap)[1]

    second = rotate(60_000)
    for text in (first, second):
        assert expect_success(api.request("GET", "/", token=text), 200)["token"]["id"] == made["id"]
    third = rotate(0)
    expect_error(api.request("GET", "/executions/x", token=first), 401)
    assert "expired" in expect_error(api.request("GET", "/executions/x", token=second), 401)["message"]
    expect_error(api.request("GET", "/executions/x", token=third), 404)
    rotate(60_000)
    with opened(api) as database:
        revoke_token(database, OPERATOR, made["id"])
    assert "revoked" in expect_error(api.request("GET", "/executions/x", token=third), 401)["message"]


@pytest.mark.slow
def test_the_command_rotates_a_token(sqlite_api: Api) -> None:
    api, place = sqlite_api, ("--data-dir", str(sqlite_api.data_dir))
    made = token(api, "--expires", "1h")
    completed = run_tms("token", "rotate", made["id"], "--json", *place)
    after = json.loads(completed.stdout)
    assert {**after, "token": made["token"]} == made
    for text in (made["token"], after["token"]):
        expect_error(api.request("GET", "/executions/x", token=text), 404)
    shown = listed(api, made["id"])
    assert shown["previousUntil"] == shown["expiresAt"]  # an overlap of a day does not make it live longer
    completed = run_tms("token", "rotate", made["id"], "--overlap", "0h", "--expires", "4w", *place)
    assert re.fullmatch(r"tms_\w{36}\n", completed.stdout)
    expect_error(api.request("GET", "/executions/x", token=after["token"]), 401)
    ends = wire.parse_time(listed(api, made["id"])["expiresAt"])
    assert ends - datetime.now(timezone.utc) > timedelta(days=27)
    assert run_tms("token", "revoke", made["id"], *place).returncode == 0
    completed = run_tms("token", "rotate", made["id"], *place)
    assert completed.returncode == 1
    assert "create a new token" in one_line(completed.stderr)


def test_a_token_that_has_expired_is_rotated_only_with_a_new_end(api: Api) -> None:
    made, text = api_tokens.new_token("old", clock.now(), expires_at=clock.now() - 1)
    with opened(api) as database:
        with database.write() as connection:
            tokens.add(connection, made, api_tokens.hash_token(text))
        with pytest.raises(Conflict, match="--expires"):
            rotate_token(database, OPERATOR, made.id, overlap=60_000)
        _, newer = rotate_token(database, OPERATOR, made.id, overlap=60_000, expires_in=60_000)
    expect_error(api.request("GET", "/executions/x", token=text), 401)
    expect_error(api.request("GET", "/executions/x", token=newer), 404)


def test_a_revoked_token_opens_nothing_on_any_replica(server: Api, start: Serve, tmp_path: Path) -> None:
    text = stored(server, "executions:read")
    _, url = start(tmp_path, "--data-dir", str(server.data_dir), *server.database)
    replica = replace(server, url=url, session=requests.Session())
    with replica.session:
        for each in (server, replica, server, replica):
            expect_error(each.request("GET", "/executions/x", token=text), 404)
        with written(server) as connection:
            found = tokens.find(connection, api_tokens.hash_token(text))
            assert found is not None
            tokens.revoke(connection, found.id, clock.now())
        for each in (server, replica, server, replica):
            expect_error(each.request("GET", "/executions/x", token=text), 401)


def test_the_last_use_of_a_token_is_noted_once_a_minute(api: Api) -> None:
    text, other = stored(api, "executions:read"), stored(api, "executions:read")

    def known(text: str = text) -> ApiToken:
        with written(api) as connection:
            found = tokens.find(connection, api_tokens.hash_token(text))
        assert found is not None
        return found

    assert known().used_at is None
    before = clock.now()
    expect_error(api.request("GET", "/executions/x", token=text), 404)
    first = wait_for(lambda: known().used_at)
    assert before <= first <= clock.now()
    expect_error(api.request("GET", "/executions/x", token=text), 404)
    expect_error(api.request("GET", "/executions/x", token=other), 404)
    wait_for(lambda: known(other).used_at)  # it was noted later: so what was noted before is written
    assert known().used_at == first
    long_ago = clock.now() - 61_000
    token_id = known().id
    with written(api) as connection:
        tokens.used(connection, token_id, long_ago)
    expect_error(api.request("GET", "/executions/x", token=text), 404)
    wait_for(lambda: known().used_at != long_ago)


def test_no_request_waits_until_a_last_use_is_written(sqlite_api: Api) -> None:
    text = stored(sqlite_api, "executions:read")
    with written(sqlite_api) as connection:  # holds SQLite's one lock for writing
        expect_error(sqlite_api.request("GET", "/executions/x", token=text), 404)
        found = tokens.find(connection, api_tokens.hash_token(text))
        assert found is not None
        assert found.used_at is None
    assert wait_for(lambda: listed(sqlite_api, found.id)["lastUsedAt"])


def test_an_executions_own_token_opens_its_own_events_alone(api: Api) -> None:
    one, other = api.create(), api.create()
    own = one["webhookToken"]
    api.send(one, "execution.started")
    event = {"event": "execution.started", "executionId": other["executionId"]}
    expect_error(api.request("POST", other["webhookUrl"], event, token=own), 401)
    for method, path in [
        ("GET", f"/executions/{one['executionId']}"),
        ("GET", f"/executions/{one['executionId']}/tests"),
        ("DELETE", f"/executions/{one['executionId']}"),
        ("POST", "/executions"),
        ("POST", "/results"),
    ]:
        expect_error(api.request(method, path, token=own), 401)


def test_who_has_no_token_does_not_learn_what_exists(api: Api) -> None:
    execution = api.create()
    messages = set()
    for url in (execution["webhookUrl"], "/webhooks/executions/exec_nope"):
        messages.add(expect_error(api.request("POST", url, token="wh_token_guess"), 401)["message"])
    assert len(messages) == 1


def test_the_text_of_a_token_is_nowhere_at_rest(sqlite_api: Api) -> None:
    secrets = [token(sqlite_api)["token"], sqlite_api.create()["webhookToken"], sqlite_api.token]
    for file in sqlite_api.data_dir.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not any(secret.encode() in content for secret in secrets), file


def test_a_token_has_the_form_that_scanners_know(sqlite_api: Api) -> None:
    made = token(sqlite_api)["token"]
    assert re.fullmatch(r"tms_[0-9A-Za-z]{36}", made)
    assert made[-6:] == api_tokens._checksum(made[4:34])


def test_a_token_is_shown_alone_on_stdout(tmp_path: Path) -> None:
    place = ("--data-dir", str(tmp_path))
    assert run_tms("db", "upgrade", *place).returncode == 0
    completed = run_tms("token", "create", "--name", "my name", *place)
    assert re.fullmatch(r"tms_\w{36}\n", completed.stdout)
    assert "my name" in completed.stderr
    assert completed.stdout.strip() not in run_tms("token", "list", *place).stdout


COMMANDS = [
    ["token", "create", "--name", "x"],
    ["token", "create", "--name", "x", "--json"],
    ["token", "list"],
    ["token", "list", "--json"],
    ["token", "rotate", "tok_x"],
    ["token", "revoke", "tok_x"],
    ["audit"],
    ["key", "rotate"],
    ["key", "reset"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("is_empty", [False, True], ids=["missing", "empty"])
def test_a_command_refuses_a_database_that_no_server_made(
    tmp_path: Path, command: list[str], is_empty: bool
) -> None:
    folder = tmp_path / "data"
    if is_empty:
        folder.mkdir()
        (folder / "tms.sqlite3").touch()
    completed = run_tms(*command, TMS_SERVER_DATA_DIR=str(folder))
    assert completed.returncode == 1
    assert not completed.stdout
    said = one_line(completed.stderr)
    for word in (
        str(folder),
        "tms serve",
        "--data-dir",
        "--database-url",
        "TMS_SERVER_DATA_DIR",
        "TMS_SERVER_DATABASE_URL",
    ):
        assert word in said
    assert folder.exists() is is_empty
    assert not is_empty or not (folder / "tms.sqlite3").stat().st_size


@pytest.mark.slow
def test_a_command_refuses_a_postgresql_database_that_no_server_made(tmp_path: Path) -> None:
    with scratch_database() as url:
        place = ("--data-dir", str(tmp_path), "--database-url", url)
        completed = run_tms("token", "create", "--name", "x", *place)
        assert completed.returncode == 1
        assert url.partition("//")[2] in one_line(completed.stderr)
        assert run_tms("db", "upgrade", *place).returncode == 0
        assert run_tms("token", "create", "--name", "x", *place).returncode == 0


@pytest.mark.slow
def test_a_command_says_on_stderr_which_database_it_works_on(api: Api) -> None:
    place = ("--data-dir", str(api.data_dir), *api.database)
    made = token(api)
    for command in (
        ["create", "--name", "x", "--json"],
        ["list", "--json"],
        ["rotate", made["id"]],
        ["revoke", made["id"]],
    ):
        completed = run_tms("token", *command, *place)
        expected = api.database[1].partition("@")[2] if api.database else str(api.data_dir / "tms.sqlite3")
        assert expected in completed.stderr.splitlines()[-1]
        assert "database" in completed.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["token", "create"], 2, "--name"),
        (["token", "create", "--name", "x", "--scope", "everything"], 2, "executions:read"),
        (["token", "create", "--name", "x", "--environment", "moon"], 2, "TMS_SERVER_ENVIRONMENTS"),
        (["token", "create", "--name", "x", "--environment", "dev", "--scope", "admin"], 2, "admin"),
        (["token", "rotate", "tok_nope"], 1, "tok_nope"),
        (["token", "rotate", "tok_nope", "--overlap", "-1h"], 2, "12h"),
        (["token", "revoke"], 2, "TOKEN_ID"),
        (["token", "revoke", "tok_nope"], 1, "tok_nope"),
    ],
)
def test_a_token_command_that_fails_says_why_in_one_line(
    tmp_path: Path, arguments: list[str], status: int, said: str
) -> None:
    assert run_tms("db", "upgrade", "--data-dir", str(tmp_path)).returncode == 0
    completed = run_tms(*arguments, "--data-dir", str(tmp_path))
    assert completed.returncode == status
    assert said in one_line(completed.stderr)
    assert not completed.stdout


def one_line(text: str) -> str:
    assert text.startswith("tms: ")
    assert text.count("\n") == 1, text
    return text


def test_a_token_can_ask_what_it_is(api: Api) -> None:
    ends = clock.now() + 60_000
    shown = expect_success(
        api.request("GET", "/", token=stored(api, "executions:write", expires_at=ends)), 200
    )["token"]
    assert shown["scopes"] == ["executions:write"]
    assert shown["expiresAt"] == wire.timestamp(wire.moment(ends))
    assert listed(api, shown["id"])["valid"]
    for worthless in ("", "nonsense", stored(api, expires_at=clock.now() - 1)):
        assert expect_success(api.request("GET", "/", token=worthless), 200)["token"] is None
