"""The pages' door: who sees a page, how long, and that no other site sends a form in a visitor's name."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from litestar.connection import ASGIConnection

from pytest_tms.server.domain import api_tokens, clock
from pytest_tms.server.pages.assets import assets
from pytest_tms.server.pages.direct_requests import is_direct
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import audit, tokens
from tests.helpers.api import Api, Serve, expect_success, running, upgraded_database
from tests.helpers.processes import first_token, wait_for
from tests.integration.server.test_serve import responds
from tests.integration.server.test_tokens import stored, written

BEYOND = ("--host", "0.0.0.0")
PAGES = {
    "/",
    "/runs/{}",
    "/runs/{}/events",
    "/runs/{}/files",
    "/runs/{}/cancel",
    "/webhooks",
    "/webhooks/wh_nope",
    "/audit",
}
LOGIN = "<h1>Log in</h1>"


@dataclass
class Visit:
    """A browser without a screen: keeps its cookies, and sends the csrf_token that its latest page carried."""

    root: str
    session: requests.Session = field(default_factory=requests.Session)
    csrf_token: str = ""

    def see(self, path: str, headers: dict[str, str] | None = None) -> requests.Response:
        response = self.session.get(f"{self.root}{path}", headers=headers, timeout=60)
        return self._read(response)

    def send(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> requests.Response:
        response = self.session.post(
            f"{self.root}{path}",
            data={"csrf_token": self.csrf_token, **fields},
            headers=headers,
            allow_redirects=False,
            timeout=60,
        )
        return self._read(response)

    def login(self, token: str, to: str = "/") -> requests.Response:
        self.see("/login")
        return self.send("/login", token=token, to=to)

    def _read(self, response: requests.Response) -> requests.Response:
        if found := re.search(r'name="csrf_token" value="(\w+)"', response.text):
            self.csrf_token = found[1]
        return response


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def closed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that others than this machine reach, on each database in turn."""
    folder = tmp_path_factory.mktemp("closed") / "data"
    if request.param == "sqlite":
        with running(folder, options=BEYOND) as api:
            yield api
    else:
        with upgraded_database() as url, running(folder, "--database-url", url, options=BEYOND) as api:
            yield api


@pytest.mark.parametrize("path", sorted({*PAGES, "/runs/{}?after=1"}))
def test_who_is_not_logged_in_sees_the_login_and_learns_nothing(closed: Api, path: str) -> None:
    seen = set()
    for execution_id in (closed.create()["executionId"], "exec_nope"):
        response = closed.page(path.format(execution_id))
        assert response.status_code == 401
        assert LOGIN in response.text
        asked = path.format(execution_id).replace("&", "&amp;")
        assert f'name="to" value="{asked}"' in response.text
        seen.add(re.sub(r'value="\w{64}"', "", response.text.replace(execution_id, "")))
    assert len(seen) == 1
    assert closed.page(assets().stylesheet.path).status_code == 200


def test_a_login_leads_to_the_page_that_was_asked_for_until_the_logout(closed: Api) -> None:
    visit, path = Visit(closed.root), f"/runs/{closed.create()['executionId']}"
    assert LOGIN in visit.see(f"{path}?after=0").text
    response = visit.send("/login", token=f" {closed.token} ", to=f"{path}?after=0")
    assert response.status_code == 303
    assert response.headers["Location"] == f"{path}?after=0"
    assert "Waiting for the first shard" in visit.see(path).text
    assert visit.see("/login?to=/runs/x/events").url == f"{closed.root}/runs/x/events"  # is logged in already
    copied = dict(visit.session.cookies)
    visit.see(path)
    assert visit.send("/logout").headers["Location"] == "/login"
    assert visit.see(path).status_code == 401
    assert requests.get(f"{closed.root}{path}", cookies=copied, timeout=60).status_code == 401


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("", "The request has no token"),
        *((text, "its checksum does not match.") for text in ("nonsense", "a\x00b", "ü", "x" * 10_000)),
        (f"tms_{'0' * 30}{api_tokens._checksum('0' * 30)}", "The token is unknown: use another token."),
    ],
)
def test_a_wrong_token_is_told_in_one_sentence_and_sets_no_cookie(closed: Api, wrong: str, said: str) -> None:
    visit = Visit(closed.root)
    response = visit.login(wrong)
    assert response.status_code == 401
    assert said in response.text
    assert "Set-Cookie" not in response.headers
    assert visit.see("/runs/x").status_code == 401


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
        "evil.example", "///evil.example", "/\t/evil.example", "/x\r\nSet-Cookie: a=b", "/login", "", "/ü",
        "/" + "x" * 5000, "http:/evil", "/%2e\x00",
    ],
)  # fmt: skip
def test_a_login_leads_nowhere_else(closed: Api, to: str) -> None:
    visit = Visit(closed.root)
    assert visit.login(closed.token, to).headers["Location"] == "/"


def test_the_cookie_is_opaque_kept_as_a_hash_and_out_of_reach_of_scripts(closed: Api) -> None:
    visit = Visit(closed.root)
    response = visit.login(closed.token)
    name, _, value = response.headers["Set-Cookie"].partition(";")[0].partition("=")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(response.headers["Set-Cookie"].split("; "))
    assert name == "tms"
    assert len(value) >= 43
    assert value not in (closed.token, api_tokens.hash_token(closed.token))
    for file in filter(Path.is_file, closed.data_dir.rglob("*")):
        assert value.encode() not in file.read_bytes(), file
    assert value != Visit(closed.root).login(closed.token).headers["Set-Cookie"].split("=")[1].split(";")[0]


def test_a_cookie_that_somebody_planted_is_not_logged_in_by_its_victim(closed: Api) -> None:
    visit = Visit(closed.root)
    visit.session.cookies.set("tms", "planted", domain="127.0.0.1")
    assert visit.login(closed.token).status_code == 303
    planted = requests.get(f"{closed.root}/runs/x", cookies={"tms": "planted"}, timeout=60)
    assert planted.status_code == 401


def test_a_login_ends_at_once_with_its_token(closed: Api) -> None:
    text, visit = stored(closed), Visit(closed.root)
    assert visit.login(text).status_code == 303
    assert visit.see("/runs/x").status_code == 404
    with written(closed) as connection:
        found = tokens.find(connection, api_tokens.hash_token(text))
        assert found
        tokens.revoke(connection, found.id, clock.now())
    assert visit.see("/runs/x").status_code == 401
    assert visit.login(text).status_code == 401
    assert visit.login(stored(closed, expires_at=clock.now() - 1)).status_code == 401


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["postgresql"], indirect=True)
def test_a_login_and_a_logout_hold_on_every_replica(closed: Api, tmp_path: Path) -> None:
    key = (closed.data_dir / "secrets.key").read_text().strip()
    with running(tmp_path / "data", *closed.database, options=BEYOND, TMS_SERVER_KEYS=key) as replica:
        visit = Visit(closed.root)
        visit.login(closed.token)
        visit.root = replica.root
        assert visit.see("/runs/x").status_code == 404
        visit.send("/logout")
        visit.root = closed.root
        assert visit.see("/runs/x").status_code == 401


@pytest.mark.parametrize(
    ("scope", "opens"),
    [
        ("executions:read", {"/", "/runs/{}", "/runs/{}/events", "/runs/{}/files"}),
        ("executions:write", {"/runs/{}/cancel"}),
        ("webhooks:write", {"/webhooks", "/webhooks/wh_nope"}),
        ("admin", PAGES),
    ],
)
def test_a_page_needs_its_scope(closed: Api, scope: str, opens: set[str]) -> None:
    execution_id = closed.create()["executionId"]
    visit = Visit(closed.root)
    visit.login(stored(closed, scope))
    for path in PAGES:
        response = visit.see(path.format(execution_id))
        assert (response.status_code == 403) is (path not in opens), path
        assert ("lacks the scope" in response.text) is (path not in opens), path


def test_an_action_needs_its_scope(closed: Api) -> None:
    execution = closed.create()
    report, cancel = f"/runs/{execution['executionId']}", f"/runs/{execution['executionId']}/cancel"
    visit = Visit(closed.root)
    visit.login(stored(closed, "executions:read"))
    assert cancel not in visit.see(report).text
    assert "/webhooks" not in visit.see(report).text
    for path in (cancel, *(f"/webhooks/wh_nope/{action}" for action in ("replay", "pause", "activate"))):
        assert visit.send(path).status_code == 403, path
    assert closed.status(execution)["status"] == "created"
    visit.login(closed.token)
    assert cancel in visit.see(report).text
    visit.see(cancel)
    assert visit.send(cancel).headers["Location"] == report
    assert closed.status(execution)["status"] == "cancelled"
    assert cancel not in visit.see(report).text
    assert visit.see(cancel).url.endswith(report)


def test_a_token_that_is_bound_to_environments_shows_no_others(closed: Api) -> None:
    mine, other = closed.create(environment="staging"), closed.create(environment="dev")
    hooks = [
        expect_success(
            closed.request(
                "POST",
                "/webhooks",
                {
                    "url": f"https://{name}.example/x",
                    "events": ["execution.failed"],
                    "filters": {"environments": [name]},
                },
            ),
            201,
        )["webhookId"]
        for name in ("staging", "dev")
    ]
    visit = Visit(closed.root)
    visit.login(stored(closed, environments=("staging",)))
    for path in ("/runs/{}", "/runs/{}/events", "/runs/{}/files", "/runs/{}/cancel"):
        assert visit.see(path.format(mine["executionId"])).status_code == 200, path
        assert visit.see(path.format(other["executionId"])).status_code == 403, path
    assert visit.see(f"/webhooks/{hooks[0]}").status_code == 200
    assert visit.see(f"/webhooks/{hooks[1]}").status_code == 403
    listed = visit.see("/").text
    assert mine["executionId"] in listed
    assert other["executionId"] not in listed
    listed = visit.see("/webhooks").text
    assert hooks[0] in listed
    assert hooks[1] not in listed
    assert visit.send(f"/runs/{other['executionId']}/cancel").status_code == 403
    assert visit.send(f"/webhooks/{hooks[1]}/pause").status_code == 403
    assert closed.status(other)["status"] == "created"


def test_what_visitors_do_stands_in_the_audit_log_with_their_token(closed: Api) -> None:
    execution = closed.create()
    visit = Visit(closed.root)
    visit.login(closed.token)
    visit.see("/")
    visit.send(f"/runs/{execution['executionId']}/cancel")
    with written(closed) as connection:
        me = tokens.find(connection, api_tokens.hash_token(closed.token))
        entries, _ = audit.page(connection, limit=50)
    assert me
    done = next(entry for entry in entries if entry.action == "execution.cancelled")
    assert (done.target, done.actor.id, done.actor.address) == (execution["executionId"], me.id, "127.0.0.1")


def test_wrong_tokens_are_bounded(tmp_path: Path) -> None:
    rates = {"TMS_SERVER_RATE_LIMITS": "logins=3/hour"}
    with running(tmp_path / "data", options=BEYOND, **rates) as api:
        right, wrong = Visit(api.root), Visit(api.root)
        for _ in range(5):  # right ones cost nothing
            assert right.login(api.token).status_code == 303
            right.see("/")
            right.send("/logout")
        statuses = [wrong.login(api_tokens.new_text()).status_code for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        response = right.login(api.token)
        assert response.status_code == 429
        assert int(response.headers["Retry-After"]) > 3000
        assert "Too many requests" in response.text


def test_what_has_ended_is_not_cancelled(closed: Api) -> None:
    execution = closed.create()
    closed.send(execution, "execution.completed")
    visit = Visit(closed.root)
    visit.login(closed.token)
    visit.see("/")
    response = visit.send(f"/runs/{execution['executionId']}/cancel")
    assert response.status_code == 409
    assert "The execution is completed and cannot be cancelled: none of its shards still" in response.text


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({"csrf_token": ""}, {}),
        ({"csrf_token": "0" * 64}, {}),
        ({"csrf_token": "ü"}, {}),
        ({}, {"Origin": "https://evil.example"}),
        ({}, {"Origin": "null"}),
        ({}, {"Origin": "http://["}),
        ({}, {"Origin": "http://127.0.0.1:1"}),
        ({}, {"Sec-Fetch-Site": "cross-site"}),
        ({}, {"Sec-Fetch-Site": "same-site"}),
        ({}, {"Content-Type": "text/plain"}),
        ({}, {"Content-Type": "multipart/form-data"}),
        ({str(n): "x" for n in range(30)}, {}),
    ],
)
def test_a_form_that_another_page_sends_does_nothing(
    closed: Api, fields: dict[str, str], headers: dict[str, str]
) -> None:
    visit = Visit(closed.root)
    visit.login(closed.token)
    visit.see("/runs/x")
    if "Content-Type" in headers:  # what a form of another site may say, without asking first
        fields = {"csrf_token": "0" * 64}
    assert visit.send("/logout", headers, **fields).status_code == 403
    assert visit.see("/runs/x").status_code == 404  # is logged in still


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "{root}"}])
def test_a_form_of_our_own_page_is_taken(closed: Api, headers: dict[str, str]) -> None:
    visit = Visit(closed.root)
    visit.login(closed.token)
    visit.see("/runs/x")
    own = {name: value.format(root=closed.root) for name, value in headers.items()}
    assert visit.send("/logout", own).status_code == 303


def test_the_csrf_token_of_one_visit_is_none_for_another(closed: Api) -> None:
    one, other = Visit(closed.root), Visit(closed.root)
    one.login(closed.token)
    other.login(closed.token)
    one.see("/runs/x")
    other.csrf_token = one.csrf_token
    assert other.send("/logout").status_code == 403


def test_calls_with_a_token_are_taken_from_anywhere(closed: Api) -> None:
    for headers in ({"Origin": "https://app.example"}, {"Sec_Fetch_Site": "cross-site"}):
        body = {"testSuite": "all", "environment": "dev"}
        assert closed.request("POST", "/executions", body, **headers).status_code == 201


def test_behind_a_proxy_with_tls_pages_are_closed_and_the_cookie_is_for_https_alone(
    start: Serve, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start(tmp_path, "--port", str(port), "--public-url", "https://tms.example")
    root, proxied = f"http://127.0.0.1:{port}", {"Host": "tms.example"}
    wait_for(lambda: responds(f"{root}/api"))
    form = requests.get(f"{root}/runs/x", headers=proxied, timeout=60)
    assert form.status_code == 401
    cookie, _, attributes = form.headers["Set-Cookie"].partition("; ")
    assert cookie.startswith("__Host-tms=")
    assert "Secure" in attributes.split("; ")
    assert "Domain" not in attributes
    fields = {"csrf_token": re.findall(r'name="csrf_token" value="(\w+)"', form.text)[0], "to": "/runs/x"}
    fields["token"] = first_token(tmp_path)
    sent = {**proxied, "Cookie": cookie, "Origin": "https://tms.example"}
    done = requests.post(f"{root}/login", fields, headers=sent, allow_redirects=False, timeout=60)
    assert done.status_code == 303
    logged_in = {**proxied, "Cookie": done.headers["Set-Cookie"].partition("; ")[0]}
    assert requests.get(f"{root}/runs/x", headers=logged_in, timeout=60).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 404),
        ({"Host": "localhost"}, 404),
        ({"Host": "evil.example"}, 403),  # a name that was pointed at this machine after its page was loaded
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
    ],
)
def test_the_local_server_is_open_under_its_own_name_alone(
    sqlite_api: Api, headers: dict[str, str], status: int
) -> None:
    assert Visit(sqlite_api.root).see("/runs/x", headers).status_code == status


FORWARDING = [
    "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-By", "X-Forwarded-Port",
    "X-Forwarded-Server", "X-Forwarded", "Forwarded-For", "X-Real-IP", "X-RealIP", "Via", "CF-Connecting-IP", "CF-Ray",
    "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "Client-IP", "Fastly-Client-IP", "Fly-Client-IP",
    "X-Original-Forwarded-For", "X-Original-Host", "X-Original-URL", "X-Envoy-External-Address", "X-Amzn-Trace-Id",
    "X-Azure-ClientIP", "X-Azure-SocketIP", "X-ARR-LOG-ID", "X-Appengine-User-IP", "X-ProxyUser-Ip", "X-Remote-IP",
    "X-Remote-Addr", "X-Originating-IP", "WL-Proxy-Client-IP", "Proxy-Client-IP", "X-Host", "X_Forwarded_For",
    "x-forwarded-for", "X-Cloud-Trace-Context", "X-Scheme", "X-URL-Scheme", "X-Peer-IP", "CDN-Loop",
]  # fmt: skip


@pytest.mark.parametrize("name", FORWARDING)
def test_what_a_proxy_passed_on_needs_a_login_even_under_a_local_name(sqlite_api: Api, name: str) -> None:
    forwarded = {name: "127.0.0.1"}
    execution = sqlite_api.create()
    visit = Visit(sqlite_api.root)
    for path in PAGES:
        response = visit.see(path.format(execution["executionId"]), forwarded)
        assert (response.status_code, LOGIN in response.text) == (401, True), path
    visit.see(
        f"/runs/{execution['executionId']}/cancel"
    )  # the csrf_token of a form, as the machine's own user has it
    assert visit.send(f"/runs/{execution['executionId']}/cancel", forwarded).status_code == 401
    assert sqlite_api.status(execution)["status"] == "created"


def test_a_login_through_a_proxy_opens_the_pages_of_a_local_server(sqlite_api: Api) -> None:
    visit = Visit(sqlite_api.root)
    visit.session.headers["X-Forwarded-For"] = "203.0.113.9"
    assert visit.login(stored(sqlite_api, "admin")).status_code == 303
    assert visit.see("/audit").status_code == 200
    visit.send("/logout")
    assert visit.see("/audit").status_code == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize(("version", "status"), [("1.0", b"401"), ("1.1", b"200")])
def test_a_page_that_is_asked_for_by_http_1_0_needs_a_login_for_only_proxies_do_so(
    sqlite_api: Api, host: str, version: str, status: bytes
) -> None:
    port = int(sqlite_api.root.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        asked = f"GET /audit HTTP/{version}\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        connection.sendall(asked.encode())
        assert connection.makefile("rb").readline().split()[1] == status


AS_NOBODY = """
import os, socket, sys
port = int(sys.argv[1])
os.setuid(65534)
connection = socket.socket()
connection.connect((b"127.0.0.1", port))
connection.sendall(b"GET /audit HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n")
print(connection.recv(100).split()[1].decode())
"""


@pytest.mark.skipif(os.getuid() != 0 or not Path("/proc/net/tcp").exists(), reason="needs root, and Linux")
def test_a_local_process_of_another_user_as_a_proxy_is_needs_a_login(sqlite_api: Api) -> None:
    command = [sys.executable, "-c", AS_NOBODY, sqlite_api.root.rpartition(":")[2]]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "401\n"
    assert sqlite_api.page("/audit").status_code == 200


def test_a_named_proxy_means_that_others_reach_the_pages(tmp_path: Path) -> None:
    with running(tmp_path / "data", TMS_SERVER_TRUSTED_PROXIES="10.0.0.5") as api:
        assert api.page("/").status_code == 401


@pytest.mark.parametrize(
    ("client", "headers", "is_ours"),
    [
        (("127.0.0.1", 1), {"Host": "127.0.0.1:8765"}, True),
        (("::1", 1), {"Host": "[::1]:8765"}, True),
        (("::ffff:127.0.0.1", 1), {"Host": "LOCALHOST"}, True),
        (("127.0.0.1", 1), {"Host": "tms.example"}, False),
        (("127.0.0.1", 1), {"Host": "localhost.example"}, False),
        (("127.0.0.1", 1), {}, False),
        (("10.0.0.1", 1), {"Host": "127.0.0.1"}, False),
        (("nonsense", 1), {"Host": "127.0.0.1"}, False),
        (None, {"Host": "127.0.0.1"}, False),  # a Unix socket
    ],
)
def test_only_a_browser_of_this_machine_that_asks_directly_needs_no_login(
    client: tuple[str, int] | None, headers: dict[str, str], is_ours: bool
) -> None:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "client": client, "headers": raw, "http_version": "1.1"}
    assert is_direct(ASGIConnection(scope)) is is_ours  # type: ignore[arg-type]  # parts of a scope


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
@pytest.mark.parametrize("path", ["/logout", "/api/executions"])
def test_the_local_server_takes_nothing_that_another_site_sends(
    sqlite_api: Api, path: str, headers: dict[str, str]
) -> None:
    response = Visit(sqlite_api.root).send(path, headers)
    assert response.status_code == 403
    assert "another site" in response.text
    assert "TMS_SERVER_PUBLIC_URL" in response.text


def test_an_unknown_host_is_refused_with_what_the_operator_of_a_proxy_sets(sqlite_api: Api) -> None:
    response = Visit(sqlite_api.root).see("/api/", {"Host": "tms"})
    assert response.status_code == 403
    for part in ("not named 'tms'", "TMS_SERVER_PUBLIC_URL", "proxy_set_header Host"):
        assert part in response.json()["error"]["message"]


def test_the_operator_of_a_proxy_is_told_once_that_links_do_not_lead_to_it(tmp_path: Path) -> None:
    with running(tmp_path / "data") as api:
        api.create()
        assert "TMS_SERVER_PUBLIC_URL" not in api.output()
        body = {"testSuite": "all", "environment": "dev"}
        for _ in range(2):
            expect_success(api.request("POST", "/executions", body, X_Forwarded_For="203.0.113.9"), 201)
        (line,) = [line for line in api.output().splitlines() if "TMS_SERVER_PUBLIC_URL" in line]
        assert f"links lead to {api.root}" in line


@pytest.mark.parametrize(
    ("host", "public_url", "asks"),
    [
        ("127.0.0.1", "", False),
        ("::1", "", False),
        ("localhost", "http://localhost:8765", False),
        ("127.0.0.1", "https://tms.example", True),
        ("0.0.0.0", "", True),
        ("0.0.0.0", "http://127.0.0.1:8765", True),
        ("::", "", True),
        ("10.0.0.1", "", True),
        ("tms.example", "", True),
    ],
)
def test_pages_ask_for_a_login_where_others_reach_them(host: str, public_url: str, asks: bool) -> None:
    assert ServerSettings(host=host, public_url=public_url).requires_login is asks
