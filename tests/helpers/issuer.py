"""An issuer of ID tokens on this machine, as CI systems are: discovery, keys that rotate, and signed tokens."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

Responds = Callable[["BaseHTTPRequestHandler", dict[str, str]], tuple[int, object]]


class SigningKey:
    """A key with its public half as a JSON Web Key."""

    def __init__(self, key_id: str, algorithm: str = "RS256") -> None:
        self.key_id = key_id
        self.algorithm = algorithm
        self.private: Any = (
            ec.generate_private_key(ec.SECP256R1())
            if algorithm == "ES256"
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )
        kind: Any = ECAlgorithm if algorithm == "ES256" else RSAAlgorithm
        public = kind.to_jwk(self.private.public_key(), as_dict=True)
        self.public = {**public, "kid": key_id, "use": "sig", "alg": algorithm}

    @property
    def public_pem(self) -> bytes:
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        pem: bytes = self.private.public_key().public_bytes(encoding, form)
        return pem


@dataclass
class Issuer:
    """A running issuer. ``paths`` are additional responses; ``requests`` counts those to each path."""

    url: str
    keys: list[SigningKey] = field(default_factory=lambda: [SigningKey("first")])
    configuration: dict[str, Any] = field(default_factory=dict)
    paths: dict[str, Responds] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    is_available: bool = True

    def claims(self, audience: object, **more: Any) -> dict[str, Any]:
        """Claims of a token that is valid for five minutes."""
        now = int(time.time())
        return {
            "iss": self.url,
            "aud": audience,
            "sub": "repo:acme/shop:ref:refs/heads/main",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            **more,
        }

    def token(self, audience: object, *, key: SigningKey | None = None, **more: Any) -> str:
        """A token signed with the newest key; a claim that is None is left out."""
        key = key or self.keys[-1]
        claims = {name: value for name, value in self.claims(audience, **more).items() if value is not None}
        return jwt.encode(claims, key.private, key.algorithm, headers={"kid": key.key_id})

    def rotate(self, key: SigningKey) -> None:
        """Replace the keys by one that signs the next tokens."""
        self.keys[:] = [key]

    def respond(self, handler: BaseHTTPRequestHandler) -> tuple[int, object]:
        parts = urlsplit(handler.path)
        self.requests[parts.path] += 1
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if not self.is_available:
            return 503, {}
        if parts.path in self.paths:
            return self.paths[parts.path](handler, query)
        if parts.path == "/.well-known/openid-configuration":
            return 200, {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.configuration}
        if parts.path == "/keys":
            return 200, {"keys": [key.public for key in self.keys]}
        return 404, {}


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Run an issuer on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, document = issuer.respond(self)
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            if status in (302, 303):
                self.send_header("Location", str(document))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
