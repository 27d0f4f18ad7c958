"""Line ends where headers are made, and paths that lead out: over a plain socket, for no client would send them."""

from __future__ import annotations

import socket
from http.client import HTTPResponse
from urllib.parse import quote

import pytest

from tests.helpers.api import Api, expect_error, expect_success

SPLITS = [
    "\r\nX-Injected: 1\r\n\r\n<script>",
    "\nX-Injected: 1",
    "\rX-Injected: 1",
    "\u560d\u560aX-Injected: 1",
]
OUT = [
    "../../../../etc/passwd",
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252f%252e%252e%252fetc%252fpasswd",
    "..%5c..%5c..%5cetc%5cpasswd",
    "..%c0%af..%c0%af..%c0%afetc/passwd",
    "....//....//....//etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "%2fetc%2fpasswd",
    "file:///etc/passwd",
    "tms.css%00.html",
    "tms.css/../../login.py",
    "..;/..;/etc/passwd",
    "../templates/base.html",
    "..%2ftemplates%2fbase.html",
    "../__init__.py",
    "tms.css/x",
    "x" * 5000,
]


def raw(api: Api, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """The answer to a request as it stands: status, headers and body."""
    with socket.create_connection(("127.0.0.1", int(api.root.rpartition(":")[2])), timeout=20) as client:
        client.sendall(request)
        response = HTTPResponse(client)
        response.begin()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )


def line(method: str, path: str, *headers: str) -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers, "", ""]
    return "\r\n".join(head).encode("utf-8")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "path",
    [
        "/reports/{}/shard-1",
        "/reports/{}",
        "/login?to=/{}",
        "/static/{}",
        "/api/executions/{}",
        "/cancel/{}",
        "/webhooks/{}/pause",
        "/{}",
    ],
)
def test_no_path_splits_an_answer(sqlite_api: Api, path: str, split: str) -> None:
    for method in ("GET", "POST"):
        _, headers, _ = raw(sqlite_api, line(method, path.format(quote(split))))
        assert "x-injected" not in headers
        assert all(" " not in name and name.isprintable() for name in headers)
        assert "\n" not in headers.get("location", "")


@pytest.mark.parametrize(
    "name", ["Idempotency-Key", "X-Request-Id", "Authorization", "Cookie", "Origin", "Host"]
)
@pytest.mark.parametrize("split", ["a\rX-Injected: 1", "a\x00b", "a\x0bb", "\u560d\u560aX-Injected: 1", "é"])
def test_no_header_comes_back_as_another(sqlite_api: Api, name: str, split: str) -> None:
    body = '{"testSuite": "all", "environment": "dev"}'
    own = {"Authorization": f"Bearer {sqlite_api.token}", "Content-Length": str(len(body))}
    lines = [f"{key}: {value}" for key, value in {**own, name: split}.items()]
    status, headers, response = raw(sqlite_api, line("POST", "/api/executions", *lines) + body.encode())
    assert status in (201, 400, 401, 403)
    assert "x-injected" not in headers
    assert b"X-Injected" not in response
    if "x-request-id" in headers:
        assert headers["x-request-id"].startswith("req_")


def test_a_request_id_is_the_servers_own(sqlite_api: Api) -> None:
    response = sqlite_api.request("GET", "/executions/x", X_Request_Id="req_mine")
    assert expect_error(response, 404)["requestId"] != "req_mine"


@pytest.mark.parametrize("split", ["\r\nX-Injected: 1", "\nX-Injected: 1", "\r", "\x00"])
@pytest.mark.parametrize(
    "place", ["https://ci.example.com/{}", "https://ci.example.com{}", "https://ci{}.example/"]
)
def test_no_webhook_has_a_line_end_in_its_address(sqlite_api: Api, place: str, split: str) -> None:
    body = {"url": place.format(split), "events": ["execution.started"]}
    assert expect_error(sqlite_api.request("POST", "/webhooks", body), 422)["details"][0]["field"] == "url"


@pytest.mark.parametrize("path", OUT)
@pytest.mark.parametrize(
    "before", ["/static/", "/runs/", "/reports/", "/logs/", "/artifacts/", "/api/executions/", "/"]
)
def test_no_path_leads_out(sqlite_api: Api, before: str, path: str) -> None:
    status, headers, body = raw(sqlite_api, line("GET", f"{before}{path}"))
    assert 400 <= status < 500 or headers["location"].startswith("/runs/")  # an earlier address of a page
    for secret in (b"root:", b"{% ", b"import ", b"{{"):
        assert secret not in body


@pytest.mark.parametrize(
    "path", ["../../secret", "/etc/passwd", "a\x00b", "..\\..\\x", "C:\\x", "\r\nX-Injected: 1"]
)
def test_the_name_of_an_artifact_is_a_text_and_no_place(sqlite_api: Api, path: str) -> None:
    execution = sqlite_api.create()
    test = {"title": "t", "status": "failed", "artifacts": [{"name": path, "kind": "log", "path": path}]}
    sqlite_api.submit(execution, tests=[test], artifacts={"logs": [path]})
    assert expect_success(sqlite_api.request("GET", f"/executions/{execution['executionId']}/tests"), 200)
    response = sqlite_api.page(f"/artifacts/{execution['executionId']}")
    assert response.status_code == 200
    assert "X-Injected" not in response.headers
    assert "href" not in "".join(part for part in response.text.split("<") if path.strip() in part)
