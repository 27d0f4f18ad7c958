"""A provider at which people log in without a form, whose responses a test can change, and a TMS that uses it."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

from tests.helpers.api import Api, running
from tests.helpers.issuer import Issuer, SigningKey
from tests.helpers.ports import free_port

CLIENT = "tms"
SECRET = "s3cret:of/the+client"
ROLES = "viewer=staff, member=developers, admin=tms-admins"


@dataclass
class Provider:
    """Endpoints of an ``issuer``: it logs in every browser as ``person``.

    ``claims`` replace those of the ID token, and ``response`` the parameters of the callback; ``key`` signs.
    ``problems`` are rules of the protocol that the TMS broke.
    """

    issuer: Issuer
    person: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    response: dict[str, str] = field(default_factory=dict)
    key: SigningKey | None = None
    raw_token: str = ""
    token_status: int = 200
    problems: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        url = self.issuer.url
        self.issuer.configuration |= {
            "authorization_endpoint": f"{url}/authorize?tenant=1",
            "token_endpoint": f"{url}/token",
        }
        self.issuer.paths |= {"/authorize": self.authorize, "/token": self.token}

    def authorize(self, _: BaseHTTPRequestHandler, query: dict[str, str]) -> tuple[int, object]:
        for name, value in (
            ("response_type", "code"),
            ("client_id", CLIENT),
            ("code_challenge_method", "S256"),
        ):
            if query.get(name) != value:
                self.problems.append(f"{name} is {query.get(name)}")
        code = secrets.token_hex(8)
        self.codes[code] = query
        response = {"code": code, "state": query["state"], "iss": self.issuer.url, **self.response}
        response = {name: value for name, value in response.items() if value != "LEFT OUT"}
        return 303, f"{query['redirect_uri']}?{urlencode(response)}"

    def token(self, handler: BaseHTTPRequestHandler, _: dict[str, str]) -> tuple[int, object]:
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        basic = base64.b64decode(handler.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        if [unquote(part) for part in basic.split(":")] != [CLIENT, SECRET]:
            return 401, {"error": "invalid_client"}
        started = self.codes.pop(form["code"], None)
        if started is None:
            return 400, {"error": "invalid_grant"}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
        if challenge.rstrip(b"=").decode() != started["code_challenge"]:
            self.problems.append("the verifier does not match the challenge")
        if form["redirect_uri"] != started["redirect_uri"]:
            self.problems.append("the redirect URI differs")
        claims = {"sub": "1", "nonce": started["nonce"], **self.person, **self.claims}
        signed = self.raw_token or self.issuer.token(claims.pop("aud", CLIENT), key=self.key, **claims)
        return self.token_status, {"id_token": signed, "access_token": "x", "token_type": "Bearer"}


@contextmanager
def logging_in(
    folder: Path, issuer: str, *options: str, port: int = 0, database: tuple[str, ...] = (), **environ: str
) -> Iterator[Api]:
    """A TMS whose people log in at ``issuer``."""
    port = port or free_port()
    settings = {
        "TMS_SERVER_OIDC_ISSUER": issuer,
        "TMS_SERVER_OIDC_CLIENT_ID": CLIENT,
        "TMS_SERVER_OIDC_CLIENT_SECRET": SECRET,
        "TMS_SERVER_OIDC_ROLES_CLAIM": "groups",
        "TMS_SERVER_OIDC_ROLES": ROLES,
        **environ,
    }
    url = f"http://127.0.0.1:{port}"
    with running(
        folder, *database, options=("--port", str(port), "--public-url", url, *options), **settings
    ) as api:
        yield api
