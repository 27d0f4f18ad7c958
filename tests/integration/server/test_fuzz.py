"""Any JSON, and any bytes, at every call that takes a body: never a 500, never a word on the terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.api import Api, expect_error

texts = st.text(st.characters(exclude_categories=()), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def mixed(known: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the documented fields, each right or anything, some missing, some more."""
    some = st.fixed_dictionaries({}, optional={name: right | values for name, right in known.items()})
    return st.builds(lambda a, b: {**b, **a}, some, st.dictionaries(texts, values, max_size=2))


numbers = st.integers(-5, 2**60) | st.floats()
given_counts = mixed(dict.fromkeys(("total", "passed", "failed", "skipped", "flaky"), st.integers(0, 3)))
tests = mixed(
    {
        "title": texts,
        "status": st.sampled_from(["passed", "failed", "skipped"]),
        "file": texts,
        "duration": numbers,
        "error": texts,
        "retries": numbers,
        "tags": st.lists(texts, max_size=3),
        "nodeId": texts,
        "attempts": st.lists(mixed({"outcome": texts, "duration": numbers}), max_size=2),
        "subtests": st.lists(mixed({"title": texts, "status": texts}), max_size=2),
        "properties": st.dictionaries(texts, values, max_size=2),
    }
)
shard = st.sampled_from(["1", "2", "gpu"]) | texts
metadata = mixed({"duration": numbers, "startTime": texts, "endTime": st.just("2026-01-01T00:00:00Z")})
executions = mixed(
    {
        "testSuite": st.just("all"),
        "environment": st.just("dev"),
        "provider": texts,
        "configuration": mixed(
            {"shards": numbers, "timeout": numbers, "browsers": st.lists(texts, max_size=2)}
        ),
        "metadata": metadata,
    }
)
submissions = mixed(
    {
        "shardId": shard,
        "status": st.sampled_from(["completed", "failed", "error", "cancelled"]),
        "results": given_counts,
        "tests": st.lists(tests, max_size=4),
        "artifacts": mixed({"logs": st.lists(texts, max_size=2)}),
        "metadata": metadata,
    }
)
events = mixed(
    {
        "event": st.sampled_from(
            ["execution.progress", "shard.completed", "execution.started", "execution.failed"]
        ),
        "timestamp": st.just("2026-01-01T00:00:00Z"),
        "data": mixed(
            {
                "shardId": shard,
                "status": texts,
                "results": given_counts,
                "duration": numbers,
                "tests": st.lists(tests, max_size=3),
                "running": st.lists(texts, max_size=2),
                "metadata": metadata,
            }
        ),
    }
)
fuzz = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def check(api: Api, method: str, path: str, body: bytes) -> None:
    response = api.request(method, path, body)
    if response.status_code not in (200, 201, 202):
        assert response.status_code in (400, 404, 422), response.text
        error = expect_error(response, response.status_code)
        if response.status_code == 422:
            assert error["details"]


def check_reading(api: Api, execution_id: str) -> None:
    """Whatever was taken can be given back, and shown."""
    for path in (f"/executions/{execution_id}", f"/executions/{execution_id}/tests"):
        response = api.request("GET", path)
        assert response.status_code == 200, response.text
        response.json()
    for page in ("reports", "logs", "artifacts"):
        assert api.page(f"/{page}/{execution_id}").status_code == 200


@fuzz
@given(executions)
def test_any_new_execution_is_taken_or_refused(api: Api, body: dict[str, Any]) -> None:
    encoded = json.dumps(body).encode()
    response = api.request("POST", "/executions", encoded)
    if response.status_code == 201:
        check_reading(api, response.json()["executionId"])
    else:
        expect_error(response, response.status_code)
        assert response.status_code in (400, 422)


@pytest.mark.slow
@fuzz
@given(st.lists(submissions, min_size=1, max_size=3), st.lists(events, max_size=2))
def test_any_results_and_events_are_taken_or_refused_and_can_be_read(
    api: Api, bodies: list[dict[str, Any]], sent: list[dict[str, Any]]
) -> None:
    execution_id = api.create()["executionId"]
    for body in bodies:
        check(api, "POST", "/results", json.dumps({**body, "executionId": execution_id}).encode())
    for body in sent:
        encoded = json.dumps({**body, "executionId": execution_id}).encode()
        check(api, "POST", f"/webhooks/executions/{execution_id}", encoded)
    check_reading(api, execution_id)


@pytest.mark.slow
@fuzz
@given(st.data())
def test_a_message_with_bytes_changed_is_taken_or_refused_and_can_be_read(
    api: Api, data: st.DataObject
) -> None:
    execution_id = api.create()["executionId"]
    message = {
        "executionId": execution_id,
        "shardId": "1",
        "tests": [{"title": "t", "status": "failed", "duration": 12, "mine": {"a": [1.5, "é\\u00e9", None]}}],
        "artifacts": {"logs": ["a.log"], "mine": ["b", 1]},
        "mine": [True, {"x": "y"}],
    }
    body = bytearray(json.dumps(message).encode())
    start = body.index(b"shardId")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(start, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    check(api, "POST", "/results", bytes(body))
    check_reading(api, execution_id)


@pytest.mark.parametrize("path", ["/executions", "/results"])
@fuzz
@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_refused(api: Api, path: str, body: bytes) -> None:
    response = api.request("POST", path, body)
    assert response.status_code in (400, 422), response.text
    expect_error(response, response.status_code)
