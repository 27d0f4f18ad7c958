"""Whatever is sent, the answer has the documented shape, and the server has nothing to complain about."""

from __future__ import annotations

import json
import secrets
import socket
from http.client import HTTPResponse
from typing import Any
from urllib.parse import unquote

import pytest
import requests

from pytest_tms.client import calls
from tests.helpers.api import Api, expect_error, expect_success, result
from tests.integration.server.test_tokens import stored

TAKING_A_BODY = [call for call in calls.ALL if call.takes not in (type(None), bytes)]
NOT_JSON = {
    "nothing": b"",
    "a word": b"hello",
    "cut off": b'{"testSuite": "all"',
    "NaN": b'{"testSuite": "all", "x": NaN}',
    "Infinity": b'{"testSuite": "all", "x": -Infinity}',
    "a comma too many": b'{"testSuite": "all",}',
    "single quotes": b"{'testSuite': 'all'}",
    "two values": b"{} {}",
    "a byte order mark alone": b"\xef\xbb\xbf",
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "UTF-16": '{"testSuite": "all"}'.encode("utf-16"),
    "invalid UTF-8": b'{"x": "\xff\xfe"}',
    "a raw NUL": b'{"x": "\x00"}',
    "a lone high surrogate": b'{"x": "\\ud800"}',
    "a lone low surrogate": b'{"x": "\\udc00"}',
    "an encoded surrogate": b'{"x": "\xed\xa0\x80"}',
    "an enormous whole number": b'{"x": ' + b"9" * 5000 + b"}",
    "a float out of range": b'{"x": 1e999}',
}
TOO_DEEP = {
    "a level too many": b'{"x": ' + b"[" * 100 + b"]" * 100 + b"}",
    "lists nested 100,000 deep": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects nested 100,000 deep": b'{"x": ' * 100_000 + b"1" + b"}" * 100_000,
}


def path_of(call: calls.Call[Any, Any], api: Api) -> str:
    return call.path.format(execution_id=api.create()["executionId"], webhook_id="any", test_key="1")


@pytest.fixture
def admin(api: Api) -> str:
    """A token that may do everything."""
    return stored(api, "admin")


@pytest.mark.parametrize("port", ["x", "123456", "1" * 9000, "80/path", "8 0"])
def test_a_host_that_is_none_is_a_bad_request(api: Api, port: str) -> None:
    body = {"testSuite": "all", "environment": "dev"}
    error = expect_error(api.request("POST", "/executions", body, Host=f"127.0.0.1:{port}"), 400)
    assert "host header" in error["message"].lower()


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
@pytest.mark.parametrize("call", TAKING_A_BODY, ids=lambda call: call.name)
def test_a_body_that_is_no_json_is_a_bad_request(
    api: Api, admin: str, call: calls.Call[Any, Any], body: bytes
) -> None:
    error = expect_error(api.request(call.method, path_of(call, api), body, token=admin), 400)
    assert error["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("body", TOO_DEEP.values(), ids=TOO_DEEP.keys())
@pytest.mark.parametrize("call", TAKING_A_BODY, ids=lambda call: call.name)
def test_a_body_that_is_too_deep_is_unprocessable(
    api: Api, admin: str, call: calls.Call[Any, Any], body: bytes
) -> None:
    response = api.request(call.method, path_of(call, api), body, token=admin)
    (problem,) = expect_error(response, 422)["details"]
    assert problem["message"] == "Must be nested at most 100 levels deep"


@pytest.mark.parametrize("spread", ["", "[", "{", "]", '\\"', "[[[[[[[["])
def test_a_hundred_levels_are_taken_and_given_back_and_one_more_is_named(api: Api, spread: str) -> None:
    """Brackets in strings are no levels, whichever they are, nor are those that stand side by side."""
    execution = api.create()

    def submit(levels: int) -> requests.Response:
        deep: Any = [spread, [], {}, {"a": spread}] * 50
        for _ in range(levels - 5):
            deep = {"deep": deep} if isinstance(deep, list) else [deep, "]"]
        tests = [result("first"), result(mine=deep, parameters={spread: "}"})]
        body = {"executionId": execution["executionId"], "shardId": "1", "tests": tests}
        return api.request("POST", "/results", body)

    expect_success(submit(100), 201)
    assert api.page(f"/runs/{execution['executionId']}").status_code == 200
    assert len(api.tests(execution)) == 2
    (problem,) = expect_error(submit(101), 422)["details"]
    assert problem == {"field": "tests[1]", "message": "Must be nested at most 100 levels deep"}


def test_more_tests_than_a_submission_may_have_are_refused(sqlite_api: Api) -> None:
    tests = b",".join([b'{"title":"t","status":"passed"}'] * 250_001)
    body = b'{"executionId":"x","shardId":"1","tests":[%s]}' % tests
    error = expect_error(sqlite_api.request("POST", "/results", body), 413)
    assert (
        error["message"] == "The submission has more than 250,000 tests: split it into several submissions."
    )


@pytest.mark.slow
@pytest.mark.parametrize("value", [b"1", b"[]", b'"a"'])
def test_more_values_than_a_body_may_have_are_refused(sqlite_api: Api, value: bytes) -> None:
    many = b"[%s]" % b",".join([value] * 5_000_001)
    created = sqlite_api.create()
    for path, body in (
        ("/executions", b'{"testSuite":"all","environment":"dev","metadata":{"x":%s}}'),
        ("/results", b'{"executionId":"x","shardId":"1","tests":[{"title":1,"x":%s}]}'),
        (created["webhookUrl"], b'{"event":"execution.progress","executionId":"x","x":%s}'),
    ):
        response = sqlite_api.request("POST", path, body % many)
        assert (
            expect_error(response, 413)["message"]
            == "The body has more than 5,000,000 values: split it into several requests."
        )


def test_what_looks_like_many_values_in_a_string_is_one(sqlite_api: Api) -> None:
    execution = sqlite_api.create()
    text = "[,{" * 2_000_000 + '"' * 1000
    sqlite_api.submit(execution, tests=[result(stdout=text)])
    assert sqlite_api.tests(execution)[0]["stdout"] == text


def test_a_text_may_have_ten_million_characters(sqlite_api: Api) -> None:
    execution = sqlite_api.create()
    sqlite_api.submit(execution, tests=[result(stdout="☃" * 10_000_000)])
    body = {"executionId": execution["executionId"], "shardId": "1"}
    response = sqlite_api.request("POST", "/results", {**body, "tests": [result(stdout="x" * 10_000_001)]})
    (problem,) = expect_error(response, 422)["details"]
    assert problem == {"field": "tests[0].stdout", "message": "Must be at most 10000000 characters"}


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"true"])
@pytest.mark.parametrize("call", TAKING_A_BODY, ids=lambda call: call.name)
def test_a_body_that_is_no_object_is_unprocessable(
    api: Api, admin: str, call: calls.Call[Any, Any], body: bytes
) -> None:
    error = expect_error(api.request(call.method, path_of(call, api), body, token=admin), 422)
    assert error["code"] == "VALIDATION_ERROR"
    assert error["details"] == [{"field": "", "message": "Must be an object"}]


@pytest.mark.parametrize(
    "unknown",
    [b'"\xff"', b"1e999", b'"\\ud800"', b"9" * 5000],
    ids=["invalid UTF-8", "a float out of range", "a lone surrogate", "an enormous number"],
)
def test_what_is_wrong_in_an_unknown_field_of_a_test_never_breaks_an_answer(api: Api, unknown: bytes) -> None:
    execution = api.create()
    body = json.dumps(
        {"executionId": execution["executionId"], "shardId": "1", "tests": [result(mine="HERE")]}
    ).encode()
    response = api.request("POST", "/results", body.replace(b'"HERE"', unknown))
    assert response.status_code in (201, 400), response.text
    page = api.request("GET", f"/executions/{execution['executionId']}/tests")
    assert page.status_code == 200
    assert page.content.count(unknown) == (response.status_code == 201)
    assert api.page(f"/runs/{execution['executionId']}").status_code == 200


def test_a_number_out_of_range_beside_a_bad_field_is_a_bad_request(api: Api) -> None:
    execution = api.create()
    body = b'{"executionId": "%s", "shardId": "1", "tests": [{"title": 1, "status": "passed", "x": 1e999}]}'
    expect_error(api.request("POST", "/results", body % execution["executionId"].encode()), 400)


def test_the_last_of_two_fields_of_one_name_counts(api: Api) -> None:
    body = b'{"testSuite": "nope", "testSuite": "api", "environment": "dev"}'
    assert (
        expect_success(api.request("POST", "/executions", body), 201)["configuration"]["testSuite"] == "api"
    )


def test_numbers_that_are_kept_come_back_as_they_were_sent(api: Api) -> None:
    numbers = {"big": 10**30, "negative": -(2**63), "float": 1.5e300, "zero": 0}
    execution = api.create(metadata=numbers, mine=numbers)
    status = api.status(execution)
    assert status["metadata"] == numbers
    assert status["mine"] == numbers
    api.submit(execution, tests=[result(mine=numbers)])
    assert api.tests(execution)[0]["mine"] == numbers


def test_nul_characters_are_taken_wherever_text_is(api: Api) -> None:
    nul = "a\x00b"
    execution = api.create(provider=nul, metadata={nul: nul}, mine=nul)
    test = result(nul, "failed", file=nul, error=nul, longrepr=nul, tags=[nul], nodeId=nul, mine=nul)
    api.submit(execution, nul, provider=nul, tests=[test], artifacts={"logs": [nul]}, metadata={nul: nul})
    api.send(execution, "shard.completed", shardId=nul, reason=nul)
    api.send(execution, "execution.progress", shardId="2", tests=[test], running=[nul])
    api.send(execution, "execution.cancelled", reason=nul)
    assert api.status(execution)["metadata"] == {nul: nul}
    assert [each["title"] for each in api.tests(execution)] == [nul, nul]
    for page in ("reports", "logs", "artifacts"):
        assert api.page(f"/{page}/{execution['executionId']}").status_code == 200


def test_texts_of_any_length_are_taken(api: Api) -> None:
    long = secrets.token_hex(50_000)
    execution = api.create(mine=long[:60_000])
    test = result(long, "failed", file=long, error=long, nodeId=long, tags=[long])
    for _ in range(2):
        api.submit(execution, tests=[test, {**test, "nodeId": f"{long}y"}])
    assert api.status(execution)["results"]["total"] == 2
    assert api.tests(execution)[0]["error"] == long


@pytest.mark.parametrize("path", ["/executions", "/results"])
def test_a_body_over_the_limit_is_refused_before_it_is_read(api: Api, path: str) -> None:
    head = (
        f"POST /api{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {100 * 1024 * 1024 + 1}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(api.root.rpartition(":")[2])), timeout=20) as client:
        client.sendall(head.encode() + b'{"testSuite": "')
        with HTTPResponse(client) as response:
            response.begin()
            assert response.status == 413
            assert json.loads(response.read())["error"]["code"] == "PAYLOAD_TOO_LARGE"


def test_a_body_over_the_limit_without_a_length_is_refused(sqlite_api: Api) -> None:
    chunk = b" " * (1024 * 1024)
    response = sqlite_api.session.post(
        f"{sqlite_api.url}/executions",
        data=(chunk for _ in range(101)),
        headers={"Authorization": f"Bearer {sqlite_api.token}"},
        timeout=60,
    )
    expect_error(response, 413)


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/executions/x/y/z",
        "/executions/%2e%2e/",
        "/results/1",
        "/webhooks/executions",
        "/" + "x" * 5000,
        "/%00",
        "/%ff%fe",
        "/☃",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "PATCH"])
def test_an_unknown_address_is_answered_as_documented(api: Api, method: str, path: str) -> None:
    response = api.request(method, path)
    assert response.status_code in (401, 404, 405)
    expect_error(response, response.status_code)


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/executions"), ("GET", "/results"), ("HEAD", "/results")]
)
def test_a_method_that_is_not_possible_is_405_and_says_which_are(api: Api, method: str, path: str) -> None:
    response = api.request(method, path)
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    if method != "HEAD":
        assert expect_error(response, 405)["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize("path", ["/executions/any", "/webhooks", "/"])
def test_a_path_that_can_be_read_allows_head_too(api: Api, path: str) -> None:
    response = api.request("PUT", path)
    expect_error(response, 405)
    assert {"GET", "HEAD"} <= set(response.headers["Allow"].split(", "))


@pytest.mark.parametrize("call", calls.ALL, ids=lambda call: call.name)
def test_options_is_answered_without_a_token(api: Api, call: calls.Call[Any, Any]) -> None:
    response = api.request(
        "OPTIONS",
        call.path.format(execution_id="any", webhook_id="any", sha256="any", test_key="any", entry_id="1"),
        token="",
    )
    assert response.status_code == 204
    methods = {other.method for other in calls.ALL if other.path == call.path}
    heads = {"HEAD"} if "GET" in methods else set()
    assert set(response.headers["Allow"].split(", ")) == {*methods, *heads, "OPTIONS"}


IDS = {
    "nothing known": "exec_nope",
    "encoded slashes": "..%2F..%2Fetc%2Fpasswd",
    "NUL": "%00",
    "NUL in the middle": "exec_%00x",
    "invalid UTF-8": "%ff%fe",
    "unicode": "%E2%98%83",
    "quotes": "'%22;--",
    "a template": "%7B%7B7*7%7D%7D",
    "spaces": "%20%20",
    "very long": "x" * 20_000,
    "broken escapes": "%zz%",
}


@pytest.mark.parametrize("strange", IDS.values(), ids=IDS.keys())
def test_a_strange_id_is_not_found(api: Api, strange: str) -> None:
    expect_error(api.request("GET", f"/executions/{strange}"), 404)
    expect_error(api.request("GET", f"/executions/{strange}/tests"), 404)
    expect_error(api.request("DELETE", f"/executions/{strange}"), 404)
    unknown = api.request("POST", f"/webhooks/executions/{strange}", token="wh_token_x")
    expect_error(unknown, 404 if "/" in unquote(strange) else 401)  # no such address, or no such token
    for page in ("reports", "logs", "artifacts"):
        response = api.page(f"/{page}/{strange}")
        assert response.status_code == 404
        if "/" not in unquote(strange):
            assert response.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("strange", ["exec_nope", "a\x00b", "☃", "'\"", "x" * 200])
def test_a_strange_id_in_a_body_is_not_found(api: Api, strange: str) -> None:
    expect_error(api.request("POST", "/results", {"executionId": strange, "shardId": "1"}), 404)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Token {token}",
        "{token}",
        "Bearer {token}x",
        "Bearer  {token} {token}",
        "Bearer " + "x" * 8000,
        "Bearer \xff\xfe",
        "Bearer '; DROP TABLE tokens",
        "bearer: {token}",
    ],
)
def test_a_strange_authorization_is_unauthorized(api: Api, header: str) -> None:
    response = api.request("GET", "/executions/x", Authorization=header.format(token=api.token))
    assert expect_error(response, 401)["code"] == "UNAUTHORIZED"
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["bearer {token}", "BEARER {token}", "Bearer   {token}  "])
def test_the_scheme_is_read_as_http_has_it(api: Api, header: str) -> None:
    expect_error(api.request("GET", "/executions/x", Authorization=header.format(token=api.token)), 404)


@pytest.mark.parametrize(
    ("query", "bad"),
    [
        ("limit=0", {"limit"}),
        ("limit=201", {"limit"}),
        ("limit=", {"limit"}),
        ("limit=-1", {"limit"}),
        ("limit=1e2", {"limit"}),
        ("limit=" + "9" * 5000, {"limit"}),
        ("cursor=x", {"cursor"}),
        ("cursor=-1", {"cursor"}),
        ("cursor=" + "9" * 19, {"cursor"}),
        ("cursor=%00", {"cursor"}),
        ("status=broken", {"status"}),
        ("status=%ff", {"status"}),
        ("cursor=x&limit=0&status=x", {"cursor", "limit", "status"}),
    ],
)
def test_every_bad_query_parameter_is_named(api: Api, query: str, bad: set[str]) -> None:
    response = api.request("GET", f"/executions/{api.create()['executionId']}/tests?{query}")
    assert {problem["field"] for problem in expect_error(response, 422)["details"]} == bad


@pytest.mark.parametrize("query", ["", "&&&", "=", "limit=1&limit=2", "cursor=٣", "%6cimit=1"])
def test_a_query_that_is_odd_but_not_wrong_is_answered(api: Api, query: str) -> None:
    expect_success(api.request("GET", f"/executions/{api.create()['executionId']}/tests?{query}"), 200)


@pytest.mark.parametrize("after", ["%00", "-1", "x", "9" * 100, "%ff", "☃", "'"])
@pytest.mark.parametrize("page", ["reports", "logs", "artifacts"])
def test_a_page_is_shown_whatever_its_link_says(api: Api, page: str, after: str) -> None:
    execution_id = api.create()["executionId"]
    assert api.page(f"/{page}/{execution_id}?after={after}").status_code == 200


def test_a_server_of_this_machine_answers_only_to_its_own_name(api: Api) -> None:
    for name in ("evil.example", "127.0.0.1.evil.example", "evil.example:80", ""):
        expect_error(api.request("GET", "/", Host=name), 403)
    port = api.root.rpartition(":")[2]
    for name in (f"127.0.0.1:{port}", f"LOCALHOST:{port}", "localhost", f"[::1]:{port}"):
        assert api.request("GET", "/", Host=name).status_code == 200


def test_the_openapi_document_has_every_call_with_every_status(api: Api) -> None:
    document = expect_success(api.request("GET", "/openapi.json", token=""), 200)
    for call in calls.ALL:
        operation = document["paths"][call.path][call.method.lower()]
        found = {"200"} if call.found else set()
        statuses = {str(call.status), *found, *(str(error.status) for error in call.errors)}
        assert set(operation["responses"]) == statuses
    references = set(_references(document))
    assert references
    assert references <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for item in value.values() for found in _references(item)]
    return [found for item in value for found in _references(item)] if isinstance(value, list) else []
