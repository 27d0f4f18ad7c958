"""HTTP as clients and proxies speak it: HEAD, targets, bad HTTP, ETags, compression, keep-alive, queries."""

from __future__ import annotations

import gzip
import json
import re
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
import requests

from pytest_tms.client import calls
from pytest_tms.server.app import create_app
from pytest_tms.server.pages.assets import assets
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from tests.helpers.api import Api, expect_error, expect_success, invalid_fields, result, running
from tests.helpers.processes import run_tms
from tests.integration.server.test_tokens import stored

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STYLESHEET = assets().stylesheet.path
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
AXIOS = "application/json, text/plain, */*"


def port(api: Api) -> int:
    return int(api.root.rpartition(":")[2])


class ReadResponse(HTTPResponse):
    """A response whose body has been read."""

    body = b""


class Raw:
    """A connection on which bytes are sent as they are."""

    def __init__(self, api: Api) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port(api)), timeout=30)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def request(self, head: str | bytes, method: str = "GET") -> ReadResponse:
        """Send a request and read the whole answer."""
        self.socket.sendall(head.encode() if isinstance(head, str) else head)
        response = ReadResponse(self.socket, method=method)
        response.begin()
        response.body = response.read()
        return response

    def is_closed(self) -> bool:
        return self.socket.recv(1) == b""


def documented(response: ReadResponse) -> dict[str, Any]:
    """The error of an answer that has the documented shape."""
    assert response.headers["Content-Type"] == "application/json"
    error: dict[str, Any] = json.loads(response.body)["error"]
    assert set(error) == {"code", "message", "details", "requestId", "timestamp"}
    assert error["requestId"] == response.headers["X-Request-Id"]
    return error


# HEAD ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/api/", "/api/openapi.json", "/api/executions/{}", "/api/executions/{}/tests", "/api/webhooks",
        "/api/executions/exec_nope", "/api/nope", "/", "/login", "/runs/{}", "/runs/none", "/webhooks", "/nope",
        STYLESHEET, "/static/tms.css",
    ],
)  # fmt: skip
def test_a_head_is_answered_as_a_get_without_its_body(sqlite_api: Api, path: str) -> None:
    url = f"{sqlite_api.root}{path.format(sqlite_api.create()['executionId'])}"
    sqlite_api.page("/")  # so that the visitor has a cookie
    get, head = (sqlite_api.request(method, url, Accept_Encoding="identity") for method in ("GET", "HEAD"))
    assert head.content == b""
    assert head.status_code == get.status_code
    varying = {"x-request-id", "date", "set-cookie"}
    if "Set-Cookie" in get.headers or get.status_code >= 400:  # its text has an id of its own
        varying.add("content-length")
    heads, gets = (
        {name.lower(): text for name, text in response.headers.items() if name.lower() not in varying}
        for response in (head, get)
    )
    assert heads == gets


def test_a_connection_goes_on_after_a_head(sqlite_api: Api) -> None:
    with Raw(sqlite_api) as raw:
        for method in ("HEAD", "GET", "HEAD"):
            response = raw.request(f"{method} /api/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", method)
            assert response.status == 200
            assert bool(response.body) == (method == "GET")


# Request targets ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://127.0.0.1/api/", 200),
        ("HTTP://LOCALHOST:8765/api/", 200),
        ("https://127.0.0.1/api/", 200),
        ("http://127.0.0.1/api/executions/exec_nope?x=/http://", 401),
        (f"http://127.0.0.1{STYLESHEET}", 200),
        ("http://127.0.0.1", 200),
        ("http://127.0.0.1?before=x", 200),
        ("http://127.0.0.1/api%2Fnope", 404),
        ("http://evil.example/api/", 403),
        ("http:///api/", 400),
        ("http://user@127.0.0.1/api/", 400),
        ("ftp://127.0.0.1/api/", 404),
    ],
)
def test_a_target_may_be_a_whole_url_whose_host_counts(sqlite_api: Api, target: str, status: int) -> None:
    with Raw(sqlite_api) as raw:
        assert raw.request(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").status == status


def test_links_follow_the_host_of_a_whole_url(sqlite_api: Api) -> None:
    body = b'{"testSuite": "all", "environment": "dev"}'
    head = (
        f"POST http://localhost:1234/api/executions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: Bearer {sqlite_api.token}\r\n\r\n"
    )
    with Raw(sqlite_api) as raw:
        response = raw.request(head.encode() + body)
    assert response.status == 201
    created = json.loads(response.body)
    assert created["webhookUrl"].startswith("http://localhost:1234/api/webhooks/")


def test_options_of_the_server_as_a_whole_is_answered(sqlite_api: Api) -> None:
    with Raw(sqlite_api) as raw:
        response = raw.request("OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert response.status == 204
    assert "GET" in response.headers["Allow"]


# Bad HTTP -----------------------------------------------------------------------------------

HOST = "Host: 127.0.0.1\r\n"
BAD_HTTP = {
    "no http": (b"hello\r\n\r\n", 400),
    "a version alone": (b"HTTP/1.1 200 OK\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /api/\r\n\r\n", 400),
    "a space too many": (b"GET  /api/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "raw UTF-8 in the target": ("GET /api/☃ HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100 + b"\r\n\r\n", 400),
    "no host": (b"GET /api/ HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /api/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a header without a colon": (f"GET /api/ HTTP/1.1\r\n{HOST}secret-s3cret\r\n\r\n".encode(), 400),
    "a header with a space": (f"GET /api/ HTTP/1.1\r\n{HOST}X y: s3cret\r\n\r\n".encode(), 400),
    "a NUL in a header": (f"GET /api/ HTTP/1.1\r\n{HOST}X: s3cret\0\r\n\r\n".encode(), 400),
    "a length that is a word": (f"POST /api/ HTTP/1.1\r\n{HOST}Content-Length: x\r\n\r\n".encode(), 400),
    "a negative length": (f"POST /api/ HTTP/1.1\r\n{HOST}Content-Length: -1\r\n\r\n".encode(), 400),
    "two lengths": (
        f"POST /api/ HTTP/1.1\r\n{HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\n".encode(),
        400,
    ),
    "an endless length": (f"POST /api/ HTTP/1.1\r\n{HOST}Content-Length: {'9' * 40}\r\n\r\n".encode(), 400),
    "a strange transfer": (f"POST /api/ HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip\r\n\r\n".encode(), 501),
    "a long header": (f"GET /api/ HTTP/1.1\r\n{HOST}X: {'x' * 70_000}\r\n\r\n".encode(), 431),
    "many headers": (b"GET /api/ HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", 431),
    "a long target": (b"GET /api/" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
}


@pytest.mark.parametrize("name", BAD_HTTP)
def test_what_is_not_http_is_answered_with_the_documented_error(sqlite_api: Api, name: str) -> None:
    sent, status = BAD_HTTP[name]
    before = sqlite_api.output()
    with Raw(sqlite_api) as raw:
        response = raw.request(sent)
        assert response.status == status
        error = documented(response)
        assert error["code"] == {400: "BAD_REQUEST", 431: "HEADERS_TOO_LARGE", 501: "NOT_IMPLEMENTED"}[status]
        assert "s3cret" not in error["message"]
        assert "b'" not in error["message"]
        assert "bytearray" not in error["message"]
        assert re.fullmatch(r"[A-Z][^.]+\.", error["message"])
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        if status != 431:  # a head that is too long is valid HTTP once it is whole
            assert response.headers["Connection"] == "close"
            assert raw.is_closed()
    expect_success(sqlite_api.request("GET", "/"), 200)
    assert sqlite_api.output() == before


def test_a_bad_chunk_ends_the_request_with_the_documented_error(sqlite_api: Api) -> None:
    before = sqlite_api.output()
    head = (
        f"POST /api/executions HTTP/1.1\r\n{HOST}Authorization: Bearer {sqlite_api.token}\r\n"
        f"Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\nnonsense\r\n"
    )
    with Raw(sqlite_api) as raw:
        response = raw.request(head)
        assert response.status == 400
        documented(response)
        assert raw.is_closed()
    expect_success(sqlite_api.request("GET", "/"), 200)
    assert sqlite_api.output() == before


def test_bad_http_after_a_good_request_ends_the_connection_and_not_the_answer(sqlite_api: Api) -> None:
    with Raw(sqlite_api) as raw:
        first = raw.request(f"GET /api/ HTTP/1.1\r\n{HOST}\r\n")
        assert first.status == 200
        assert raw.request(b"nonsense\r\n\r\n").status == 400
        assert raw.is_closed()


def test_an_upgrade_that_is_not_supported_is_an_ordinary_request(sqlite_api: Api) -> None:
    before = sqlite_api.output()
    for upgrade in ("h2c", "websocket"):
        with Raw(sqlite_api) as raw:
            head = f"GET /api/ HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
            assert raw.request(head).status == 200
    assert sqlite_api.output() == before


# Bodies -------------------------------------------------------------------------------------

BOM = b"\xef\xbb\xbf"


def test_a_byte_order_mark_before_json_is_passed_over(api: Api) -> None:
    body = BOM + b'{"testSuite": "all", "environment": "dev"}'
    created = expect_success(api.request("POST", "/executions", body), 201)
    execution_id = created["executionId"]
    submission = {"executionId": execution_id, "shardId": "1", "tests": [result(duration=3.0)]}
    expect_success(api.request("POST", "/results", BOM + json.dumps(submission).encode()), 201)
    event = BOM + json.dumps({"event": "execution.started", "executionId": execution_id}).encode()
    expect_success(api.request("POST", created["webhookUrl"], event, token=created["webhookToken"]), 202)
    packed = gzip.compress(BOM + json.dumps(submission).encode())
    expect_success(api.request("POST", "/results", packed, Content_Encoding="gzip"), 201)
    webhook = BOM + b'{"url": "https://ci.example.com/x", "events": ["execution.failed"]}'
    expect_success(api.request("POST", "/webhooks", webhook), 201)


# Errors outside the API ---------------------------------------------------------------------

UNKNOWN = [
    "/nope",
    "/executions",
    "/reports",
    "/reports/a/b/c",
    "/runs/a/b/c",
    "/static/tms.css",
    "/apis",
    "/static/nope",
    "/%00",
    "/favicon.ico",
]


@pytest.mark.parametrize("path", UNKNOWN)
def test_an_unknown_path_is_a_page_for_browsers_and_json_for_clients_of_the_api(
    sqlite_api: Api, path: str
) -> None:
    for accept in (BROWSER, "text/html", "*/*"):
        page = sqlite_api.session.get(f"{sqlite_api.root}{path}", headers={"Accept": accept}, timeout=60)
        assert page.status_code == 404
        assert page.headers["Content-Type"].startswith("text/html")
        assert "<h1>Not found</h1>" in page.text
    for accept in (AXIOS, "application/json", "text/html;q=0.5, application/json"):
        response = sqlite_api.session.get(f"{sqlite_api.root}{path}", headers={"Accept": accept}, timeout=60)
        expect_error(response, 404)


@pytest.mark.parametrize("path", ["/api", "/api/nope", "/api/executions/exec_nope"])
def test_under_api_every_error_is_json(sqlite_api: Api, path: str) -> None:
    response = sqlite_api.request("GET", f"{sqlite_api.root}{path}", Accept=BROWSER)
    if path == "/api":  # the base URL without its slash is the base URL
        expect_success(response, 200)
    else:
        expect_error(response, 404)


def test_every_error_of_a_page_is_json_for_clients_that_ask_for_it(sqlite_api: Api) -> None:
    json_only = {"Accept": "application/json"}
    expect_error(sqlite_api.session.get(f"{sqlite_api.root}/runs/none", headers=json_only, timeout=60), 404)
    expect_error(sqlite_api.session.put(f"{sqlite_api.root}/runs/none", headers=json_only, timeout=60), 405)
    expect_error(sqlite_api.session.post(f"{sqlite_api.root}/logout", headers=json_only, timeout=60), 403)


def test_a_wrong_method_on_a_page_is_a_page_that_says_which_are_possible(sqlite_api: Api) -> None:
    response = sqlite_api.session.put(f"{sqlite_api.root}/runs/none", headers={"Accept": BROWSER}, timeout=60)
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) >= {"GET", "HEAD"}
    assert "<h1>Method not allowed</h1>" in response.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Content-Encoding": "br"}, 400),
    ],
)
def test_what_is_refused_before_the_application_is_a_page_for_browsers_too(
    sqlite_api: Api, headers: dict[str, str], status: int
) -> None:
    for accept in (BROWSER, "application/json"):
        asked = {**headers, "Accept": accept}
        response = requests.post(f"{sqlite_api.root}/logout", headers=asked, data=b"x", timeout=60)
        assert response.status_code == status
        if accept == BROWSER:
            assert response.headers["Content-Type"].startswith("text/html")
            assert "<h1>" in response.text
        else:
            expect_error(response, status)


# ETag and 304 -------------------------------------------------------------------------------

READ = ["/api/", "/api/openapi.json", "/api/executions/{}", "/api/executions/{}/tests", "/api/webhooks",
        STYLESHEET, "/runs/{}"]  # fmt: skip


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_did_not_change_is_304_by_its_etag(sqlite_api: Api, method: str, path: str) -> None:
    url = f"{sqlite_api.root}{path.format(sqlite_api.create()['executionId'])}"
    sqlite_api.page("/")  # so that the visitor has a cookie
    first = sqlite_api.request(method, url)
    etag = first.headers["ETag"]
    for given in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        again = sqlite_api.request(method, url, If_None_Match=given)
        assert again.status_code == 304, given
        assert again.content == b""
        assert again.headers["ETag"] == etag
        assert "Content-Type" not in again.headers
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
    other = sqlite_api.request(method, url, If_None_Match='"other"')
    assert other.status_code == 200
    assert other.headers["ETag"] == etag


def test_a_status_has_another_etag_once_it_changed(sqlite_api: Api) -> None:
    execution = sqlite_api.create()
    path = f"/executions/{execution['executionId']}"
    etag = sqlite_api.request("GET", path).headers["ETag"]
    assert sqlite_api.request("GET", path, If_None_Match=etag).status_code == 304
    sqlite_api.submit(execution, tests=[result()])
    changed = sqlite_api.request("GET", path, If_None_Match=etag)
    assert expect_success(changed, 200)["status"] == "completed"
    assert changed.headers["ETag"] != etag


def test_errors_and_changes_have_no_etag(sqlite_api: Api) -> None:
    assert "ETag" not in sqlite_api.request("GET", "/executions/exec_nope", If_None_Match="*").headers
    created = sqlite_api.request(
        "POST", "/executions", {"testSuite": "all", "environment": "dev"}, If_None_Match="*"
    )
    assert created.status_code == 201
    assert "ETag" not in created.headers
    assert created.headers["Cache-Control"] == "no-store"


def test_a_304_needs_the_token_like_every_read(sqlite_api: Api) -> None:
    path = f"/executions/{sqlite_api.create()['executionId']}"
    etag = sqlite_api.request("GET", path).headers["ETag"]
    expect_error(sqlite_api.request("GET", path, If_None_Match=etag, token="unknown"), 401)


def test_a_client_may_keep_what_it_asks_about_again_and_nothing_else(sqlite_api: Api) -> None:
    for path in (
        "/api/openapi.json",
        f"/api/executions/{sqlite_api.create()['executionId']}",
    ):
        assert (
            sqlite_api.request("GET", f"{sqlite_api.root}{path}").headers["Cache-Control"]
            == "private, no-cache"
        )
    assert sqlite_api.request("GET", "/executions/exec_nope").headers["Cache-Control"] == "no-store"


# Compressed answers -------------------------------------------------------------------------


def raw_answer(api: Api, path: str, accept: str | None, **headers: str) -> requests.Response:
    """An answer whose body is read as it came."""
    asked = {"Authorization": f"Bearer {api.token}", "Accept-Encoding": accept, **headers}
    response = api.session.get(f"{api.root}{path}", headers=asked, stream=True, timeout=60)
    response._content = response.raw.read(decode_content=False)
    return response


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0.0, *", "zstd"),
        ("*", "zstd"),
        ("*;q=0", None),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("gzip;q=0.5, identity;q=1", None),
        ("gzip;q=nonsense", None),
        ("gzip;q=nan", None),
        (";;,,=", None),
    ],
)
def test_an_answer_is_compressed_as_the_client_accepts(
    sqlite_api: Api, accept: str | None, coding: str | None
) -> None:
    execution = sqlite_api.create(metadata={"long": "x" * 5000})
    path = f"/api/executions/{execution['executionId']}"
    plain = sqlite_api.status(execution)
    response = raw_answer(sqlite_api, path, accept)
    assert response.status_code == 200
    assert response.headers.get("Content-Encoding") == coding
    assert "Accept-Encoding" in response.headers["Vary"]
    assert int(response.headers["Content-Length"]) == len(response.content)
    unpack: dict[str | None, Callable[[bytes], bytes]] = {
        None: bytes,
        "gzip": gzip.decompress,
        "zstd": zstd.decompress,
    }
    assert json.loads(unpack[coding](response.content)) == plain
    if coding:
        assert len(response.content) < 2000


def test_a_large_answer_a_page_and_the_stylesheet_are_compressed(sqlite_api: Api) -> None:
    execution = sqlite_api.create()
    sqlite_api.submit(execution, tests=[result(f"t{n}", "failed", error="wrong " * 100) for n in range(150)])
    sqlite_api.page("/")
    for path in (
        f"/api/executions/{execution['executionId']}/tests?limit=200",
        f"/runs/{execution['executionId']}",
        STYLESHEET,
        "/api/openapi.json",
    ):
        for coding, unpack in (("gzip", gzip.decompress), ("zstd", zstd.decompress)):
            plain, packed = raw_answer(sqlite_api, path, "identity"), raw_answer(sqlite_api, path, coding)
            assert packed.headers["Content-Encoding"] == coding
            assert unpack(packed.content) == plain.content
            assert len(packed.content) < len(plain.content) / 2
            assert packed.headers["Content-Type"] == plain.headers["Content-Type"]


def test_an_etag_holds_for_every_coding(sqlite_api: Api) -> None:
    path = f"/api/executions/{sqlite_api.create(metadata={'long': 'x' * 5000})['executionId']}"
    etag = raw_answer(sqlite_api, path, "gzip").headers["ETag"]
    for accept in ("identity", "gzip", "zstd"):
        again = raw_answer(sqlite_api, path, accept, **{"If-None-Match": etag})
        assert again.status_code == 304
        assert "Content-Encoding" not in again.headers


def test_what_is_small_is_not_compressed(sqlite_api: Api) -> None:
    response = raw_answer(sqlite_api, "/api/nope", "gzip, zstd")
    assert response.status_code == 404
    assert "Content-Encoding" not in response.headers


def test_a_page_is_not_compressed_if_another_site_leads_to_it(sqlite_api: Api) -> None:
    execution = sqlite_api.create()
    sqlite_api.submit(execution, tests=[result(f"t{n}", "failed") for n in range(40)])
    path = f"/runs/{execution['executionId']}"
    sqlite_api.page("/")
    assert (
        "Content-Encoding"
        in raw_answer(sqlite_api, path, "gzip", **{"Sec-Fetch-Site": "same-origin"}).headers
    )
    assert (
        "Content-Encoding"
        not in raw_answer(sqlite_api, path, "gzip", **{"Sec-Fetch-Site": "cross-site"}).headers
    )


# Keep-alive ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--keep-alive", "1"], []])
def test_a_connection_stays_open_for_as_long_as_is_set(tmp_path: Path, options: list[str]) -> None:
    environ = {} if options else {"TMS_SERVER_KEEP_ALIVE": "1"}
    with running(tmp_path / "data", options=options, **environ) as api, Raw(api) as raw:
        for _ in range(2):
            assert raw.request(f"GET /api/ HTTP/1.1\r\n{HOST}\r\n").status == 200
        assert raw.is_closed()


def test_a_connection_outlasts_the_idle_time_of_load_balancers_unless_set_otherwise() -> None:
    assert ServerSettings().keep_alive == 75


def test_worker_processes_keep_connections_as_long_as_the_setting_says() -> None:
    environ = ServerSettings(keep_alive=7).environ()
    assert ServerSettings.read(environ).keep_alive == 7


@pytest.mark.slow
def test_a_new_head_must_come_at_once_on_a_connection_that_is_kept(sqlite_api: Api) -> None:
    """A drip on a connection that may idle for 75 s ends it after the 10 s of every head."""
    with ExitStack() as stack:
        drip, idle = (stack.enter_context(Raw(sqlite_api)) for _ in range(2))
        for raw in (drip, idle):
            assert raw.request(f"GET /api/ HTTP/1.1\r\n{HOST}\r\n").status == 200
        drip.socket.sendall(b"GET /api/ HTTP/1.1\r\nX: ")
        assert drip.is_closed()
        assert idle.request(f"GET /api/ HTTP/1.1\r\n{HOST}\r\n").status == 200


@pytest.mark.slow
@pytest.mark.parametrize("value", ["-1", "x", "1e3", "100000"])
def test_a_keep_alive_that_cannot_be_is_one_sentence(tmp_path: Path, value: str) -> None:
    completed = run_tms("serve", "--port", "0", "--data-dir", str(tmp_path), TMS_SERVER_KEEP_ALIVE=value)
    assert completed.returncode == 1
    (line,) = completed.stderr.splitlines()
    assert line.startswith("tms: TMS_SERVER_KEEP_ALIVE is ")


# Query parameters ---------------------------------------------------------------------------


@pytest.mark.parametrize("call", calls.ALL, ids=lambda call: call.name)
def test_a_query_parameter_that_a_call_does_not_have_is_named_with_those_it_has(
    api: Api, call: calls.Call[Any, Any]
) -> None:
    webhook = {"url": "https://ci.example.com/x", "events": ["execution.failed"]}
    webhook_id = expect_success(api.request("POST", "/webhooks", webhook), 201)["webhookId"]
    path = call.path.format(
        execution_id=api.create()["executionId"],
        webhook_id=webhook_id,
        sha256="0" * 64,
        test_key="1",
        entry_id="1",
    )
    body: dict[str, Any] | None = None if call.takes is type(None) else {}
    token = stored(api, "admin") if call.scope in ("admin", "quarantine:write") else None
    error = expect_error(api.request(call.method, f"{path}?page=2&Limit=3", body, token=token), 422)
    names = [parameter.name for parameter in call.query]
    said = f"Unknown query parameter: {'use ' + ', '.join(names) if names else 'this call takes none'}"
    assert error["details"] == [{"field": name, "message": said} for name in ("page", "Limit")]


@pytest.mark.parametrize("query", ["%", "a=1&a=2", "%00=%00", "unknown=1", "x" * 5000, "☃=1", "limit=5&x"])
def test_an_unknown_query_parameter_is_refused_however_odd(api: Api, query: str) -> None:
    response = api.request("GET", f"/executions/{api.create()['executionId']}/tests?{query}")
    assert len(invalid_fields(response)) == 1


@pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")
def test_the_declared_query_parameters_are_those_of_the_handlers(tmp_path: Path) -> None:
    """A parameter that a handler reads and its call does not declare would be refused."""
    app = create_app(ServerSettings(data_dir=tmp_path), Database(f"sqlite:///{tmp_path}/x.sqlite3"))._app
    seen = 0
    for route in app.routes:  # type: ignore[attr-defined]  # the type of the wrapped app is ASGIApp
        for handler in getattr(route, "route_handlers", ()):
            call = handler.opt.get("call")
            if call is not None:
                taken = handler.parsed_fn_signature.parameters
                provided = {
                    *handler.resolve_dependencies(),
                    "body",
                    "request",
                    "stream",
                    *re.findall(r"{(\w+)", call.path),
                }
                declared = {each.name for each in call.query}
                # A handler that takes the request, or the query, reads declared parameters itself.
                reads_query = "query" in taken or "request" in taken
                assert reads_query or {name for name in taken if name not in provided} == declared
                seen += 1
    assert seen == len(calls.ALL)


# Rate limits --------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_fields_of_the_ietf_draft_say_what_the_documented_ones_say(tmp_path: Path) -> None:
    with running(tmp_path / "data", TMS_SERVER_RATE_LIMITS="executions=3/hour") as api:
        body = {"testSuite": "all", "environment": "dev"}
        for left in (2, 1, 0, 0):
            response = api.request("POST", "/executions", body)
            assert response.status_code == (201 if left or response.status_code == 201 else 429)
            assert response.headers["RateLimit-Policy"] == '"executions";q=3;w=3600'
            found = re.fullmatch(r'"executions";r=(\d+);t=(\d+)', response.headers["RateLimit"])
            assert found
            remaining, reset = map(int, found.groups())
            assert remaining == left == int(response.headers["X-RateLimit-Remaining"])
            assert 0 < reset <= 3600
        expect_error(response, 429)
        assert abs(reset - int(response.headers["Retry-After"])) <= 1
        assert "RateLimit" not in api.request("GET", "/").headers


# Metadata -----------------------------------------------------------------------------------

FITS = {"x": "☃" * 21_842}
"""65,534 bytes with its name and quotes."""


def test_metadata_and_configuration_may_have_64_kb_each(api: Api) -> None:
    assert len(json.dumps(FITS, ensure_ascii=False, separators=(",", ":")).encode()) == 65_534
    execution = api.create(metadata=FITS, configuration=FITS)
    assert api.status(execution)["metadata"] == FITS
    api.submit(execution, metadata=FITS)
    api.send(execution, "shard.completed", shardId="2", metadata=FITS)
    assert api.shard(execution, "2")["metadata"] == FITS


@pytest.mark.parametrize("size", [21_843, 300_000])
def test_larger_metadata_is_refused_in_a_sentence(api: Api, size: int) -> None:
    large = {"x": "☃" * size}
    execution = api.create()
    create = {"testSuite": "all", "environment": "dev"}
    named_execution = {"executionId": execution["executionId"]}
    for path, body, named in (
        ("/executions", {**create, "metadata": large}, {"metadata"}),
        ("/executions", {**create, "configuration": large}, {"configuration"}),
        ("/executions", {"metadata": large, "configuration": large},
         {"metadata", "configuration", "testSuite", "environment"}),
        ("/results", {**named_execution, "shardId": "1", "metadata": large}, {"metadata"}),
        ("/results", {**named_execution, "shardId": "1", "metadata": large, "tests": [{}]},
         {"metadata", "tests[0].title", "tests[0].status"}),
        (execution["webhookUrl"], {**named_execution, "event": "shard.completed",
                                   "data": {"shardId": "1", "metadata": large}}, {"data.metadata"}),
    ):  # fmt: skip
        response = api.request("POST", path, body)
        assert invalid_fields(response) == named
        said = {
            each["field"].rpartition(".")[2]: each["message"] for each in response.json()["error"]["details"]
        }
        assert said[min(said.keys() & {"metadata", "configuration"})].startswith(
            "Must be at most 64 KB as JSON, not "
        )
    assert api.status(execution)["shardResults"] == []


@pytest.mark.parametrize("unknown", [{"notes": "x" * 70_000}, {"a": "x" * 35_000, "notes": "x" * 40_000}])
def test_unknown_fields_are_bounded_together_as_metadata_is(api: Api, unknown: dict[str, str]) -> None:
    response = api.request("POST", "/executions", {"testSuite": "all", "environment": "dev", **unknown})
    (problem,) = expect_error(response, 422)["details"]
    assert problem["field"] == "notes"
    assert problem["message"].startswith("Unknown fields must be at most 64 KB as JSON together, not ")
    assert problem["message"].endswith(" KB: shorten them or leave them out")
    kept = {"notes": "x" * 60_000}
    assert api.status(api.create(**kept))["notes"] == kept["notes"]


def test_metadata_that_grows_message_by_message_is_bounded_too(api: Api) -> None:
    execution = api.create(configuration={"shards": 2})
    api.submit(execution, metadata={"a": "x" * 40_000})
    body = {"executionId": execution["executionId"], "shardId": "1", "metadata": {"b": "x" * 40_000}}
    response = api.request("POST", "/results", body)
    assert invalid_fields(response) == {"metadata"}
    assert response.json()["error"]["details"][0]["message"].startswith("With what is stored: Must be")
    api.submit(execution, metadata={"a": "y" * 40_000})  # in place of what there was
    assert api.shard(execution)["metadata"] == {"a": "y" * 40_000}
