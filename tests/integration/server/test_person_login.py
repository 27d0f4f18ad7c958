"""Logins of people at an OpenID provider: what each role may do, and every response of the provider that is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests

from pytest_tms.server.domain import clock
from pytest_tms.server.domain.api_tokens import hash_token
from pytest_tms.server.services.page_sessions import PERSON_DURATION
from pytest_tms.server.store import audit
from pytest_tms.server.store.database import Database
from tests.helpers.api import KEY, Api, expect_success, upgraded_database
from tests.helpers.issuer import Issuer, SigningKey, issuing
from tests.helpers.oidc_login import CLIENT, ROLES, SECRET, Provider, logging_in
from tests.helpers.ports import free_port
from tests.helpers.processes import run_tms

PEOPLE: dict[str, dict[str, Any]] = {
    "viewer": {"name": "Eve <b>", "email": "eve@example.com", "groups": ["staff", "x"]},
    "member": {"name": "Bob", "email": "bob@example.com", "groups": "developers"},
    "admin": {"name": "Ada", "email": "ada@example.com", "groups": ["staff", "tms-admins"]},
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture(scope="module", params=["one process", "two workers"])
def site(
    issuer: Issuer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Api]:
    options = ["--workers", "2"] if request.param == "two workers" else []
    with logging_in(tmp_path_factory.mktemp("site") / "data", issuer.url, *options) as api:
        yield api


@pytest.fixture
def provider(issuer: Issuer) -> Iterator[Provider]:
    issuer.is_available = True
    made = Provider(issuer, person={"sub": "42", **PEOPLE["viewer"]})
    yield made
    assert made.problems == []


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def log_in(site: Api, browser: requests.Session, to: str = "/") -> requests.Response:
    return browser.get(f"{site.root}/login/provider", params={"to": to}, timeout=60)


def entries(site: Api) -> list[audit.AuditEntry]:
    database = Database(f"sqlite:///{site.data_dir / 'tms.sqlite3'}")
    with database.read() as connection:
        found, _ = audit.page(connection, limit=20)
    database.close()
    return found


def test_the_login_page_leads_to_the_provider_and_back(
    site: Api, provider: Provider, browser: requests.Session
) -> None:
    opened = browser.get(f"{site.root}/tests?q=x", timeout=60)
    assert opened.status_code == 401
    link = f'href="/login/provider?to=/tests%3Fq%3Dx">Log in with {urlsplit(provider.issuer.url).netloc}<'
    assert link in opened.text
    response = log_in(site, browser, "/tests?q=x")
    assert (response.status_code, urlsplit(response.url).path) == (200, "/tests")
    assert "Eve &lt;b&gt; &lt;eve@example.com&gt;" in response.text
    cookie = next(each for each in browser.cookies if each.name == "tms")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert abs((cookie.expires or 0) - time.time() - PERSON_DURATION) < 60
    assert "tms-login" not in browser.cookies


@pytest.mark.parametrize("role", PEOPLE)
def test_each_role_may_do_what_it_is_for(
    site: Api, provider: Provider, browser: requests.Session, role: str
) -> None:
    provider.person = {"sub": f"the {role}", **PEOPLE[role]}
    log_in(site, browser)
    pages = {
        path: browser.get(site.root + path, timeout=60) for path in ("/", "/webhooks", "/tokens", "/audit")
    }
    permitted = {path for path, response in pages.items() if response.status_code == 200}
    assert (
        permitted
        == {
            "viewer": {"/"},
            "member": {"/", "/webhooks"},
            "admin": {"/", "/webhooks", "/tokens", "/audit"},
        }[role]
    )
    refused = next((response for response in pages.values() if response.status_code == 403), None)
    assert refused is None or "Your role does not permit this" in refused.text


def test_a_member_changes_what_a_viewer_may_not_and_the_log_names_the_person(
    site: Api, provider: Provider, browser: requests.Session
) -> None:
    run = site.create()["executionId"]
    statuses = []
    for role in ("viewer", "member"):
        provider.person = {"sub": f"the {role}", **PEOPLE[role]}
        log_in(site, browser)
        form = browser.get(f"{site.root}/runs/{run}/cancel", timeout=60)
        token = form.text.partition('name="csrf_token" value="')[2].partition('"')[0]
        sent = browser.post(f"{site.root}/runs/{run}/cancel", data={"csrf_token": token}, timeout=60)
        statuses.append((form.status_code, sent.status_code))
    assert statuses == [(403, 403), (200, 200)]
    found = entries(site)
    cancelled = next(each for each in found if each.action == "execution.cancelled")
    started = next(each for each in found if each.action == "login.succeeded")
    assert cancelled.actor.name == "Bob <bob@example.com>"
    assert cancelled.actor.id == started.actor.id == started.target
    assert started.actor.id.startswith("user_")
    assert started.details == {
        "issuer": provider.issuer.url,
        "subject": "the member",
        "email": "bob@example.com",
        "role": "member",
    }


def test_an_operator_lists_and_ends_the_logins_of_a_person(
    site: Api, provider: Provider, browser: requests.Session
) -> None:
    provider.person = {"sub": "leaves", **PEOPLE["member"]}
    other = requests.Session()
    for session in (browser, other):
        log_in(site, session)
    options = ("--data-dir", str(site.data_dir))
    listed = json.loads(run_tms("login", "list", "--json", *options).stdout)
    own = [each for each in listed if each["name"] == "Bob <bob@example.com>" and each["role"] == "member"]
    user_id = own[0]["id"]
    assert user_id in run_tms("login", "list", *options).stdout
    ended = run_tms("login", "end", user_id, *options)
    assert ended.stdout == f"2 logins of {user_id} ended\n"
    assert [session.get(f"{site.root}/", timeout=60).status_code for session in (browser, other)] == [
        401,
        401,
    ]
    assert (entries(site)[0].action, entries(site)[0].target) == ("login.ended", user_id)
    again = run_tms("login", "end", user_id, *options)
    assert again.returncode == 1
    assert f"{user_id} is not logged in" in again.stderr
    log_in(site, browser)
    assert browser.get(f"{site.root}/", timeout=60).status_code == 200
    other.close()


def test_people_and_ci_jobs_log_in_with_postgresql(
    issuer: Issuer, provider: Provider, tmp_path: Path, browser: requests.Session
) -> None:
    rules = tmp_path / "trusted.toml"
    rules.write_text(
        f'[[rule]]\nissuer = "{issuer.url}"\naudience = "tms"\nclaims = {{ repository = "acme/shop" }}\n'
    )
    with upgraded_database() as url:
        database = ("--database-url", url)
        settings: Any = {"TMS_SERVER_TRUSTED_ISSUERS": str(rules), "TMS_SERVER_KEYS": KEY}
        with logging_in(tmp_path / "data", issuer.url, database=database, **settings) as api:
            assert log_in(api, browser).status_code == 200
            id_token = issuer.token("tms", repository="acme/shop")
            sent = api.request("POST", "/auth/token", {"idToken": id_token}, token="")
            issued = expect_success(sent, 201)
            body = {"testSuite": "all", "environment": "dev"}
            expect_success(api.request("POST", "/executions", body, token=issued["token"]), 201)
            listed = json.loads(
                run_tms("login", "list", "--json", "--data-dir", str(api.data_dir), *database).stdout
            )
            assert [each["role"] for each in listed] == ["viewer"]
            ended = run_tms("login", "end", listed[0]["id"], "--data-dir", str(api.data_dir), *database)
            assert ended.returncode == 0, ended.stderr
            assert browser.get(f"{api.root}/", timeout=60).status_code == 401


def test_logout_ends_the_session_on_the_server(
    site: Api, provider: Provider, browser: requests.Session
) -> None:
    page = log_in(site, browser)
    token = page.text.partition('name="csrf_token" value="')[2].partition('"')[0]
    key = browser.cookies["tms"]
    left = browser.post(f"{site.root}/logout", data={"csrf_token": token}, timeout=60)
    assert urlsplit(left.url).path == "/login"
    copied = requests.get(f"{site.root}/", cookies={"tms": key}, timeout=60)
    assert copied.status_code == 401


def test_a_session_ends_after_hours_and_with_its_provider(
    site: Api, provider: Provider, browser: requests.Session
) -> None:
    from pytest_tms.server.services.page_sessions import session_token
    from pytest_tms.server.store import tables

    log_in(site, browser)
    key = browser.cookies["tms"]
    database = Database(f"sqlite:///{site.data_dir / 'tms.sqlite3'}")
    issuer = provider.issuer.url
    found = session_token(database, key, issuer)
    assert found is not None
    assert found.scopes == ("executions:read",)
    assert session_token(database, key, "") is None
    assert session_token(database, key, "https://other.example.com") is None
    with database.write() as connection:
        row = tables.sessions.c
        own = tables.sessions.update().where(row.hash == hash_token(key))
        connection.execute(own.values(role="owner"))
    unknown = session_token(database, key, issuer)
    assert unknown is not None
    assert unknown.scopes == ()
    with database.write() as connection:
        connection.execute(own.values(expires_at=clock.now()))
    assert session_token(database, key, issuer) is None
    database.close()
    assert browser.get(f"{site.root}/", timeout=60).status_code == 401


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["others"]}, None),
        ({"groups": []}, None),
        ({"groups": None}, None),
        ({"groups": {"staff": True}}, None),
        ({"groups": "Staff"}, None),
        ({"roles": ["staff"], "groups": None}, None),
        ({"groups": ["others", "staff"]}, "viewer"),
    ],
)
def test_a_person_without_a_mapped_role_is_refused(
    site: Api, provider: Provider, browser: requests.Session, claims: dict[str, Any], role: str | None
) -> None:
    provider.claims = claims
    response = log_in(site, browser)
    if role:
        assert response.status_code == 200
        return
    assert response.status_code == 403
    assert "Eve &lt;b&gt; &lt;eve@example.com&gt; has no role here" in response.text
    assert "no value of the claim groups" in response.text
    assert browser.get(f"{site.root}/", timeout=60).status_code == 401


def forged(provider: Provider, kind: str) -> None:
    """Make the provider return an invalid response."""
    now, key = int(time.time()), provider.issuer.keys[-1]
    claims = provider.issuer.claims(CLIENT, **provider.person)
    changes: dict[str, dict[str, Any]] = {
        "another audience": {"aud": "other"},
        "a further audience": {"aud": [CLIENT, "other"]},
        "another authorized party": {"azp": "other"},
        "another issuer": {"iss": "https://other.example.com"},
        "expired": {"exp": now - 61},
        "no expiry": {"exp": None},
        "issued in the future": {"iat": now + 120},
        "another nonce": {"nonce": "x"},
        "no nonce": {"nonce": None},
        "a nonce that is no text": {"nonce": ["x"]},
        "no subject": {"sub": None},
    }
    if kind in changes:
        provider.claims = changes[kind]
    elif kind == "another key":
        provider.key = SigningKey(key.key_id)
    elif kind == "alg none":
        provider.raw_token = jwt.encode(claims, "", "none", headers={"kid": key.key_id})
    elif kind == "no key id":
        provider.raw_token = jwt.encode(claims, key.private, "RS256")
    else:
        provider.raw_token = kind


@pytest.mark.parametrize(
    "kind",
    [
        "another audience",
        "a further audience",
        "another authorized party",
        "another issuer",
        "expired",
        "no expiry",
        "issued in the future",
        "another nonce",
        "no nonce",
        "a nonce that is no text",
        "no subject",
        "another key",
        "alg none",
        "no key id",
        "not a token",
    ],
)
def test_a_forged_id_token_logs_nobody_in(
    site: Api, provider: Provider, browser: requests.Session, kind: str
) -> None:
    forged(provider, kind)
    response = log_in(site, browser)
    assert response.status_code == 401
    assert 'role="alert"' in response.text
    assert "The ID token" in response.text
    assert browser.get(f"{site.root}/", timeout=60).status_code == 401


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"state": "x"}, "response belongs to another login"),
        ({"state": "LEFT OUT"}, "response belongs to another login"),
        ({"iss": "https://other.example.com"}, "response is from another provider"),
        ({"code": "x"}, "does not accept the code"),
        ({"code": "LEFT OUT"}, "sent no code"),
        ({"code": "x" * 5000}, "sent no code"),
        ({"error": "access_denied<b>"}, "refused the login (access_deniedb)"),
    ],
)
def test_another_response_of_the_provider_is_refused(
    site: Api, provider: Provider, browser: requests.Session, parameters: dict[str, str], message: str
) -> None:
    provider.response = parameters
    response = log_in(site, browser)
    assert response.status_code == 401
    assert message in response.text


def test_a_response_of_the_provider_counts_once_and_in_the_browser_that_began_the_login(
    site: Api, provider: Provider, browser: requests.Session
) -> None:
    response = log_in(site, browser)
    callback = next(each.url for each in response.history if "/login/callback" in each.url)
    assert parse_qs(urlsplit(callback).query)["code"]
    for session in (browser, requests.Session()):
        again = session.get(callback, timeout=60)
        assert again.status_code == 401
        assert "began in another browser" in again.text


@pytest.mark.parametrize("cookie", ["", "x", "gAAAAAB" + "x" * 200, "\xff"])
def test_a_forged_cookie_is_refused(site: Api, provider: Provider, cookie: str) -> None:
    response = requests.get(
        f"{site.root}/login/callback?code=a&state=b", headers={"Cookie": f"tms-login={cookie}"}, timeout=60
    )
    assert response.status_code == 401


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example/", "/\\evil.example", "/login/provider"]
)
def test_a_login_leads_to_this_site_alone(
    site: Api, provider: Provider, browser: requests.Session, to: str
) -> None:
    assert log_in(site, browser, to).url == f"{site.root}/"


def test_a_key_of_the_session_from_before_the_login_is_not_used(
    site: Api, provider: Provider, browser: requests.Session
) -> None:
    browser.cookies.set("tms", "chosen-by-somebody-else", domain="127.0.0.1")
    log_in(site, browser)
    assert (
        requests.get(f"{site.root}/", cookies={"tms": "chosen-by-somebody-else"}, timeout=60).status_code
        == 401
    )


def test_api_calls_need_an_api_token(site: Api, provider: Provider, browser: requests.Session) -> None:
    log_in(site, browser)
    assert browser.get(f"{site.url}/executions", timeout=60).status_code == 401


def test_a_token_still_logs_in(site: Api, provider: Provider, browser: requests.Session) -> None:
    page = browser.get(f"{site.root}/login", timeout=60)
    assert "Or with an API token" in page.text
    token = page.text.partition('name="csrf_token" value="')[2].partition('"')[0]
    form = {"csrf_token": token, "token": "wrong", "to": "/tests"}
    wrong = browser.post(f"{site.root}/login", data=form, timeout=60)
    assert wrong.status_code == 401
    assert wrong.text.count('role="alert"') == 1
    response = browser.post(f"{site.root}/login", data={**form, "token": site.token}, timeout=60)
    assert urlsplit(response.url).path == "/tests"
    assert browser.get(f"{site.root}/webhooks", timeout=60).status_code == 200


@pytest.mark.parametrize("status", [401, 500])
def test_a_provider_that_refuses_the_server_gives_a_page_with_the_reason(
    site: Api, provider: Provider, browser: requests.Session, status: int
) -> None:
    provider.token_status = status
    response = log_in(site, browser)
    assert response.status_code == 503
    assert f"The OpenID provider {provider.issuer.url} cannot be used" in response.text
    assert "log in with an API token" in response.text
    assert "Traceback" not in site.output()


def test_a_provider_that_is_down_gives_a_page_with_the_reason(
    tmp_path: Path, browser: requests.Session
) -> None:
    issuer = f"http://127.0.0.1:{free_port()}"
    with logging_in(tmp_path / "data", issuer) as api:
        for path in ("/login/provider", "/login/callback"):
            response = browser.get(api.root + path, timeout=60)
            expected = 503 if path == "/login/provider" else 401
            assert response.status_code == expected
        response = browser.get(f"{api.root}/login/provider", timeout=60)
        assert "the connection is refused. Try again later, or log in with an API token." in response.text
        assert 'id="token"' in response.text
        assert response.headers["Retry-After"]
        assert "Traceback" not in response.text + api.output()
        assert browser.get(f"{api.root}/", timeout=60).status_code == 401


def test_a_secret_may_be_in_a_file(
    issuer: Issuer, provider: Provider, tmp_path: Path, browser: requests.Session
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    settings: Any = {"TMS_SERVER_OIDC_CLIENT_SECRET": "", "TMS_SERVER_OIDC_CLIENT_SECRET_FILE": str(file)}
    with logging_in(tmp_path / "data", issuer.url, **settings) as api:
        assert log_in(api, browser).status_code == 200
        file.unlink()
        other = requests.Session()
        response = log_in(api, other)
        assert response.status_code == 503
        assert "No such file" in response.text
        assert SECRET not in api.output()


def test_a_server_without_a_provider_has_no_such_login(sqlite_api: Api) -> None:
    for path in ("/login/provider", "/login/callback"):
        assert sqlite_api.page(path).status_code == 404
    assert "Log in with" not in sqlite_api.page("/login").text


GOOD = {
    "TMS_SERVER_OIDC_ISSUER": "https://id.example.com",
    "TMS_SERVER_OIDC_CLIENT_ID": CLIENT,
    "TMS_SERVER_OIDC_ROLES": ROLES,
    "TMS_SERVER_PUBLIC_URL": "https://tms.example.com",
}


def test_commands_that_use_the_database_do_not_need_the_public_url(tmp_path: Path) -> None:
    rules = tmp_path / "trusted.toml"
    rules.write_text('[[rule]]\nissuer = "https://ci.example.com"\nclaims = { project = "1" }\n')
    environ = {**GOOD, "TMS_SERVER_PUBLIC_URL": "", "TMS_SERVER_TRUSTED_ISSUERS": str(rules)}
    upgraded = run_tms("db", "upgrade", "--data-dir", str(tmp_path), **environ)
    assert upgraded.returncode == 0, upgraded.stderr
    listed = run_tms("token", "list", "--data-dir", str(tmp_path), **environ)
    assert listed.returncode == 0, listed.stderr
    started = run_tms(
        "serve", "--port", "0", "--data-dir", str(tmp_path), TMS_SERVER_TRUSTED_ISSUERS=str(rules)
    )
    assert started.returncode == 1
    assert "names no audience" in started.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TMS_SERVER_OIDC_ISSUER": ""}, "TMS_SERVER_OIDC_ISSUER is not set"),
        ({"TMS_SERVER_OIDC_ISSUER": "http://id.example.com"}, "has the issuer 'http://id.example.com'"),
        ({"TMS_SERVER_OIDC_CLIENT_ID": ""}, "needs TMS_SERVER_OIDC_CLIENT_ID"),
        ({"TMS_SERVER_OIDC_ROLES": ""}, "needs TMS_SERVER_OIDC_ROLES"),
        ({"TMS_SERVER_OIDC_ROLES": "owner=x"}, "'owner=x' is not a role with a value"),
        ({"TMS_SERVER_OIDC_ROLES": "admin="}, "'admin=' is not a role with a value"),
        ({"TMS_SERVER_OIDC_ROLES": ","}, "there is no role"),
        ({"TMS_SERVER_PUBLIC_URL": ""}, "needs TMS_SERVER_PUBLIC_URL"),
        ({"TMS_SERVER_OIDC_CLIENT_SECRET_FILE": "/nowhere"}, "/nowhere cannot be read"),
        ({"TMS_SERVER_OIDC_SCOPES": "profile"}, "needs the scope openid"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused_at_the_start(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    done = run_tms("serve", "--port", "0", "--data-dir", str(tmp_path), **{**GOOD, **changes})
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
