"""Run keys: jobs that find their common execution by a key, and when such an execution ends."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select, update

from pytest_tms.client import TmsClient
from pytest_tms.server.domain import clock
from pytest_tms.server.services.deadlines import enforce_deadline, find_due
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import tables
from pytest_tms.wire import Configuration, ExecutionRequest
from tests.helpers.api import (
    KEY,
    Api,
    Serve,
    expect_error,
    expect_success,
    invalid_fields,
    result,
    upgraded_database,
)
from tests.helpers.processes import run_tms
from tests.integration.server.test_attempts import finish
from tests.integration.server.test_attempts import start as begin
from tests.integration.server.test_executions import counts
from tests.integration.server.test_tokens import opened, stored, written

Document = dict[str, Any]
SETTINGS = ServerSettings()


def new_key() -> str:
    return f"https://ci.example.com/shop/{secrets.token_hex(8)}"


def ask(api: Api, key: str, shards: int | None = None, **more: Any) -> requests.Response:
    """Request the execution of a key; ``shards`` is the number that this job declares."""
    configuration = {} if shards is None else {"configuration": {"shards": shards}}
    body = {"testSuite": "all", "environment": "dev", "runKey": key, **configuration, **more}
    return api.request("POST", "/executions", body)


def join(api: Api, key: str, shards: int | None = None, status: int = 200, **more: Any) -> Document:
    return expect_success(ask(api, key, shards, **more), status)


def pass_time(api: Api, execution: Document, milliseconds: int = 60_000) -> None:
    """Let an execution have begun its wait for more shards earlier."""
    table = tables.executions
    with written(api) as connection:
        query = update(table).where(table.c.id == execution["executionId"])
        connection.execute(query.values(idle_since=table.c.idle_since - milliseconds))


def column(api: Api, execution: Document, name: str) -> int | None:
    """A number that is stored of an execution."""
    table = tables.executions.c
    with written(api) as connection:
        query = select(table[name]).where(table.id == execution["executionId"])
        found: int | None = connection.scalar(query)
        return found


def idle_since(api: Api, execution: Document) -> int | None:
    return column(api, execution, "idle_since")


def events(api: Api, execution: Document) -> int:
    """How many events of an execution were written into the outbox, whether anyone subscribed or not."""
    return column(api, execution, "sequence") or 0


def end_of_wait(api: Api, execution: Document) -> str:
    """Return the state of an execution when the wait for more shards has passed."""
    now = clock.now()
    with opened(api) as database:
        for later in (59_000, 61_000):
            due = find_due(database, SETTINGS, 0, now + later).execution_ids
            assert (execution["executionId"] in due) == (later > 60_000)
            enforce_deadline(database, SETTINGS, execution["executionId"], now + later)
    state: str = api.status(execution)["status"]
    return state


def test_it_is_announced(api: Api) -> None:
    assert "run-key" in api.create()["capabilities"]


def test_the_first_creates_and_the_others_join(api: Api) -> None:
    key = new_key()
    first = join(api, key, 2, 201, metadata={"branch": "main"})
    second = join(api, key, 2, metadata={"branch": "other"})
    assert second == {**first, "joined": True}
    assert first["joined"] is False
    assert second["webhookToken"].startswith("wh_token_")
    api.send(second, "execution.started")
    assert join(api, key, 2)["status"] == "running"
    status = api.status(first)
    assert status["runKey"] == key
    assert status["metadata"] == {"branch": "main"}
    assert status["declaredShards"] == [2]


def test_the_token_is_not_stored(api: Api) -> None:
    created = join(api, new_key(), status=201)
    with written(api) as connection:
        query = select(tables.executions).where(tables.executions.c.id == created["executionId"])
        assert created["webhookToken"] not in str(connection.execute(query).one())


@pytest.mark.parametrize("other", [{"testSuite": "smoke"}, {"environment": "staging"}, {"runKey": "x"}])
def test_key_suite_and_environment_identify_it(api: Api, other: Document) -> None:
    key = new_key()
    first = join(api, key, status=201)
    body = {"testSuite": "all", "environment": "dev", "runKey": key}
    changed = {**body, **other} if "runKey" not in other else {**body, "runKey": new_key()}
    second = expect_success(api.request("POST", "/executions", changed), 201)
    assert second["executionId"] != first["executionId"]
    assert second["webhookToken"] != first["webhookToken"]


def test_executions_without_a_key_stay_apart(api: Api) -> None:
    assert api.create(runKey=None)["executionId"] != api.create()["executionId"]


@pytest.mark.parametrize("key", ["", "x" * 201, 7, ["x"]])
def test_a_key_has_1_to_200_characters(api: Api, key: Any) -> None:
    assert invalid_fields(ask(api, key)) == {"runKey"}
    assert ask(api, new_key().ljust(200, "x")).status_code == 201


def test_a_token_of_other_environments_does_not_join(api: Api) -> None:
    key = new_key()
    join(api, key, status=201)
    token = stored(api, environments=("staging",))
    body = {"testSuite": "all", "environment": "dev", "runKey": key}
    expect_error(api.request("POST", "/executions", body, token=token), 403)


def test_other_api_tokens_get_the_same_webhook_token(api: Api) -> None:
    key = new_key()
    first = join(api, key, status=201)
    body = {"testSuite": "all", "environment": "dev", "runKey": key}
    other = expect_success(api.request("POST", "/executions", body, token=stored(api)), 200)
    assert other["webhookToken"] == first["webhookToken"]


def test_a_repeated_request_gets_its_first_response(api: Api) -> None:
    key = new_key()
    body = {"testSuite": "all", "environment": "dev", "runKey": key}
    first, again = (api.request("POST", "/executions", body, Idempotency_Key=f"1{key}") for _ in range(2))
    assert expect_success(again, 201) == expect_success(first, 201)
    joined, repeated = (api.request("POST", "/executions", body, Idempotency_Key=f"2{key}") for _ in range(2))
    assert expect_success(repeated, 200) == expect_success(joined, 200)


def test_the_sdk_joins(api: Api) -> None:
    request = ExecutionRequest(
        test_suite="all", environment="dev", run_key=new_key(), configuration=Configuration(shards=1)
    )
    with TmsClient(api.url, api.token) as client:
        first, second = (client.create_execution(request) for _ in range(2))
        assert (first.joined, second.joined) == (False, True)
        assert second.webhook_token == first.webhook_token
        status = client.get_execution(first.execution_id)
    assert (status.run_key, status.declared_shards) == (request.run_key, [1])


def test_50_jobs_in_the_same_second_get_one_execution(api: Api) -> None:
    key = new_key()

    def job(number: int) -> tuple[int, str, str]:
        response = requests.post(
            f"{api.url}/executions",
            json={"testSuite": "all", "environment": "dev", "runKey": key, "configuration": {"shards": 50}},
            headers={"Authorization": f"Bearer {api.token}", "Idempotency-Key": f"{key} {number}"},
            timeout=60,
        )
        return response.status_code, response.json()["executionId"], response.json()["webhookToken"]

    with ThreadPoolExecutor(50) as jobs:
        found = list(jobs.map(job, range(50)))
    assert sorted(status for status, _, _ in found) == [*[200] * 49, 201]
    assert len({(execution, token) for _, execution, token in found}) == 1


def test_50_jobs_of_two_replicas_get_one_execution(tmp_path: Path, start: Serve) -> None:
    with upgraded_database() as database:
        options = ("--database-url", database)
        urls = [start(tmp_path / name, *options, TMS_SERVER_KEYS=KEY)[1] for name in ("one", "two")]
        made = run_tms(
            "token", "create", "--name", "ci", "--json", "--data-dir", str(tmp_path / "one"), *options,
            TMS_SERVER_KEYS=KEY,
        )  # fmt: skip
        token = json.loads(made.stdout)["token"]
        key = new_key()

        def job(number: int) -> tuple[bool, str, str]:
            request = ExecutionRequest(test_suite="all", environment="dev", run_key=key)
            with TmsClient(urls[number % 2], token) as client:
                created = client.create_execution(request)
            return created.joined, created.execution_id, created.webhook_token

        with ThreadPoolExecutor(50) as jobs:
            found = list(jobs.map(job, range(50)))
    assert sum(joined for joined, _, _ in found) == 49
    assert len({(execution, token) for _, execution, token in found}) == 1


def test_a_join_is_not_counted_by_the_rate_limit(tmp_path: Path, start: Serve) -> None:
    data_dir = tmp_path / "data"
    _, url = start(data_dir, TMS_SERVER_RATE_LIMITS="executions=3/hour")
    made = run_tms("token", "create", "--name", "ci", "--json", "--data-dir", str(data_dir))
    api = Api(url, json.loads(made.stdout)["token"], data_dir)
    key = new_key()
    join(api, key, status=201)
    for _ in range(5):
        joined = ask(api, key)
        assert joined.headers["X-RateLimit-Remaining"] == "2"


def test_the_token_survives_a_rotation_of_the_servers_key(tmp_path: Path, start: Serve) -> None:
    data_dir = tmp_path / "data"
    _, url = start(data_dir)
    made = run_tms("token", "create", "--name", "ci", "--json", "--data-dir", str(data_dir))
    api = Api(url, json.loads(made.stdout)["token"], data_dir)
    key = new_key()
    first = join(api, key, status=201)
    assert run_tms("key", "rotate", "--data-dir", str(data_dir)).returncode == 0
    assert join(api, key)["webhookToken"] == first["webhookToken"]
    assert run_tms("key", "rotate", "--data-dir", str(data_dir)).returncode == 0
    later = join(api, key)  # no key of the server derives the token any more
    assert later["webhookToken"] != first["webhookToken"]
    assert join(api, key)["webhookToken"] == later["webhookToken"]
    api.send(later, "shard.started", shardId="1")


# The end ------------------------------------------------------------------------------------------


def test_with_a_declared_number_it_completes_when_all_shards_have(api: Api) -> None:
    key = new_key()
    execution = join(api, key, 2, 201)
    api.submit(execution, "1", tests=[result()])
    assert api.status(execution)["status"] == "running"
    assert idle_since(api, execution) is None
    api.submit(join(api, key, 2), "2", tests=[result("u")])
    assert api.status(execution)["status"] == "completed"


def test_of_different_declared_numbers_the_larger_counts(api: Api) -> None:
    key = new_key()
    execution = join(api, key, 2, 201)
    assert join(api, key, 3)["configuration"]["shards"] == 3
    assert join(api, key, 2)["configuration"]["shards"] == 3
    for shard in ("1", "2"):
        api.submit(execution, shard, tests=[result(shard)])
    status = api.status(execution)
    assert (status["status"], status["declaredShards"]) == ("running", [2, 3])
    assert status["progress"]["totalShards"] == 3
    api.submit(execution, "3", tests=[result("3")])
    assert api.status(execution)["status"] == "completed"


def test_without_a_number_it_completes_after_a_wait(api: Api) -> None:
    execution = join(api, new_key(), status=201)
    begin(api, execution, "a", "py311")
    assert idle_since(api, execution) is None
    finish(api, execution, "a", result(), shard="py311")
    assert api.status(execution)["status"] == "running"
    ended = api.shard(execution, "py311")
    assert end_of_wait(api, execution) == "completed"
    progress = api.status(execution)["progress"]
    assert progress["duration"] <= 5000  # it ended with its last shard, not after the wait
    assert ended["status"] == "completed"


def test_a_shard_that_begins_ends_the_wait(api: Api) -> None:
    execution = join(api, new_key(), status=201)
    begin(api, execution, "a", "py311")
    finish(api, execution, "a", result(), shard="py311")
    begin(api, execution, "b", "py312")
    assert idle_since(api, execution) is None
    finish(api, execution, "b", result(status="failed"), shard="py312")
    assert end_of_wait(api, execution) == "completed"
    assert api.status(execution)["results"] == counts(passed=1, failed=1)


def test_a_job_that_joins_begins_the_wait_anew(api: Api) -> None:
    key = new_key()
    execution = join(api, key, status=201)
    api.submit(execution, "py311", tests=[result()])
    pass_time(api, execution, 30_000)
    join(api, key)
    assert (idle_since(api, execution) or 0) > clock.now() - 20_000


def test_an_event_completes_it_at_once(api: Api) -> None:
    execution = join(api, new_key(), status=201)
    api.submit(execution, "py311", tests=[result()])
    api.send(execution, "execution.completed")
    assert api.status(execution)["status"] == "completed"
    assert idle_since(api, execution) is None


def test_an_error_of_a_shard_fails_it_after_the_wait(api: Api) -> None:
    execution = join(api, new_key(), status=201)
    api.submit(execution, "py311", status="error", tests=[result()])
    assert end_of_wait(api, execution) == "failed"


@pytest.mark.parametrize("shards", [None, 1])
def test_a_shard_that_begins_after_the_end_reopens_it(api: Api, shards: int | None) -> None:
    key = new_key()
    execution = join(api, key, shards, 201)
    api.submit(execution, "1", tests=[result()])
    api.send(execution, "execution.completed")
    later = join(api, key, shards)
    assert later["status"] == "completed"
    before = events(api, execution)
    begin(api, later, "b", "2")
    assert api.status(execution)["status"] == "running"
    finish(api, later, "b", result("u"), shard="2")
    if shards is None:
        assert end_of_wait(api, execution) == "completed"
    assert api.status(execution)["status"] == "completed"
    assert api.status(execution)["results"] == counts(passed=2)
    assert events(api, execution) == before + 3  # two of the shard, and the end of the execution again


def test_a_client_without_runner_reopens_it_with_a_new_shard(api: Api) -> None:
    key = new_key()
    execution = join(api, key, 1, 201)
    api.submit(execution, "1", tests=[result()])
    api.send(join(api, key, 2), "shard.started", shardId="2")
    assert api.status(execution)["status"] == "running"
    api.submit(execution, "2", tests=[result("u")])
    assert api.status(execution)["status"] == "completed"


def test_tests_of_the_last_event_do_not_reopen_it(api: Api) -> None:
    execution = join(api, new_key(), status=201)
    api.submit(execution, "1", tests=[result()])
    api.send(execution, "execution.completed", shardId="2", tests=[result("u")])
    assert api.status(execution)["status"] == "completed"


def test_what_a_person_cancelled_only_a_newer_ci_attempt_reopens(api: Api) -> None:
    key = new_key()
    execution = join(api, key, 2, 201)
    begin(api, execution, "a", "1", attempt=1)
    expect_success(api.request("DELETE", f"/executions/{execution['executionId']}"), 200)
    begin(api, join(api, key, 2), "b", "2", attempt=1)
    assert api.status(execution)["status"] == "cancelled"
    begin(api, join(api, key, 2), "c", "2", attempt=2)
    assert api.status(execution)["status"] == "running"


def test_the_token_is_valid_again_for_a_job_that_joins_late(api: Api) -> None:
    key = new_key()
    execution = join(api, key, 1, 201)
    api.submit(execution, "1", tests=[result()])
    table = tables.executions
    with written(api) as connection:
        query = update(table).where(table.c.id == execution["executionId"])
        connection.execute(query.values(created_at=1000, ended_at=2000))
    body = {"event": "shard.started", "executionId": execution["executionId"], "data": {"shardId": "2"}}
    late = api.request("POST", execution["webhookUrl"], body, token=execution["webhookToken"])
    expect_error(late, 401)
    api.send(join(api, key, 1), "shard.started", shardId="2")
