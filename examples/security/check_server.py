#!/usr/bin/env python3
"""Check from outside whether a TMS is exposed as it should be.

    python check_server.py https://tms.example.com
    TMS_API_TOKEN=… python check_server.py https://tms.example.com

Needs Python 3.10 and no packages. It prints one line for each check, and exits with 1 if one failed. It
changes nothing: requests that would change something are such that the server must refuse them. With a token
that has the scopes executions:read and webhooks:write, it also checks what a token may do.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
POLICY = ("default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'")
FORBIDDEN_URLS = {
    "plain http": "http://ci.example.com/hook",
    "the server itself": "https://127.0.0.1/hook",
    "a private network": "https://10.0.0.1/hook",
    "cloud metadata": "https://169.254.169.254/latest/meta-data/",
}


class Response(NamedTuple):
    """What the server answered."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class Site:
    """The server, over connections of their own for each request."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            sys.exit(f"check_server.py: {url!r} is not the URL of a server: use https://HOST.")
        self.scheme, self.host, self.port = parts.scheme, parts.hostname, parts.port
        self.is_local = self.host in LOOPBACK

    def request(self, method: str, path: str, body: str = "", **headers: str) -> Response:
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=20)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body or None, named)
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read().decode("utf-8", "replace"))
        finally:
            connection.close()

    def api(self, method: str, path: str, token: str = "", body: object = None) -> Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        text = "" if body is None else json.dumps(body)
        return self.request(method, f"/api{path}", text, Content_Type="application/json", **headers)


Check = Callable[[], Iterator[str]]
"""Yields what is wrong."""


class Skipped(Exception):
    """The check does not apply; the message says why."""


def checks(site: Site, token: str) -> dict[str, Check]:
    """Return the checks by what they promise."""

    def is_encrypted() -> Iterator[str]:
        if site.is_local:
            raise Skipped("the server is on this machine")
        if site.scheme != "https":
            yield "tokens are sent in plain text: use https"

    def api_needs_a_token() -> Iterator[str]:
        for wrong in ("", "tms_wrong"):
            for path in ("/executions", "/webhooks", "/executions/exec_00000000000000000000000000"):
                if (status := site.api("GET", path, wrong).status) != 401:
                    yield f"GET /api{path} with {'a wrong' if wrong else 'no'} token: {status}, not 401"

    def pages_need_a_login() -> Iterator[str]:
        if site.is_local and "/login" not in site.request("GET", "/").text:
            raise Skipped("the server trusts users of this machine: see 'Who must log in'")
        for path in ("/runs", "/webhooks", "/audit", "/tests"):
            page = site.request("GET", path)
            if page.status == 200 and 'type="password"' not in page.text:
                yield f"GET {path} shows a page without a login"

    def metrics_are_closed() -> Iterator[str]:
        if site.is_local:
            raise Skipped("the user of the server may read them on its machine")
        if site.request("GET", "/metrics").status == 200:
            yield "GET /metrics answers without a token: set TMS_SERVER_METRICS_TOKEN"

    def pages_have_headers() -> Iterator[str]:
        headers = site.request("GET", "/login").headers
        policy = headers.get("Content-Security-Policy", "")
        yield from (f"the Content-Security-Policy has no {each}" for each in POLICY if each not in policy)
        if "unsafe" in policy:
            yield f"the Content-Security-Policy allows inline code: {policy}"
        if headers.get("X-Content-Type-Options") != "nosniff":
            yield "X-Content-Type-Options is not nosniff"
        if headers.get("Referrer-Policy") not in ("same-origin", "no-referrer"):
            yield f"the Referrer-Policy is {headers.get('Referrer-Policy')}"

    def other_sites_cannot_post() -> Iterator[str]:
        form = "token=tms_wrong"
        headers = {"Content_Type": "application/x-www-form-urlencoded", "Origin": "https://attacker.example"}
        if (status := site.request("POST", "/login", form, **headers).status) != 403:
            yield f"a form of another site is accepted: POST /login gives {status}, not 403"

    def errors_are_plain() -> Iterator[str]:
        for path in ("/nothing", "/api/nothing", "/api/executions?limit=x", "/runs/%00", "/api/%ff"):
            answer = site.request("GET", path)
            if answer.status >= 500 or "Traceback" in answer.text:
                yield f"GET {path}: {answer.status} {answer.text[:100]!r}"

    def large_bodies_are_refused() -> Iterator[str]:
        try:
            answer = site.request(
                "POST", "/api/results", Content_Length=str(10**12), Content_Type="application/json"
            )
        except (ConnectionError, http.client.HTTPException):
            return  # a proxy may close the connection
        if answer.status not in (401, 413):
            yield f"a body of 1 TB is announced: {answer.status}, not 413"

    def webhooks_stay_outside() -> Iterator[str]:
        if not token:
            raise Skipped("needs TMS_API_TOKEN with the scope webhooks:write")
        for what, url in FORBIDDEN_URLS.items():
            # No events: the server refuses the request in any case, and names the URL if that is a reason.
            answer = site.api("POST", "/webhooks", token, {"url": url, "events": []})
            if answer.status == 403:
                raise Skipped("the token has no scope webhooks:write")
            problems = json.loads(answer.text)["error"]["details"] if answer.status == 422 else []
            if not any(problem["field"] == "url" for problem in problems):
                yield f"a webhook may reach {what}: {url}"

    def secrets_are_hidden() -> Iterator[str]:
        if not token:
            raise Skipped("needs TMS_API_TOKEN with the scope webhooks:write")
        answer = site.api("GET", "/webhooks", token)
        if answer.status == 403:
            raise Skipped("the token has no scope webhooks:write")
        for webhook in json.loads(answer.text)["webhooks"]:
            shown = {webhook.get("secret"), *(webhook.get("headers") or {}).values()}
            if shown - {None, "***"}:
                yield f"the webhook {webhook['webhookId']} shows a secret"

    def a_token_is_not_enough_for_the_audit_log() -> Iterator[str]:
        if not token:
            raise Skipped("needs TMS_API_TOKEN")
        if site.request("GET", "/audit", Authorization=f"Bearer {token}").status == 200 and not site.is_local:
            yield "GET /audit accepts an API token in a header: pages need a login"

    return {
        "connections are encrypted": is_encrypted,
        "the API needs a token": api_needs_a_token,
        "pages need a login": pages_need_a_login,
        "metrics are not public": metrics_are_closed,
        "pages have security headers": pages_have_headers,
        "forms of other sites are refused": other_sites_cannot_post,
        "errors reveal nothing": errors_are_plain,
        "huge bodies are refused": large_bodies_are_refused,
        "webhooks cannot reach internal addresses": webhooks_stay_outside,
        "secrets of webhooks are not shown": secrets_are_hidden,
        "pages do not accept API tokens in headers": a_token_is_not_enough_for_the_audit_log,
    }


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit("Usage: python check_server.py URL")
    site = Site(sys.argv[1].rstrip("/").removesuffix("/api"))
    failed = 0
    for name, check in checks(site, os.environ.get("TMS_API_TOKEN", "")).items():
        try:
            problems = list(check())
        except Skipped as reason:
            print(f"skipped  {name}: {reason}")
            continue
        except ssl.SSLError as error:
            problems = [f"the certificate is not valid: {error}"]
        except OSError as error:
            sys.exit(f"check_server.py: {sys.argv[1]} does not answer: {error}.")
        print(f"{'failed ' if problems else 'ok     '}  {name}", *problems, sep="\n         ")
        failed += bool(problems)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
