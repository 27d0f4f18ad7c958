"""The audit log: who did what, to what, when and from where."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from pytest_tms import wire
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.store import audit
from pytest_tms.server.store.audit import AuditEntry
from tests.helpers.api import Api, expect_error, expect_success, result
from tests.helpers.processes import run_tms, wait_for
from tests.integration.server.test_tokens import stored, token, written

HOOK = {"url": "https://example.com/?key=hunter2", "events": ["execution.completed"]}


def entries(api: Api, **which: Any) -> list[AuditEntry]:
    with written(api) as connection:
        return audit.page(connection, limit=500, **which)[0]


def about(api: Api, target: str) -> list[AuditEntry]:
    """What was done to a thing, the oldest first."""
    return [each for each in reversed(entries(api)) if each.target == target]


def test_what_a_token_does_is_logged_with_the_request_that_did_it(api: Api) -> None:
    text = stored(api)
    own = expect_success(api.request("GET", "/", token=text), 200)["token"]["id"]
    response = api.request("POST", "/executions", {"testSuite": "all", "environment": "dev"}, token=text)
    execution = expect_success(response, 201)["executionId"]
    expect_success(api.request("DELETE", f"/executions/{execution}", token=text), 200)
    expect_success(
        api.request("DELETE", f"/executions/{execution}", token=text), 200
    )  # again changes nothing
    created, cancelled = about(api, execution)
    assert (created.action, cancelled.action) == ("execution.created", "execution.cancelled")
    request = response.headers["X-Request-Id"]
    assert created.actor == Actor(id=own, name="another", request_id=request, address="127.0.0.1")
    assert cancelled.actor.id == own
    assert 0 <= clock.now() - created.at < 600_000


def test_what_happens_to_a_webhook_is_logged_without_its_secrets(api: Api) -> None:
    made = expect_success(
        api.request("POST", "/webhooks", {**HOOK, "secret": "hunter2-and-more-of-it"}), 201
    )["webhookId"]
    path = f"/webhooks/{made}"
    expect_success(
        api.request("PATCH", path, {"status": "paused", "url": HOOK["url"], "unknown": "hunter2"}), 200
    )
    expect_success(api.request("POST", f"{path}/rotate", {"secret": "hunter2-and-more-of-it"}), 200)
    expect_success(api.request("POST", f"{path}/replay", {}), 200)
    expect_success(api.request("GET", path), 200)
    expect_success(api.request("DELETE", path), 200)
    found = about(api, made)
    assert [(each.action, each.details) for each in found] == [
        ("webhook.created", {"host": "example.com"}),
        ("webhook.changed", {"fields": ["url", "status"]}),
        ("webhook.rotated", {}),
        ("webhook.replayed", {"deliveries": 0}),
        ("webhook.deleted", {}),
    ]
    assert "hunter2" not in repr(found)


def test_a_cancel_by_the_executions_own_token_is_logged_as_its_own(api: Api) -> None:
    execution = api.create()
    for _ in range(2):
        api.send(execution, "execution.cancelled")
    _, cancelled = about(api, execution["executionId"])
    assert cancelled.action == "execution.cancelled"
    assert cancelled.actor.id == execution["executionId"]


def test_results_and_events_are_not_logged(api: Api) -> None:
    execution = api.create()
    before = entries(api)[0].number
    api.send(execution, "execution.started")
    api.submit(execution, tests=[result()])
    assert [
        each for each in entries(api) if each.number > before and each.action != audit.AUTHENTICATION_FAILED
    ] == []


def test_what_was_not_done_is_not_logged(api: Api) -> None:
    before = entries(api)[0].number
    expect_error(api.request("DELETE", "/webhooks/wh_nope"), 404)
    expect_error(api.request("POST", "/webhooks/wh_nope/replay", {}), 404)
    expect_error(api.request("POST", "/executions", {"testSuite": "nope", "environment": "dev"}), 422)
    key = "once-and-for-all"
    body = {"testSuite": "all", "environment": "dev"}
    made = [
        expect_success(api.request("POST", "/executions", body, Idempotency_Key=key), 201) for _ in range(2)
    ]
    new = [
        each for each in entries(api) if each.number > before and each.action != audit.AUTHENTICATION_FAILED
    ]
    assert [(each.action, each.target) for each in new] == [("execution.created", made[0]["executionId"])]


@pytest.mark.slow
def test_what_commands_do_to_tokens_is_logged(sqlite_api: Api) -> None:
    made, place = token(sqlite_api), ("--data-dir", str(sqlite_api.data_dir))
    for arguments in (["rotate", made["id"]], ["revoke", made["id"]], ["revoke", made["id"]]):
        assert run_tms("token", *arguments, *place, LOGNAME="zoe").returncode == 0
    found = about(sqlite_api, made["id"])
    assert [each.action for each in found] == ["token.created", "token.rotated", "token.revoked"]
    assert {each.actor.id for each in found} == {"command"}
    assert found[-1].actor.name == "zoe"
    assert found[0].details["scopes"] == made["scopes"]
    assert made["token"] not in repr(found)


def test_failed_authentications_are_logged_and_cannot_flood(sqlite_api: Api) -> None:
    def failures() -> list[AuditEntry]:
        """Return the failures that the server wrote; other tests have written some themselves."""
        found = [each for each in entries(sqlite_api) if each.action == audit.AUTHENTICATION_FAILED]
        return [each for each in found if each.actor.id != "x"]

    expect_error(sqlite_api.request("GET", "/executions/x", token="tms_nonsense"), 401)
    wait_for(failures)
    written_so_far = len(failures())
    for _ in range(50):
        expect_error(sqlite_api.request("GET", "/executions/x", token="tms_nonsense"), 401)
    assert len(failures()) <= written_so_far + 1  # a minute may have passed
    assert failures()[0].actor.id == "anyone"
    assert failures()[0].actor.address == "127.0.0.1"
    assert failures()[0].details["times"] >= 1
    assert "nonsense" not in repr(failures())


def test_the_log_is_read_by_command_the_newest_first(sqlite_api: Api) -> None:
    place = ("--data-dir", str(sqlite_api.data_dir))
    first, second = sqlite_api.create(), sqlite_api.create()
    with written(sqlite_api) as connection:
        audit.add(connection, Actor(id="tok_old"), "token.created", "tok_of_old", clock.now() - 86_400_001)
    rows = json.loads(run_tms("audit", "--json", "--since", "1d", "--limit", "2", *place).stdout)
    assert [row["target"] for row in rows] == [second["executionId"], first["executionId"]]
    assert set(rows[0]) == {"at", "actor", "name", "action", "target", "details", "address", "requestId"}
    assert rows[0]["actor"].startswith("tok_")
    wire.parse_time(rows[0]["at"])
    printed = run_tms("audit", "--limit", "3", *place).stdout.splitlines()
    lines = [re.sub(" {2,}", "  ", line) for line in printed]  # the columns are aligned
    assert "token.created  tok_of_old  by tok_old" in lines[0]
    assert f"execution.created  {second['executionId']}  by tok_" in lines[1]
    assert f"(tests)  127.0.0.1  {rows[0]['requestId']}" in lines[1]


@pytest.mark.parametrize("arguments", [["--since", "soon"], ["--limit", "0"]])
def test_the_command_refuses_what_is_no_time_and_no_number(sqlite_api: Api, arguments: list[str]) -> None:
    completed = run_tms("audit", *arguments, "--data-dir", str(sqlite_api.data_dir))
    assert completed.returncode == 2


def test_pages_of_the_log_meet_without_a_gap(api: Api) -> None:
    for _ in range(3):
        api.create()
    with written(api) as connection:
        whole, _ = audit.page(connection, limit=4)
        first, cursor = audit.page(connection, limit=2)
        rest, _ = audit.page(connection, before=cursor, limit=2)
        assert [each.number for each in [*first, *rest]] == [each.number for each in whole]
        everything, end = audit.page(connection, limit=100_000)
    assert end is None
    assert len(everything) >= 4


def test_the_page_shows_the_log_and_leads_to_what_is_still_there(api: Api) -> None:
    made = expect_success(api.request("POST", "/webhooks", HOOK), 201)["webhookId"]
    expect_success(api.request("DELETE", f"/webhooks/{made}"), 200)
    execution = api.create()["executionId"]
    with written(api) as connection:
        name = "<script>alert(1)</script>"
        for number in range(100):
            audit.add(
                connection,
                Actor(id=f"tok_{number}", name=name),
                "token.rotated",
                "tok_paged",
                clock.now(),
            )
    first = api.page("/audit").text
    assert first.count("tok_paged") == 100
    assert "<script>" not in first
    (older,) = re.findall(r'href="(/audit\?before=\d+)"', first)
    second = api.page(older).text
    assert "tok_paged" not in second
    assert f'<a href="/runs/{execution}">{execution}</a>' in second
    assert "webhook.deleted" in second
    assert "host: example.com" in second
    assert f'href="/webhooks/{made}">' in second.partition("webhook.created")[2]
    assert f'href="/webhooks/{made}">' not in second.partition("webhook.created")[0]


def test_old_failures_go_and_all_else_stays(api: Api) -> None:
    long_ago = clock.now() - audit.FREQUENT_RETENTION - 1
    with written(api) as connection:
        for action, target in ((audit.AUTHENTICATION_FAILED, "gone"), ("token.revoked", "tok_kept")):
            audit.add(connection, Actor(id="x"), action, target, long_ago)
        audit.add(connection, Actor(id="x"), audit.AUTHENTICATION_FAILED, "young", clock.now())
        audit.delete_expired(connection, clock.now())
        kept = {each.target for each in audit.page(connection, limit=100_000)[0]}
    assert {"tok_kept", "young"} <= kept
    assert "gone" not in kept
