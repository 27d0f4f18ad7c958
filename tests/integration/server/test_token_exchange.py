"""CI jobs without a secret: the exchange of ID tokens of a real issuer for API tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from pytest_tms.errors import ApiError
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.services.expiry import JOB_TOKEN_RETENTION, delete_expired_job_tokens
from pytest_tms.server.services.openid import MAX_DOCUMENT, OpenIdProvider
from pytest_tms.server.store import audit, tables, tokens
from pytest_tms.server.store.database import Database
from tests.helpers.api import Api, expect_error, expect_success, running
from tests.helpers.issuer import Issuer, SigningKey, issuing
from tests.helpers.processes import run_tms

AUDIENCE = "http://tms.example.com"
RULES = """
[[rule]]
issuer = "{issuer}"
audience = "http://tms.example.com"
claims = {{ repository = "acme/shop", ref = ["refs/heads/main", "refs/heads/release/*"] }}
environments = ["staging"]
expires = "2h"

[[rule]]
issuer = "{issuer}"
audience = "http://tms.example.com"
claims = {{ repository = "acme/*", environment = "production" }}
scopes = ["executions:read"]
"""
JOB: dict[str, Any] = {"repository": "acme/shop", "ref": "refs/heads/main"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture(scope="module", params=["one process", "two workers"])
def trusting(
    issuer: Issuer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Api]:
    """A server that trusts jobs of one repository."""
    folder = tmp_path_factory.mktemp("trusting")
    rules = folder / "trusted.toml"
    rules.write_text(RULES.format(issuer=issuer.url))
    options = ["--workers", "2"] if request.param == "two workers" else []
    with running(folder / "data", options=options, TMS_SERVER_TRUSTED_ISSUERS=str(rules)) as api:
        yield api


def exchange(api: Api, id_token: object) -> Any:
    return api.request("POST", "/auth/token", {"idToken": id_token}, token="")


def test_a_job_gets_a_token_for_hours_with_the_permissions_of_its_rule(trusting: Api, issuer: Issuer) -> None:
    before = time.time()
    issued = expect_success(exchange(trusting, issuer.token(AUDIENCE, **JOB)), 201)
    assert issued["scopes"] == ["executions:read", "executions:write"]
    assert issued["environments"] == ["staging"]
    assert issued["name"] == "repo:acme/shop:ref:refs/heads/main"
    assert 7200 - (time.time() - before) - 2 <= issued["expiresIn"] <= 7200
    body = {"testSuite": "all", "environment": "staging"}
    expect_success(trusting.request("POST", "/executions", body, token=issued["token"]), 201)
    other = {**body, "environment": "dev"}
    expect_error(trusting.request("POST", "/executions", other, token=issued["token"]), 403)
    expect_error(trusting.request("GET", "/webhooks", token=issued["token"]), 403)


def test_a_second_rule_applies_if_the_first_does_not(trusting: Api, issuer: Issuer) -> None:
    job: dict[str, Any] = {"repository": "acme/other", "environment": "production", "sub": "x"}
    issued = expect_success(exchange(trusting, issuer.token(AUDIENCE, **job)), 201)
    assert (issued["scopes"], issued["environments"]) == (["executions:read"], [])


@pytest.mark.parametrize(
    ("job", "names"),
    [
        ({**JOB, "ref": "refs/heads/feature"}, "ref"),
        ({**JOB, "repository": "acme-evil/shop"}, "repository"),
        ({"repository": "acme/shopping"}, "environment"),
        ({**JOB, "ref": "refs/heads/main\nx"}, "ref"),
        ({**JOB, "ref": None}, "ref"),
    ],
)
def test_a_job_that_no_rule_matches_reads_which_claims_differ(
    trusting: Api, issuer: Issuer, job: dict[str, Any], names: str
) -> None:
    error = expect_error(exchange(trusting, issuer.token(AUDIENCE, **job)), 403)
    assert f": {names} of the closest rule does not match." in error["message"]
    assert "refs/heads/release" not in error["message"]
    assert "TMS_SERVER_TRUSTED_ISSUERS" in error["hint"]


def part(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def forged(issuer: Issuer, kind: str) -> str:
    """A token that no issuer may have signed, or that is not for this server."""
    good = issuer.token(AUDIENCE, **JOB)
    head, payload, signature = good.split(".")
    claims = issuer.claims(AUDIENCE, **JOB)
    key, now = issuer.keys[-1], int(time.time())
    stranger = SigningKey(key.key_id)
    by_hmac = f"{part({'alg': 'HS256', 'kid': key.key_id})}.{payload}"
    mac = hmac.digest(key.public_pem, by_hmac.encode(), hashlib.sha256)
    return {
        "alg none": f"{part({'alg': 'none', 'kid': key.key_id})}.{payload}.",
        "alg None in capitals": f"{part({'alg': 'NONE', 'kid': key.key_id})}.{payload}.",
        "no signature": f"{head}.{payload}.",
        "public key as secret": f"{by_hmac}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
        "another algorithm of the key": jwt.encode(claims, key.private, "PS256", headers={"kid": key.key_id}),
        "another key with its id": issuer.token(AUDIENCE, key=stranger, **JOB),
        "a key in its header": jwt.encode(
            claims, stranger.private, "RS256", headers={"kid": "mine", "jwk": stranger.public}
        ),
        "no key id": jwt.encode(claims, key.private, "RS256"),
        "changed claims": f"{head}.{part({**claims, 'repository': 'acme/other'})}.{signature}",
        "another audience": issuer.token("https://other.example.com", **JOB),
        "a further audience": issuer.token([AUDIENCE, "https://other.example.com"], **JOB),
        "no audience": issuer.token(None, **JOB),
        "expired": issuer.token(AUDIENCE, exp=now - 61, **JOB),
        "no expiry": issuer.token(AUDIENCE, exp=None, **JOB),
        "not yet valid": issuer.token(AUDIENCE, nbf=now + 120, **JOB),
        "issued in the future": issuer.token(AUDIENCE, iat=now + 120, **JOB),
        "no issue time": issuer.token(AUDIENCE, iat=None, **JOB),
        "no subject": issuer.token(AUDIENCE, sub=None, **JOB),
        "another issuer": issuer.token(AUDIENCE, iss="https://token.actions.githubusercontent.com", **JOB),
        "no issuer": issuer.token(AUDIENCE, iss=None, **JOB),
        "an infinite expiry": f"{head}.{part({**claims, 'exp': 1e400})}.{signature}",
        "critical extension": jwt.encode(
            claims, key.private, "RS256", headers={"kid": key.key_id, "crit": ["x"], "x": 1}
        ),
        "huge": issuer.token(AUDIENCE, padding="x" * 16_000, **JOB),
        "no token": "tms_abc",
        "empty parts": "..",
        "deep": f"{head}.{base64.urlsafe_b64encode(b'[' * 9000).decode()}.{signature}",
    }[kind]


FORGERIES = [
    "alg none",
    "alg None in capitals",
    "no signature",
    "public key as secret",
    "another algorithm of the key",
    "another key with its id",
    "a key in its header",
    "no key id",
    "changed claims",
    "another audience",
    "a further audience",
    "no audience",
    "expired",
    "no expiry",
    "not yet valid",
    "issued in the future",
    "no issue time",
    "no subject",
    "another issuer",
    "no issuer",
    "an infinite expiry",
    "critical extension",
    "no token",
    "empty parts",
    "deep",
]


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_token_is_refused(trusting: Api, issuer: Issuer, kind: str) -> None:
    token = forged(issuer, kind)
    error = expect_error(exchange(trusting, token), 401)
    assert token not in error["message"]


def test_a_huge_token_is_refused(trusting: Api, issuer: Issuer) -> None:
    assert expect_error(exchange(trusting, forged(issuer, "huge")), 422)["details"][0]["field"] == "idToken"


def test_an_unknown_issuer_is_never_requested(trusting: Api, issuer: Issuer) -> None:
    with issuing() as other:
        error = expect_error(exchange(trusting, other.token(AUDIENCE, **JOB)), 401)
        assert other.url in error["message"]
        assert not other.requests


@pytest.mark.parametrize("id_token", [None, 7, "", [], {}])
def test_a_malformed_request_is_refused(trusting: Api, id_token: object) -> None:
    expect_error(exchange(trusting, id_token), 422)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.lists(st.binary(max_size=30), min_size=3, max_size=3))
def test_no_text_makes_the_server_fail(trusting: Api, text: str | list[bytes]) -> None:
    if not isinstance(text, str):
        text = ".".join(base64.urlsafe_b64encode(each).decode() for each in text)
    assert exchange(trusting, text).status_code in (401, 422)


CLAIM = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9), st.lists)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["iss", "aud", "sub", "exp", "iat", "nbf", "jti", "repository", "ref"]), value=CLAIM
)
def test_a_signed_token_with_any_claim_does_not_make_the_server_fail(
    trusting: Api, issuer: Issuer, name: str, value: Any
) -> None:
    key = issuer.keys[-1]
    payload = json.dumps({**issuer.claims(AUDIENCE, **JOB), name: value}).encode()
    token = jwt.PyJWS().encode(payload, key.private, key.algorithm, headers={"kid": key.key_id})
    response = exchange(trusting, token)
    assert response.status_code in (201, 401, 403, 422), response.text
    if name in ("repository", "ref"):
        assert response.status_code == 403 or value in ("refs/heads/main", "acme/shop")


def test_the_log_names_the_job_and_keeps_no_token(trusting: Api, issuer: Issuer) -> None:
    id_token = issuer.token(AUDIENCE, **JOB)
    issued = expect_success(exchange(trusting, id_token), 201)
    database = Database(f"sqlite:///{trusting.data_dir / 'tms.sqlite3'}")
    with database.read() as connection:
        entry = next(each for each in audit.page(connection, limit=50)[0] if each.target == issued["id"])
    database.close()
    assert (entry.action, entry.actor.id) == ("token.exchanged", "anyone")
    assert entry.details == {"issuer": issuer.url, "subject": "repo:acme/shop:ref:refs/heads/main"}
    stored = b"".join(path.read_bytes() for path in trusting.data_dir.glob("tms.sqlite3*"))
    assert issued["token"].encode() not in stored
    assert id_token.encode() not in stored
    assert id_token not in trusting.output()


def test_lists_of_tokens_leave_out_those_of_jobs(trusting: Api, issuer: Issuer) -> None:
    issued = expect_success(exchange(trusting, issuer.token(AUDIENCE, **JOB)), 201)
    options = ("--data-dir", str(trusting.data_dir))
    assert issued["id"] not in run_tms("token", "list", *options).stdout
    assert issued["id"] in run_tms("token", "list", "--jobs", *options).stdout
    assert run_tms("token", "revoke", issued["id"], *options).returncode == 0
    expect_error(trusting.request("GET", "/executions/x", token=issued["token"]), 401)


def test_a_server_without_rules_says_so(sqlite_api: Api, issuer: Issuer) -> None:
    error = expect_error(exchange(sqlite_api, issuer.token(AUDIENCE, **JOB)), 401)
    assert "accepts no ID tokens" in error["message"]
    assert "id-tokens" not in expect_success(sqlite_api.request("GET", "/"), 200)["capabilities"]


def test_a_server_with_rules_announces_it(trusting: Api) -> None:
    assert "id-tokens" in expect_success(trusting.request("GET", "/"), 200)["capabilities"]


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def own_issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


def test_a_new_key_is_found_and_an_old_one_is_refused(own_issuer: Issuer) -> None:
    clock = Clock()
    provider = OpenIdProvider(own_issuer.url, clock)
    old = own_issuer.keys[0]
    assert provider.verify(own_issuer.token(AUDIENCE), [AUDIENCE])["iss"] == own_issuer.url
    own_issuer.rotate(SigningKey("second", "ES256"))
    with pytest.raises(ApiError, match="a key that"):  # the keys were read a moment ago
        provider.verify(own_issuer.token(AUDIENCE), [AUDIENCE])
    clock.now += 31
    assert provider.verify(own_issuer.token(AUDIENCE), [AUDIENCE])["iss"] == own_issuer.url
    with pytest.raises(ApiError, match="a key that"):
        provider.verify(own_issuer.token(AUDIENCE, key=old), [AUDIENCE])


def test_unknown_keys_do_not_flood_the_issuer(own_issuer: Issuer) -> None:
    provider = OpenIdProvider(own_issuer.url, Clock())
    for number in range(20):
        with pytest.raises(ApiError, match="a key that"):
            provider.verify(own_issuer.token(AUDIENCE, key=SigningKey(f"k{number}", "ES256")), [AUDIENCE])
    assert own_issuer.requests["/keys"] == 1


def test_known_keys_are_used_for_a_day_while_the_issuer_is_down(own_issuer: Issuer) -> None:
    clock = Clock()
    provider = OpenIdProvider(own_issuer.url, clock)
    token = own_issuer.token(AUDIENCE, exp=int(time.time()) + 100_000)
    provider.verify(token, [AUDIENCE])
    own_issuer.is_available = False
    clock.now += 23 * 3600
    assert provider.verify(token, [AUDIENCE])
    clock.now += 3600
    with pytest.raises(ApiError, match="has the status 503") as caught:
        provider.verify(token, [AUDIENCE])
    assert caught.value.status == 503


@pytest.mark.parametrize(
    ("path", "document", "reason"),
    [
        ("/.well-known/openid-configuration", b"<html>", "is not an OpenID configuration"),
        ("/.well-known/openid-configuration", b"x" * (MAX_DOCUMENT + 1), "more than"),
        ("/keys", b"[]", "is not a set of keys"),
        ("/keys", {"keys": [7]}, "is not a set of keys"),
    ],
)
def test_documents_that_are_not_valid_make_the_issuer_unavailable(
    own_issuer: Issuer, path: str, document: object, reason: str
) -> None:
    own_issuer.paths[path] = lambda _handler, _query: (200, document)
    with pytest.raises(ApiError, match=reason) as caught:
        OpenIdProvider(own_issuer.url).verify(own_issuer.token(AUDIENCE), [AUDIENCE])
    assert caught.value.status == 503


def test_the_configuration_of_another_issuer_is_not_used(own_issuer: Issuer) -> None:
    own_issuer.configuration["issuer"] = "https://other.example.com"
    with pytest.raises(ApiError, match=r"is the configuration of 'https://other\.example\.com'"):
        OpenIdProvider(own_issuer.url).verify(own_issuer.token(AUDIENCE), [AUDIENCE])


@pytest.mark.parametrize(("algorithm", "is_valid"), [("RS256", True), ("PS512", True), ("HS256", False)])
def test_a_key_that_names_no_algorithm_verifies_asymmetric_signatures_alone(
    own_issuer: Issuer, algorithm: str, is_valid: bool
) -> None:
    key = own_issuer.keys[0]
    del key.public["alg"]
    head = part({"alg": algorithm, "kid": key.key_id})
    content = f"{head}.{part(own_issuer.claims(AUDIENCE))}"
    if is_valid:
        token = jwt.encode(own_issuer.claims(AUDIENCE), key.private, algorithm, headers={"kid": key.key_id})
    else:
        mac = hmac.digest(key.public_pem, content.encode(), hashlib.sha256)
        token = f"{content}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    provider = OpenIdProvider(own_issuer.url)
    if is_valid:
        assert provider.verify(token, [AUDIENCE])["iss"] == own_issuer.url
    else:
        with pytest.raises(ApiError, match="signed with 'HS256', which is not accepted"):
            provider.verify(token, [AUDIENCE])


def test_keys_elsewhere_are_read_by_https_only(own_issuer: Issuer) -> None:
    own_issuer.configuration["jwks_uri"] = "http://169.254.169.254/latest"
    with pytest.raises(ApiError, match="is not an https URL"):
        OpenIdProvider(own_issuer.url).verify(own_issuer.token(AUDIENCE), [AUDIENCE])


def test_an_issuer_that_is_down_gives_503(tmp_path: Path) -> None:
    with issuing() as gone:
        token = gone.token(AUDIENCE, **JOB)
    rules = tmp_path / "trusted.toml"
    rules.write_text(RULES.format(issuer=gone.url))
    with running(tmp_path / "data", TMS_SERVER_TRUSTED_ISSUERS=str(rules)) as api:
        response = exchange(api, token)
        error = expect_error(response, 503)
        assert "the connection is refused" in error["message"]
        assert response.headers["Retry-After"]


def test_lists_of_tokens_and_the_deletion_of_expired_ones_follow_their_indexes(
    empty_database: Database,
) -> None:
    from pytest_tms.server.domain.api_tokens import new_token

    now = clock.now()
    rows = []
    for number in range(2000):
        token, _ = new_token("t", now, expires_at=now)
        is_of_job = number % 100 != 0
        row = {"id": token.id, "name": "t", "hash": f"h{number}", "scopes": "", "created_at": now}
        rows.append({**row, "job_until": now + number if is_of_job else None})
    plans = []

    def explain(
        connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> None:
        if statement.startswith("SELECT tokens"):
            word = "EXPLAIN QUERY PLAN" if empty_database.is_sqlite else "EXPLAIN"
            found = connection.exec_driver_sql(f"{word} {statement}", parameters)
            plans.append(" ".join(str(row) for row in found))

    with empty_database.write() as connection:
        connection.execute(tables.tokens.insert(), rows)
        event.listen(connection, "before_cursor_execute", explain)
        assert len(tokens.page(connection, after="", limit=5)) == 5
        assert len(tokens.expired_of_jobs(connection, now + 50, 5)) == 5
        event.remove(connection, "before_cursor_execute", explain)
        connection.rollback()
    assert "ix_tokens_of_operators" in plans[0]
    assert "ix_tokens_of_jobs" in plans[1]


def test_expired_tokens_of_jobs_are_deleted(empty_database: Database) -> None:
    from pytest_tms.server.domain.api_tokens import hash_token, new_token

    now = clock.now()
    old, recent = now - JOB_TOKEN_RETENTION - 1, now - JOB_TOKEN_RETENTION + 60_000
    with empty_database.write() as connection:
        for number, (expires, is_of_job) in enumerate(
            [(old, True), (recent, True), (old, False), (None, False)]
        ):
            token, text = new_token(f"t{number}", now, expires_at=expires)
            tokens.add(connection, token, hash_token(text), is_of_job=is_of_job)
        audit.add(connection, Actor(id="x"), audit.TOKEN_EXCHANGED, "t", now - 31 * 86_400_000)
    assert not delete_expired_job_tokens(empty_database)
    with empty_database.read() as connection:
        names = {row.name for row in connection.execute(tables.tokens.select())}
        assert not audit.page(connection, limit=5)[0]
    assert names == {"t1", "t2", "t3"}
