"""`tms doctor`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.client import HTTPMessage
from typing import TYPE_CHECKING, Any

import click

from pytest_tms.cli.options import json_option

if TYPE_CHECKING:
    from pytest_tms.client import TmsClient

LONGEST_START = 90
"""Seconds that pytest may take to read its settings, an embedded TMS that it starts included."""
LONGEST_TALK = 12
"""Seconds that all calls to the TMS may take."""
SKEW = 30
"""Seconds that the clocks may differ before it is trouble."""


@dataclass
class Findings:
    """What the doctor saw. ``clock_skew`` is how many seconds the clock here is ahead of the TMS's."""

    rootdir: str = ""
    settings: list[dict[str, Any]] = field(default_factory=list)
    tms: dict[str, Any] | None = None
    token: dict[str, Any] | None = None
    clock_skew: int | None = None
    capabilities: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF PYTEST]...")
@json_option
def doctor(arguments: tuple[str, ...], as_json: bool) -> None:
    """Show what a run here would report to, and what is in the way.

    Settings with their sources, as pytest itself reads them in this folder with these options; then the TMS:
    does it answer, what may the token do, do the clocks agree, which additions does it speak. Runs no test.
    """
    findings = Findings()
    told = _probe(arguments, findings)
    if told.get("url"):
        # A server may drip its answer for ever: the thread is left behind then.
        asked = (told["url"], told["token"], told["execution"], told["environment"], findings)
        talk = threading.Thread(target=_examine, args=asked, daemon=True)
        talk.start()
        talk.join(LONGEST_TALK)
        if talk.is_alive():
            findings.trouble.append(f"{_shown(told['url'])} did not answer in full within {LONGEST_TALK} s")
    if as_json:
        skew = vars(findings).pop("clock_skew")
        click.echo(json.dumps({**vars(findings), "clockSkew": skew}))
    else:
        _print(findings)
    sys.exit(1 if findings.trouble else 0)


# Settings -----------------------------------------------------------------------------------


def _probe(arguments: tuple[str, ...], findings: Findings) -> dict[str, Any]:
    """What pytest reads here, in a process of its own: a conftest.py may print, set variables, and hang."""
    from pytest_tms.masking import Masker
    from pytest_tms.plugin.probe import MARK

    command = [sys.executable, "-m", "pytest", "-p", "pytest_tms.plugin.probe", *arguments]
    try:
        done = subprocess.run(  # noqa: S603  # pytest, by this interpreter
            command, capture_output=True, text=True, timeout=LONGEST_START, check=False
        )
    except subprocess.TimeoutExpired:
        findings.trouble.append(
            f"pytest did not read its settings within {LONGEST_START} s: does a conftest.py hang?"
        )
        return {}
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not lines:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in said if "rror" in line] or said or ["it says nothing"]
        findings.trouble.append(f"pytest does not start here: {errors[0]}")
        return {}
    told: dict[str, Any] = json.loads(lines[-1].removeprefix(MARK))
    masker = Masker(told.get("secrets", ()))
    findings.rootdir = told["rootdir"]
    for name, value, source in told["settings"]:
        shown = "********" if name == "tms_mask" and value else masker.text(_text(value))
        findings.settings.append({"name": name, "value": _shown(shown), "source": source})
    for name, is_set, source in told.get("tokens", ()):
        findings.settings.append(
            {"name": name.lower(), "value": "********" if is_set else "", "source": source}
        )
    if told["problem"]:
        findings.trouble.append(masker.text(told["problem"]))
    return told


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(value) if isinstance(value, list) else str(value)


def _shown(text: str) -> str:
    """``text`` without the credentials that a URL may carry."""
    return re.sub(r"//[^/@\s]*@", "//********@", text)


# The TMS ------------------------------------------------------------------------------------


def _examine(url: str, token: str, execution: str, environment: str, findings: Findings) -> None:
    from pytest_tms.client import TmsClient
    from pytest_tms.errors import TmsError
    from pytest_tms.sender.uploader import advice

    def note(seconds: float, headers: HTTPMessage) -> None:
        findings.tms = {"url": _shown(url), "milliseconds": round(1000 * seconds)}
        if date := headers.get("Date"):
            findings.clock_skew = _skew(date)

    with (
        TmsClient(url, token, retries=0, connect_timeout=3, read_timeout=5, answered=note) as client,
        TmsClient(url, retries=0, connect_timeout=3, read_timeout=5, answered=note) as stranger,
    ):
        try:
            _ask(client, execution, environment, findings)
            if findings.token is None:
                _ask_without_token(stranger)
        except TmsError as error:
            findings.trouble.append(_shown(advice(error)))
    if findings.clock_skew is not None and abs(findings.clock_skew) > SKEW:
        findings.trouble.append(f"{_clock(findings.clock_skew)}: set it, or times in reports are wrong")


def _ask(client: TmsClient, execution: str, environment: str, findings: Findings) -> None:
    """Ours says what it is; of another only a documented call tells whether it knows the token."""
    import msgspec

    from pytest_tms.errors import ApiError, NotFound, NotTms, TmsError
    from pytest_tms.wire import ServiceInfo

    try:
        service = client.describe_service()
    except (ApiError, NotTms):
        service = ServiceInfo()
    findings.tms = {**(findings.tms or {}), "service": service.service, "version": service.version}
    findings.capabilities = list(service.capabilities)
    if service.service and service.token is None:
        raise TmsError("the token is unknown, expired or revoked: set TMS_API_TOKEN to a valid token")
    if service.token is not None:
        token = service.token
        findings.token = json.loads(msgspec.json.encode(token))
        needed = ["executions:write", *(["executions:read"] if execution else [])]
        missing = [scope for scope in needed if not {scope, "admin"} & set(token.scopes)]
        if missing:
            raise TmsError(f"the token {token.id} lacks {' and '.join(missing)}: use one that has it")
        if token.environments and not execution and environment not in token.environments:
            bound = " and ".join(token.environments)
            raise TmsError(f"the token {token.id} is for {bound}, not {environment}: use another")
    if execution or not service.service:
        try:
            client.get_execution(execution or "exec_0")
        except NotFound:
            if execution:
                raise


def _ask_without_token(client: TmsClient) -> None:
    """A TMS refuses who has no token; at a wrong address there is simply nothing. Raises NotTms."""
    from pytest_tms.errors import NotFound, NotTms, Unauthorized

    try:
        client.get_execution("exec_0")
    except Unauthorized:
        return
    except NotFound:
        pass
    raise NotTms(
        f"{client.base_url} asks for no token, as a TMS would: check that the base URL includes /api"
    )


def _skew(date: str) -> int | None:
    try:
        return round(time.time() - parsedate_to_datetime(date).timestamp())
    except ValueError:
        return None


def _clock(ahead: int) -> str:
    if abs(ahead) <= 2:
        return "the clock here agrees with the TMS's"
    return f"the clock here is {abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} the TMS's"


# What is shown ------------------------------------------------------------------------------


def _print(findings: Findings) -> None:
    if findings.settings:
        click.echo(f"settings of pytest in {findings.rootdir}")
        widths = [max(len(row[name]) for row in findings.settings) for name in ("name", "value")]
        for row in findings.settings:
            click.echo(f"  {row['name']:{widths[0]}}  {row['value']:{min(widths[1], 40)}}  {row['source']}")
    if (tms := findings.tms) is not None:
        what = f"is {tms['service']} {tms['version']}" if tms.get("service") else "says not what it is"
        click.echo(f"tms      {tms['url']} {what}, answers in {tms['milliseconds']} ms")
    if (token := findings.token) is not None:
        until = f"until {token['expiresAt']}" if token["expiresAt"] else "for good"
        where = f" in {', '.join(token['environments'])}" if token["environments"] else ""
        click.echo(f"token    {token['id']}: {' '.join(token['scopes'])}{where}, {until}")
    if findings.clock_skew is not None:
        click.echo(f"clock    {_clock(findings.clock_skew)}")
    if findings.tms is not None:
        click.echo(
            f"can      {', '.join(findings.capabilities) or 'what the API document says, and no more'}"
        )
    for sentence in findings.trouble:
        click.echo(f"trouble  {sentence}", err=True)
    if not findings.trouble:
        click.echo(
            "all is well" if findings.tms else "all is well: nothing is sent, results are written to disk"
        )
