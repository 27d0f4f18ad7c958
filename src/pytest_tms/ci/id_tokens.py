"""ID tokens of CI jobs: short texts, signed by the CI system, by which a job proves who it is.

Only the sender process and the `tms` command fetch one. The plugin asks whether there is a source, which
loads no HTTP client.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from pytest_tms.errors import IdTokenError, Unreachable

Environment = Mapping[str, str]

COMMAND_TIMEOUT = 20.0
"""Seconds for a command of a CI system."""
REQUEST_TIMEOUT = (5.0, 10.0)
"""Seconds for a connection, and for a response."""
RETRIES = 3
"""Further attempts to request an ID token, with backoff."""
GITHUB_PERMISSION = "permissions: id-token: write"


class IdTokenSource(NamedTuple):
    """Where the ID tokens of this job come from.

    ``fetch`` returns one for an audience, which the URL of a TMS is; ``name`` describes the source in
    sentences. It raises IdTokenError if there is none, and Unreachable if the CI system does not respond.
    """

    name: str
    fetch: Callable[[str], str]


def find_id_token(environ: Environment) -> IdTokenSource | None:
    """Return where the ID tokens of the job with this environment come from; None if it has none."""
    if environ.get("TMS_ID_TOKEN", "").strip():
        return _of_variable(environ, "TMS_ID_TOKEN")
    if path := environ.get("TMS_ID_TOKEN_FILE", "").strip():
        return IdTokenSource("the file of TMS_ID_TOKEN_FILE", lambda _: _read(path))
    if environ.get("ACTIONS_ID_TOKEN_REQUEST_URL") and environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        return IdTokenSource("GitHub Actions", lambda audience: _request(environ, audience))
    if environ.get("BUILDKITE") and shutil.which("buildkite-agent", path=environ.get("PATH")):
        command = ("buildkite-agent", "oidc", "request-token", "--audience")
        return IdTokenSource("Buildkite", lambda audience: _run(environ, [*command, audience]))
    if environ.get("CIRCLECI"):
        return _of_circleci(environ)
    return None


def missing_permission(environ: Environment) -> str:
    """Return what the job lacks to get an ID token, as the end of a sentence; empty outside GitHub."""
    is_github = environ.get("GITHUB_ACTIONS") == "true" and find_id_token(environ) is None
    return f", or give the job ID tokens ({GITHUB_PERMISSION})" if is_github else ""


def _of_variable(environ: Environment, name: str) -> IdTokenSource:
    return IdTokenSource(f"the variable {name}", lambda _: environ[name].strip())


def _of_circleci(environ: Environment) -> IdTokenSource | None:
    """Return the source of CircleCI: its command, which knows audiences, else its variable."""
    variable = "CIRCLE_OIDC_TOKEN_V2"
    has_variable = bool(environ.get(variable, "").strip())
    if not shutil.which("circleci", path=environ.get("PATH")):
        return _of_variable(environ, variable) if has_variable else None

    def fetch(audience: str) -> str:
        try:
            return _run(
                environ, ["circleci", "run", "oidc", "get", "--claims", json.dumps({"aud": audience})]
            )
        except IdTokenError:
            if has_variable:
                return environ[variable].strip()
            raise

    return IdTokenSource("CircleCI", fetch)


def _read(path: str) -> str:
    """Return the ID token in a file, which may be replaced while the job runs.

    Raises:
        IdTokenError: it cannot be read, or is empty.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise IdTokenError(f"TMS_ID_TOKEN_FILE cannot be read: {reason}, {path}") from None
    if not text:
        raise IdTokenError(f"TMS_ID_TOKEN_FILE names an empty file, {path}: write the ID token to it")
    return text


def _run(environ: Environment, command: Sequence[str]) -> str:
    """Return what a command prints.

    Raises:
        IdTokenError: it fails, or prints nothing.
    """
    import subprocess

    shown = " ".join(command[:3])
    program = shutil.which(command[0], path=environ.get("PATH")) or command[0]
    try:
        done = subprocess.run(  # noqa: S603  # of the CI system
            [program, *command[1:]],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise IdTokenError(f"`{shown}` did not end within {COMMAND_TIMEOUT:g} s") from None
    except OSError as error:
        raise IdTokenError(f"`{shown}` cannot be run: {error.strerror}") from None
    if done.returncode or not done.stdout.strip():
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise IdTokenError(f"`{shown}` gives no ID token: {lines[-1][:200]}")
    return done.stdout.strip()


def _request(environ: Environment, audience: str) -> str:
    """Return an ID token of GitHub Actions.

    Raises:
        IdTokenError: GitHub refuses it.
        Unreachable: GitHub does not respond.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    url = environ["ACTIONS_ID_TOKEN_REQUEST_URL"]
    separator = "&" if urlsplit(url).query else "?"
    retry = Retry(RETRIES, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), redirect=False)
    retry.raise_on_status = False
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        try:
            response = session.get(
                f"{url}{separator}{urlencode({'audience': audience})}",
                headers={"Authorization": f"Bearer {environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"},
                auth=lambda request: request,  # without it, requests reads netrc
                timeout=REQUEST_TIMEOUT,
                allow_redirects=False,
            )
            found = response.json() if response.status_code == 200 else {}
        except requests.JSONDecodeError:
            found = {}
        except (requests.RequestException, ValueError):
            raise Unreachable("GitHub Actions does not give an ID token: it does not respond.") from None
    token = found.get("value") if isinstance(found, dict) else None
    if not isinstance(token, str) or not token:
        raise IdTokenError(
            f"GitHub Actions gives no ID token (status {response.status_code}): check that the job has "
            f"{GITHUB_PERMISSION}"
        )
    return token
