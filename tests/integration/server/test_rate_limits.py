"""Rate limits: per token and per execution, told in every answer, shared over Redis and never an outage."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from pytest_tms.client import calls
from tests.helpers.api import Api, expect_error, expect_success, running, upgraded_database
from tests.helpers.processes import TmsServer, run_tms, wait_for

HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Window")
CREATE = {"testSuite": "all", "environment": "dev"}
WEBHOOK = {"url": "https://ci.example.com/hooks", "events": ["execution.completed"]}


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server with the documented limits."""
    with running(tmp_path_factory.mktemp("documented") / "data", TMS_SERVER_RATE_LIMITS="documented") as api:
        yield api


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def strict(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server whose limits are used up at once, on each database in turn."""
    folder = tmp_path_factory.mktemp("strict") / "data"
    rates = {"TMS_SERVER_RATE_LIMITS": "executions=3/hour, results=2/hour,webhooks=1/day,events=2/hour"}
    if request.param == "sqlite":
        with running(folder, **rates) as api:
            yield api
    else:
        with upgraded_database() as url, running(folder, "--database-url", url, **rates) as api:
            yield api


@pytest.fixture
def fresh(strict: Api) -> Api:
    """The strict server with a token that has used up nothing."""
    made = run_tms("token", "create", "--name", "fresh", "--data-dir", str(strict.data_dir), *strict.database)
    token = re.search(r"tms_\w+", made.stdout)
    assert token is not None
    return replace(strict, token=token[0])


def limit_headers(response: requests.Response) -> tuple[int, int, int, int]:
    """What the four headers say."""
    limit, remaining, reset, window = (int(response.headers[name]) for name in HEADERS)
    return limit, remaining, reset, window


def left(response: requests.Response) -> int:
    return limit_headers(response)[1]


def create(api: Api, **headers: str) -> requests.Response:
    return api.request("POST", "/executions", CREATE, **headers)


def event(api: Api, execution: dict[str, Any], token: str | None = None) -> requests.Response:
    body = {"event": "execution.progress", "executionId": execution["executionId"]}
    return api.request("POST", execution["webhookUrl"], body, token=token or execution["webhookToken"])


def test_every_endpoint_tells_its_documented_limit(documented: Api) -> None:
    execution = create(documented)
    result = documented.request("POST", "/results", {**execution.json(), "shardId": "1"})
    webhook = documented.request("POST", "/webhooks", WEBHOOK)
    own = event(documented, execution.json())
    responses = {"/executions": execution, "/results": result, "/webhooks": webhook, "events": own}
    assert {name: (limit_headers(each)[0], limit_headers(each)[3]) for name, each in responses.items()} == {
        "/executions": (100, 3600),
        "/results": (1000, 3600),
        "/webhooks": (50, 3600),
        "events": (600, 60),
    }
    assert [left(each) for each in responses.values()][1:] == [999, 49, 599]
    for each in responses.values():
        assert 0 < limit_headers(each)[2] - time.time() <= limit_headers(each)[3] + 1


def test_an_error_tells_what_is_left_and_counts(documented: Api) -> None:
    before = left(create(documented))
    for body, status in ((b"{", 400), ({}, 422)):
        response = documented.request("POST", "/executions", body)
        expect_error(response, status)
        assert left(response) == before - 1
        before -= 1
    response = documented.request("DELETE", "/executions/exec_nope")
    expect_error(response, 404)
    assert left(response) == before - 1


def test_reading_tells_what_is_left_and_costs_nothing(documented: Api) -> None:
    execution = create(documented)
    for path in ("", "/tests"):
        for _ in range(2):
            response = documented.request("GET", f"/executions/{execution.json()['executionId']}{path}")
            assert limit_headers(response) == limit_headers(execution)


def test_who_is_not_let_in_is_not_counted(documented: Api) -> None:
    before = left(create(documented))
    response = documented.request("POST", "/executions", CREATE, token="unknown")
    expect_error(response, 401)
    assert not set(HEADERS) & set(response.headers)
    assert left(create(documented)) == before - 1


def test_one_too_many_is_429_and_says_how_long_to_wait(fresh: Api) -> None:
    assert [left(create(fresh)) for _ in range(3)] == [2, 1, 0]
    response = create(fresh)
    error = expect_error(response, 429)
    limit, remaining, reset, window = limit_headers(response)
    assert (limit, remaining, window) == (3, 0, 3600)
    wait = int(response.headers["Retry-After"])
    assert abs(time.time() + wait - reset) < 5
    assert error["code"] == "RATE_LIMITED"
    assert error["message"] == f"The limit of 3 requests in 3600 s is used up: try again in {wait} s."
    expect_success(fresh.request("GET", "/"), 200)
    assert fresh.request("GET", "/executions/x").status_code == 404
    expect_error(fresh.request("POST", "/results", {"executionId": "x", "shardId": "1"}), 404)


def test_tokens_and_executions_do_not_share_what_they_have(fresh: Api, strict: Api) -> None:
    one, other = (expect_success(create(fresh), 201) for _ in range(2))
    assert [event(fresh, one).status_code for _ in range(3)] == [202, 202, 429]
    expect_error(event(fresh, one, fresh.token), 429)  # it is the execution that is limited, not who speaks
    expect_success(event(fresh, other), 202)
    assert left(create(fresh)) == 0
    expect_error(create(fresh), 429)
    body = {"executionId": one["executionId"], "shardId": "1"}
    assert [fresh.request("POST", "/results", body).status_code for _ in range(3)] == [201, 201, 429]
    response = strict.request("POST", "/results", body)
    assert response.status_code != 429 or left(response) == 0


def test_a_replay_is_answered_and_not_charged_also_where_nothing_is_left(fresh: Api) -> None:
    first = create(fresh, Idempotency_Key="again")
    again = create(fresh, Idempotency_Key="again")
    assert (left(first), left(again)) == (2, 2)
    assert again.json() == first.json()
    assert [create(fresh).status_code for _ in range(3)] == [201, 201, 429]
    assert create(fresh, Idempotency_Key="again").json() == first.json()
    expect_error(create(fresh, Idempotency_Key="new"), 429)
    expect_error(create(fresh, Idempotency_Key="new"), 429)  # a refused request leaves its key unknown


def test_of_many_at_once_with_one_key_one_is_charged(fresh: Api) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: create(fresh, Idempotency_Key="many"), range(3)))
    assert len({expect_success(response, 201)["executionId"] for response in responses}) == 1
    assert left(create(fresh)) == 1


def test_a_server_without_limits_tells_none(tms: TmsServer) -> None:
    headers = {"Authorization": f"Bearer {tms.token}"}
    response = requests.post(f"{tms.url}/executions", json=CREATE, headers=headers, timeout=30)
    assert response.status_code == 201
    assert not set(HEADERS) & set(response.headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TMS_SERVER_RATE_LIMITS", "executions=many"),
        ("TMS_SERVER_RATE_LIMITS", "executions=0/hour"),
        ("TMS_SERVER_RATE_LIMITS", "executions=5/week"),
        ("TMS_SERVER_RATE_LIMITS", "pages=5/hour"),
        ("TMS_SERVER_RATE_LIMITS", "100"),
        ("TMS_SERVER_REDIS_URL", "http://:s3cret@localhost"),
        ("TMS_SERVER_REDIS_URL", "redis://:s3cret@localhost:port"),
    ],
)
def test_a_setting_that_cannot_be_read_is_one_sentence_that_says_what_to_write(
    tmp_path: Path, name: str, value: str
) -> None:
    completed = run_tms("serve", "--port", "0", "--data-dir", str(tmp_path), **{name: value})
    assert completed.returncode == 1
    (line,) = completed.stderr.splitlines()
    assert line.startswith(f"tms: {name} ")
    assert "use " in line or "write " in line
    assert "s3cret" not in line


def test_the_openapi_document_states_the_headers_of_every_limited_answer(documented: Api) -> None:
    paths = documented.request("GET", "/openapi.json").json()["paths"]
    limited = [call for call in calls.ALL if call.limit]
    assert {call.limit for call in limited} == {"executions", "results", "webhooks", "events"}
    for call in limited:
        responses = paths[call.path][call.method.lower()]["responses"]
        assert ("429" in responses) == (call.method != "GET")
        for status, response in responses.items():
            assert (set(HEADERS) <= set(response["headers"])) == (status not in ("401", "403"))
            assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))


@pytest.mark.slow
def test_a_run_that_meets_its_limits_loses_nothing(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.parametrize('n', range(30))\ndef test_it(n): pass\n")
    with running(tmp_path / "data", TMS_SERVER_RATE_LIMITS="events=1/second,results=1/second") as api:
        monkeypatch.setenv("TMS_API_TOKEN", api.token)
        result = pytester.runpytest_subprocess(
            "--tms-url", api.url, "-n", "3", "-o", "tms_progress_interval=1", "-o", "tms_deadline=60"
        )
        result.stdout.fnmatch_lines(["tms: 30 results reported: *"])
        found = re.search(r"reports/(exec_\w+)", result.stdout.str())
        assert found is not None
        execution = {"executionId": found[1]}
        assert api.status(execution)["status"] == "completed"
        assert len(api.tests(execution)) == 30


@pytest.mark.slow
def test_a_run_waits_for_no_limit_that_outlasts_its_deadline_and_keeps_everything(
    pytester: pytest.Pytester, fresh: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        create(fresh)
    monkeypatch.setenv("TMS_API_TOKEN", fresh.token)
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest_subprocess("--tms-url", fresh.url, "-o", "tms_deadline=1000", timeout=100)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "not reported: 1 result",
            "problem: The limit of 3 requests in 3600 s is used up: try again in *",
            "1 result kept; send with: tms replay *",
        ]
    )


def test_a_runner_of_many_shards_is_asked_to_report_less_often(documented: Api) -> None:
    def interval(shards: int) -> int:
        execution = documented.create(configuration={"shards": shards})
        response: int = documented.send(execution, "execution.progress")["progressInterval"]
        return response

    assert [interval(shards) for shards in (1, 5, 20)] == [1000, 1000, 4000]


@dataclass(frozen=True)
class Redis:
    """A Redis that ``start`` starts, again on the same port."""

    url: str
    start: Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of this test's own."""
    program = shutil.which("redis-server") or pytest.skip("there is no redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started: list[subprocess.Popen[bytes]] = []

    def begin() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [program, "--port", str(port), "--save", "", "--dir", str(tmp_path)], stdout=subprocess.DEVNULL
        )
        started.append(process)
        wait_for(lambda: _takes_connections(port))
        return process

    yield Redis(f"redis://127.0.0.1:{port}/0", begin)
    for process in started:
        process.kill()
        process.wait()


def _takes_connections(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_processes_count_together_in_redis_and_alone_while_it_is_away(redis: Redis, tmp_path: Path) -> None:
    process = redis.start()
    shared = ("--database-url", f"sqlite:///{tmp_path / 'shared.sqlite3'}")
    settings = {"TMS_SERVER_REDIS_URL": redis.url, "TMS_SERVER_RATE_LIMITS": "executions=1000/hour"}
    with (
        running(tmp_path / "one", *shared, **settings) as one,
        running(tmp_path / "other", *shared, **settings) as theirs,
    ):
        other = replace(theirs, token=one.token)
        assert [left(create(api)) for api in (one, other, one)] == [999, 998, 997]

        process.send_signal(signal.SIGSTOP)  # it takes connections, and never answers
        assert [left(create(api)) for api in (one, other, one)] == [999, 999, 998]
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: all("Redis is back" in api.output() for api in (one, other)))
        assert left(create(one)) == left(create(other)) + 1

        process.kill()
        process.wait()
        assert [left(create(api)) for api in (one, other)] == [997, 998]
        redis.start()
        wait_for(lambda: all(api.output().count("Redis is back") == 2 for api in (one, other)))
        assert [left(create(api)) for api in (one, other)] == [999, 998]
        for api in (one, other):
            said = re.findall(r" WARNING (Redis is \w+)", api.output())
            assert said == ["Redis is unavailable", "Redis is back"] * 2


@pytest.mark.slow
def test_a_redis_that_is_not_there_at_the_start_is_one_line_and_no_outage(
    redis: Redis, tmp_path: Path
) -> None:
    settings = {"TMS_SERVER_REDIS_URL": redis.url, "TMS_SERVER_RATE_LIMITS": "documented"}
    with running(tmp_path / "data", **settings) as api:
        assert [left(create(api)) for _ in range(3)] == [99, 98, 97]
        assert api.output().count("Redis is unavailable") == 1
        redis.start()
        wait_for(lambda: "Redis is back" in api.output())
        assert left(create(api)) == 99


@pytest.mark.slow
def test_worker_processes_count_together_in_redis(redis: Redis, tmp_path: Path) -> None:
    redis.start()
    settings = {"TMS_SERVER_REDIS_URL": redis.url, "TMS_SERVER_RATE_LIMITS": "documented"}
    with running(tmp_path / "data", **settings, TMS_SERVER_WORKERS="2") as api:

        def one(_: int) -> int:
            with requests.Session() as session:  # a connection of its own, which either worker may take
                return left(create(replace(api, session=session)))

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(one, range(20))) == list(range(80, 100))
