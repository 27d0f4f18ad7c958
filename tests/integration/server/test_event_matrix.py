"""Every token against every call: the calls come from the table, so that a new one cannot be forgotten."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from litestar import Litestar
from sqlalchemy import event, update

from pytest_tms.client import calls
from pytest_tms.client.calls import Call
from pytest_tms.errors import Unauthorized
from pytest_tms.server.app import create_app
from pytest_tms.server.domain import api_tokens, clock
from pytest_tms.server.services import tokens as tokens_service
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import tables, tokens
from pytest_tms.server.store.database import Database
from tests.helpers.api import Api, Serve, expect_error, expect_success, result
from tests.helpers.processes import wait_for
from tests.integration.server.test_tokens import stored, written

FILE = b'{"content": "of a file"}'  # JSON, as every response here
DIGEST = hashlib.sha256(FILE).hexdigest()
HOOK = {
    "url": "https://hooks.invalid/",
    "events": ["execution.completed"],
    "filters": {"environments": ["dev"]},
}
UNTIL = (datetime.now(timezone.utc) + timedelta(days=30)).date().isoformat()
BODIES: dict[str, dict[str, Any]] = {
    "create_execution": {"testSuite": "all", "environment": "dev"},
    "submit_results": {"shardId": "1"},
    "send_event": {"event": "execution.progress"},
    "create_webhook": HOOK,
    "import_cases": {"project": "imported", "cases": []},
    "decide_rename": {"earlierKey": "1", "isSame": False},
    "add_to_quarantine": {"nodeId": "test_quarantine", "reason": "slow", "until": UNTIL, "owner": "ada"},
    "claim_tests": {"runner": "r", "shardId": "1", "number": 1, "tests": []},
    "update_webhook": {"status": "paused"},
    "rotate_webhook_secret": {},
    "replay_deliveries": {},
}
"""A good body for each call that takes one."""
OF_EXECUTIONS = ("submit_results", "send_event")
"""Calls whose body names the execution."""
LISTS = ("list_executions", "list_webhooks")
"""Calls that show a token that is bound to other environments nothing, rather than refuse it."""
OPEN_LISTS = ("list_cases", "export_cases", "list_quarantine")
"""Calls that leave out what belongs to other environments; tests of each call check that."""
OF_ALL_ENVIRONMENTS = ("import_cases", "decide_rename", "add_to_quarantine", "remove_from_quarantine")
"""Calls whose effect is not limited to environments, so that no token that is bound may make them."""
EVERY = [pytest.param(call, id=call.name) for call in calls.ALL if call != calls.EXCHANGE_ID_TOKEN]
"""All calls but the one that takes a token in its body; `test_token_exchange` tests that."""
GUARDED = [pytest.param(call, id=call.name) for call in calls.ALL if call.scope is not None]

Attempt = Callable[[str], requests.Response]


def body_of(call: Call[Any, Any], execution: str) -> object:
    """The body that a call takes, on an execution."""
    if call.takes is bytes:
        return FILE
    if call.takes is type(None):
        return None
    return {**BODIES[call.name], **({"executionId": execution} if call.name in OF_EXECUTIONS else {})}


@pytest.fixture
def attempt(sqlite_api: Api, call: Call[Any, Any]) -> Iterator[Attempt]:
    """Makes the call with a token, each time on an execution and a webhook of its own."""

    def make(token: str) -> requests.Response:
        created = sqlite_api.create()
        execution = created["executionId"]
        path = call.path.replace("{execution_id}", execution).replace("{sha256}", DIGEST)
        if "{webhook_id}" in path:
            made = expect_success(sqlite_api.request("POST", "/webhooks", HOOK), 201)
            path = path.replace("{webhook_id}", made["webhookId"])
        if call == calls.DELETE_EXECUTION:  # one that runs is not deleted
            sqlite_api.send(created, "execution.completed")
        if call in (calls.GET_ARTIFACT, calls.READ_ARTIFACT):
            expect_success(sqlite_api.request("PUT", path.removesuffix("/content"), FILE), 201)
        if call == calls.EXPORT_EXECUTION:
            path += "?format=json"
        if call == calls.GET_TIMINGS:
            path += "?testSuite=all&environment=dev"
        if call == calls.LIST_SETTLED:
            path += "?shardId=1"
        body = body_of(call, execution)
        if call == calls.DECIDE_RENAME:
            sqlite_api.submit(created, tests=[result(f"{name} {execution}") for name in ("old", "new")])
            tests = expect_success(sqlite_api.request("GET", f"/tests?q={execution}"), 200)["tests"]
            path = path.replace("{test_key}", tests[0]["key"])
            body = {"earlierKey": tests[1]["key"], "isSame": False}
        if call in (calls.ADD_TO_QUARANTINE, calls.REMOVE_FROM_QUARANTINE):
            sqlite_api.submit(created, tests=[result("test_quarantine", nodeId="test_quarantine")])
        if call == calls.REMOVE_FROM_QUARANTINE:
            added = sqlite_api.request(
                "POST", "/quarantine", BODIES["add_to_quarantine"], token=stored(sqlite_api, "admin")
            )
            path = path.replace("{entry_id}", expect_success(added, 201)["id"])
        if call == calls.COMPARE_EXECUTIONS:
            path += f"?with={sqlite_api.create()['executionId']}"
        if call in (calls.LIST_REGISTERED_TESTS, calls.GET_TEST_HISTORY):
            sqlite_api.submit(created, tests=[result(f"only {execution}")])
            own = f"/tests?q={execution}"
            (test,) = expect_success(sqlite_api.request("GET", own), 200)["tests"]
            path = own if call == calls.LIST_REGISTERED_TESTS else path.replace("{test_key}", test["key"])
        return sqlite_api.request(call.method, path, body, token=token)

    yield make
    sqlite_api.delete_webhooks()


@pytest.mark.parametrize("call", EVERY)
def test_each_call_opens_to_its_scope_and_to_admin_alone(
    sqlite_api: Api, call: Call[Any, Any], attempt: Attempt
) -> None:
    for scope in api_tokens.SCOPES:
        response = attempt(stored(sqlite_api, scope))
        if call.scope is None or scope in (call.scope, "admin"):
            assert response.status_code == call.status, response.text
        else:
            assert call.scope in expect_error(response, 403)["message"]


@pytest.mark.parametrize("call", GUARDED)
def test_each_call_refuses_whoever_has_no_valid_token(
    sqlite_api: Api, call: Call[Any, Any], attempt: Attempt
) -> None:
    revoked = stored(sqlite_api, "admin")
    with written(sqlite_api) as connection:
        found = tokens.find(connection, api_tokens.hash_token(revoked))
        assert found is not None
        tokens.revoke(connection, found.id, clock.now())
    other = sqlite_api.create()["webhookToken"]
    for worthless in (
        "",
        "nonsense",
        api_tokens.new_text(),
        stored(sqlite_api, "admin", expires_at=clock.now() - 1),
        revoked,
        other,
        api_tokens.new_webhook_token(),
    ):
        response = attempt(worthless)
        expect_error(response, 401)
        assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("call", GUARDED)
def test_each_call_refuses_a_token_of_another_environment(
    sqlite_api: Api, call: Call[Any, Any], attempt: Attempt
) -> None:
    scopes = ("admin",) if call.scope in ("admin", "quarantine:write") else ()
    if call.name in OF_ALL_ENVIRONMENTS:
        bound = attempt(stored(sqlite_api, *scopes, environments=("dev", "staging")))
        assert "is bound to dev, staging" in expect_error(bound, 403)["message"]
        return
    if call.name in OPEN_LISTS:
        assert attempt(stored(sqlite_api, environments=("staging",))).status_code == call.status
        return
    expect_success(attempt(stored(sqlite_api, *scopes, environments=("dev", "staging"))), call.status)
    response = attempt(stored(sqlite_api, *scopes, environments=("staging",)))
    if call.name in LISTS:
        listed = next(iter(expect_success(response, call.status).values()))
        assert all(each["environment"] == "staging" for each in listed)
    elif call == calls.LIST_REGISTERED_TESTS:
        assert expect_success(response, 200)["tests"] == []
    elif call == calls.GET_TEST_HISTORY:
        expect_error(response, 404)
    else:
        assert "is bound to staging" in expect_error(response, 403)["message"]


@pytest.mark.parametrize("call", GUARDED)
def test_an_executions_own_token_opens_its_events_and_its_queue_alone(
    sqlite_api: Api, call: Call[Any, Any]
) -> None:
    execution = sqlite_api.create()
    path = call.path.replace("{execution_id}", execution["executionId"]).replace("{webhook_id}", "wh_x")
    path = path.replace("{test_key}", "1").replace("{entry_id}", "1")
    body = body_of(call, execution["executionId"])
    response = sqlite_api.request(call.method, path, body, token=execution["webhookToken"])
    opened = (calls.SEND_EVENT, calls.CLAIM_TESTS)
    assert response.status_code == (call.status if call in opened else 401)


@pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")  # of Litestar 3
def test_every_route_of_the_api_is_a_call_of_the_table_behind_its_guard(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite3'}")
    app = create_app(ServerSettings(data_dir=tmp_path), database)._app
    assert isinstance(app, Litestar)
    handlers = {
        str(handler): handler
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if route.path.startswith("/api") and handler.http_methods != {"OPTIONS"}
    }
    for handler in handlers.values():
        # The one of app.py, with the authentication, which the other tests here try for each call.
        assert any(guard.__qualname__.startswith("guard_of.") for guard in handler.resolve_guards())
    known = {handler.opt["call"].name for handler in handlers.values() if "call" in handler.opt}
    assert known == {call.name for call in calls.ALL}
    assert len(handlers) == len(known) + 1  # and the OpenAPI document, which is for everybody
    database.close()


@pytest.mark.parametrize(
    "forge",
    [
        lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"),
        lambda text: "tms_" + ("0" if text[4] != "0" else "1") + text[5:],
        lambda text: text[:-1],
        lambda text: text[:4] + text[34:],
        lambda text: text + "0",
        lambda text: text * 2,
        lambda text: text.swapcase(),
        lambda text: text.replace("tms_", "tms-"),
        lambda text: text[4:],
        lambda text: f"wh_token_{text}",
        lambda text: f"Bearer {text}",
        lambda text: f'"{text}"',
        lambda text: f"{text},{text}",
        lambda text: f"{text}\u00e9",
        lambda text: text[:10] + "\u00b2" + text[11:],
        lambda text: "tms_" + "\u00e9" * 36,
        lambda text: "tms_" + "0" * 30_000,
        lambda text: "' OR 1=1 --",
        lambda text: "%",
        api_tokens.hash_token,
        lambda text: f"tms_{api_tokens.hash_token(text)[:36]}",
    ],
)  # fmt: skip
def test_a_forged_token_opens_nothing(api: Api, forge: Callable[[str], str]) -> None:
    text = stored(api, "admin")
    forged = forge(text).encode("latin-1")
    response = api.session.get(
        f"{api.url}/webhooks", headers={"Authorization": b"Bearer " + forged}, timeout=60
    )
    expect_error(response, 401)
    assert text not in response.text
    expect_success(api.request("GET", "/webhooks", token=text), 200)


@pytest.mark.parametrize("scheme", ["", "Basic ", "Token ", "Bearer", "Bearer\u00a0"])
def test_a_token_without_its_scheme_opens_nothing(api: Api, scheme: str) -> None:
    sent = f"{scheme}{api.token}".encode("latin-1")
    expect_error(api.session.get(f"{api.url}/webhooks", headers={"Authorization": sent}, timeout=60), 401)


def test_the_database_is_asked_for_a_hash_and_never_for_a_text(sqlite_api: Api) -> None:
    # So the time that an answer takes depends on the hash, which nobody can choose, and tells nothing of the text.
    text, unknown = stored(sqlite_api), api_tokens.new_text()
    database = Database(f"sqlite:///{sqlite_api.data_dir / 'tms.sqlite3'}")
    asked: list[str] = []
    listen = (database.engine, "before_cursor_execute", lambda *seen: asked.append(repr(seen[2:4])))
    event.listen(*listen)
    tokens_service.find_token(database, text)
    for wrong in (unknown, text[:-1], ""):
        with pytest.raises(Unauthorized):
            tokens_service.find_token(database, wrong)
    event.remove(*listen)
    database.close()
    lookups = [statement for statement in asked if "tokens" in statement]
    assert len(lookups) == 2  # what cannot be a token is not looked for
    for each, sent in zip(lookups, (text, unknown), strict=True):
        assert api_tokens.hash_token(sent) in each
        assert text[4:12] not in each
        assert unknown[4:12] not in each


def test_what_is_compared_in_memory_is_compared_in_constant_time(
    sqlite_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = sqlite_api.create()
    database = Database(f"sqlite:///{sqlite_api.data_dir / 'tms.sqlite3'}")
    seen: list[tuple[Any, Any]] = []

    def spy(one: Any, other: Any) -> bool:
        seen.append((one, other))
        return compare(one, other)

    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", spy)
    name = execution["executionId"]
    tokens_of = [(execution["webhookToken"], name), ("wh_token_wrong", name)]
    valid, refused = tokens_service.check_execution_tokens(database, tokens_of, 0)
    assert valid is None
    assert isinstance(refused, Unauthorized)
    own = api_tokens.hash_token(execution["webhookToken"])
    assert seen == [(own, own), (own, api_tokens.hash_token("wh_token_wrong"))]
    text = api_tokens.new_text()
    assert api_tokens.is_well_formed(text)
    assert seen[2:] == [(text[34:], text[34:])]
    database.close()


def ended(api: Api, execution: dict[str, Any], ago: int, created_ago: int) -> None:
    """Let an execution have ended some milliseconds ago."""
    table = tables.executions
    times = {"ended_at": clock.now() - ago, "created_at": clock.now() - created_ago}
    with written(api) as connection:
        connection.execute(update(table).where(table.c.id == execution["executionId"]).values(**times))


def test_an_executions_own_token_takes_what_is_late_for_a_day(api: Api) -> None:
    hour = 3_600_000
    execution = api.create()
    api.send(execution, "execution.completed")
    late = {
        "event": "execution.progress",
        "executionId": execution["executionId"],
        "data": {"shardId": "1", "tests": [result("late")]},
    }
    ended(api, execution, 23 * hour, 24 * hour)
    expect_success(api.request("POST", execution["webhookUrl"], late, token=execution["webhookToken"]), 202)
    assert [test["title"] for test in api.tests(execution)] == ["late"]
    ended(api, execution, 25 * hour, 26 * hour)
    response = api.request("POST", execution["webhookUrl"], late, token=execution["webhookToken"])
    assert "with an API token" in expect_error(response, 401)["message"]
    expect_error(api.request("POST", execution["webhookUrl"], late, token="wh_token_other"), 401)
    expect_success(api.request("POST", execution["webhookUrl"], late), 202)


def test_a_replay_of_long_ago_may_finish(api: Api) -> None:
    execution = api.create()
    then = {"happenedAt": "2020-01-01T00:00:00Z"}
    for name in ("execution.started", "execution.completed", "execution.completed"):
        body = {"event": name, "executionId": execution["executionId"], **then}
        expect_success(
            api.request("POST", execution["webhookUrl"], body, token=execution["webhookToken"]), 202
        )


def test_the_operator_sets_how_long_an_executions_own_token_outlives_it(
    start: Serve, sqlite_api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_SERVER_TOKEN_GRACE", "0")
    _, url = start(tmp_path, "--data-dir", str(sqlite_api.data_dir))
    execution = sqlite_api.create()
    sqlite_api.send(execution, "execution.completed")
    event = {"event": "execution.completed", "executionId": execution["executionId"]}

    def status() -> int:
        path = f"{url}/webhooks/executions/{execution['executionId']}"
        return sqlite_api.request("POST", path, event, token=execution["webhookToken"]).status_code

    wait_for(lambda: status() == 401)
    api_token = sqlite_api.request("POST", execution["webhookUrl"], event)
    expect_success(api_token, 202)
