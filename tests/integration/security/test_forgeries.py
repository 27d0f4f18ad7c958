"""Tokens that are nearly right, or something else that is kept or shown: none opens anything."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
import requests

from pytest_tms.server.domain import api_tokens
from tests.helpers.api import Api, expect_error, running
from tests.integration.security.test_injection import line, raw
from tests.integration.server.test_authentication import BEYOND, Visit


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server whose pages ask for a login."""
    with running(tmp_path_factory.mktemp("forged") / "data", options=BEYOND) as api:
        yield api


def rows(api: Api, query: str) -> list[tuple[str, ...]]:
    with sqlite3.connect(api.data_dir / "tms.sqlite3", timeout=20) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def nearly(token: str) -> list[str]:
    """A token with one thing changed, in many ways."""
    one_off = [f"{token[:at]}{'B' if token[at] == 'A' else 'A'}{token[at + 1 :]}" for at in range(len(token))]
    secret = token.removeprefix("tms_").removeprefix("wh_token_")
    return [
        *one_off,
        token[:-1], token[1:], f"{token}=", f"{token}A", f'"{token}"',
        token.swapcase(), token.upper(), token[::-1], secret, f"{token},{token}", f"{token} {token}",
        f"{token}%00", f"{token};", f"{token}' OR '1'='1", "*", "%", "null", "undefined", "true", "{}", "[]",
    ]  # fmt: skip


def test_no_token_that_is_nearly_right_opens_anything(closed: Api) -> None:
    created = closed.create()
    event = {"event": "execution.started", "executionId": created["executionId"]}
    for forged in nearly(closed.token):
        expect_error(closed.request("GET", "/webhooks", token=forged), 401)
    for forged in nearly(created["webhookToken"]):
        expect_error(closed.request("POST", created["webhookUrl"], event, token=forged), 401)


def test_what_is_kept_or_shown_of_a_secret_is_no_secret(closed: Api) -> None:
    created = closed.create()
    event = {"event": "execution.started", "executionId": created["executionId"]}
    visit = Visit(closed.root)
    visit.login(closed.token)
    cookie = visit.session.cookies["tms"]
    kept = [
        *(text for row in rows(closed, "SELECT id, token_hash FROM executions") for text in row),
        *(str(text) for row in rows(closed, "SELECT * FROM tokens") for text in row),
        *(str(text) for row in rows(closed, "SELECT * FROM sessions") for text in row),
        api_tokens.hash_token(api_tokens.hash_token(closed.token)), cookie, api_tokens.hash_token(cookie), visit.csrf_token,
    ]  # fmt: skip
    assert api_tokens.hash_token(closed.token) in kept
    assert api_tokens.hash_token(created["webhookToken"]) in kept
    assert api_tokens.hash_token(cookie) in kept
    for text in kept:
        expect_error(closed.request("GET", "/webhooks", token=text or "x"), 401)
        expect_error(closed.request("POST", created["webhookUrl"], event, token=text or "x"), 401)
        if text != cookie:
            response = requests.get(f"{closed.root}/", cookies={"tms": text or "x"}, timeout=60)
            assert response.status_code == 401, text
    for token in (closed.token, created["webhookToken"]):  # a secret in another's place
        assert requests.get(f"{closed.root}/", cookies={"tms": token}, timeout=60).status_code == 401


@pytest.mark.parametrize(
    "place",
    [
        ("X-Api-Key: {}",), ("X-Authorization: Bearer {}",), ("Cookie: token={}",), ("Cookie: Authorization=Bearer {}",),
        ("Authorization: Basic {}",), ("Authorization: {}",),
        ("Authorization: Bearer x", "Authorization: Bearer {}"), ("Authorization: Bearer\x0b{}",),
        ("Proxy-Authorization: Bearer {}",),
    ],
    ids=str,
)  # fmt: skip
def test_a_token_opens_only_where_it_belongs(closed: Api, place: tuple[str, ...]) -> None:
    headers = [each.format(closed.token) for each in place]
    for path in ("/api/webhooks", f"/api/webhooks?token={closed.token}&access_token={closed.token}"):
        status, _, _ = raw(closed, line("GET", path, *headers))
        assert status in (400, 401)
    assert raw(closed, line("GET", "/api/webhooks", f"Authorization: Bearer {closed.token}"))[0] == 200
