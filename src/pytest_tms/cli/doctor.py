"""`tms doctor`."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import IO, TYPE_CHECKING, Any

import click

from pytest_tms.cli.checks import refusals
from pytest_tms.cli.options import json_option

if TYPE_CHECKING:
    from pytest_tms.client import TmsClient

PYTEST_TIMEOUT = 90
"""Seconds that pytest may take to read its settings, including the start of an embedded TMS."""
TMS_TIMEOUT = 12
"""Seconds that all calls to the TMS may take."""
MAX_CLOCK_SKEW = 30
"""Seconds that the clocks may differ."""


@dataclass
class Findings:
    """What was found, without secrets.

    ``trouble`` is what is wrong, ``notes`` what may be; ``clock_skew`` is how many seconds the clock here is
    ahead of the clock of the TMS.
    """

    verdict: str = ""
    rootdir: str = ""
    settings: list[dict[str, Any]] = field(default_factory=list)
    tms: dict[str, Any] | None = None
    token: dict[str, Any] | None = None
    clock_skew: int | None = None
    capabilities: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Broken(Exception):
    """The reason why a run here cannot report."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF PYTEST]...")
@click.option("--verbose", "-v", is_flag=True, help="List every setting with its source.")
@json_option
def doctor(arguments: tuple[str, ...], verbose: bool, as_json: bool) -> None:
    """Check whether a run here reports, and print what is wrong and how to fix it.

    Reads the settings as pytest reads them in this folder with these options, and examines the TMS: whether
    it responds, what the token may do, whether the clocks agree. Runs no test. The exit status is 1 if
    something is wrong.
    """
    findings = Findings()
    try:
        findings.verdict = f"Reporting {_examined(arguments, findings)}"
    except Broken as error:
        findings.verdict = f"Reporting does not work: {error}"
        findings.trouble.insert(0, str(error))
    if as_json:
        skew = vars(findings).pop("clock_skew")
        click.echo(json.dumps({**vars(findings), "clockSkew": skew}))
    else:
        _print(findings, verbose=verbose)
    sys.exit(1 if findings.trouble else 0)


def _examined(arguments: tuple[str, ...], findings: Findings) -> str:
    """Fill ``findings`` and return the verdict's words after "Reporting". Raises Broken."""
    from pytest_tms.masking.masker import Masker

    found = _probe(arguments)
    masker = Masker(found.get("secrets", ()))

    def shown(text: str) -> str:
        return _without_credentials(masker.text(_printable(text)))

    findings.rootdir = _printable(found["rootdir"])
    for name, value, source in found["settings"]:
        text = "********" if name == "tms_mask" and value else _text(value)
        findings.settings.append({"name": name, "value": shown(text), "source": source})
    for name, is_set, source in found.get("tokens", ()):
        findings.settings.append(
            {"name": name.lower(), "value": "********" if is_set else "", "source": source}
        )
    findings.trouble += map(shown, found.get("problems", ()))
    findings.notes += found.get("notes", ())
    if found["problem"]:
        raise Broken(shown(found["problem"]))
    if found["off"]:
        findings.trouble.insert(0, f"reporting is off: {found['off']}")
        return f"is off: {found['off']}"
    if "offline" in found:
        return f"works: offline, results are written to {shown(found['offline'])} and sent by `tms replay`"
    problem = _examine(found, findings)
    findings.trouble[:] = map(shown, findings.trouble)
    if problem:
        raise Broken(shown(problem))
    if findings.clock_skew is not None and abs(findings.clock_skew) > MAX_CLOCK_SKEW:
        findings.trouble.append(f"{_clock(findings.clock_skew)}: set it, or times in reports are wrong")
    execution = found["execution"]
    target = f"suite {found['suite']}, environment {found['environment']}"
    if execution:
        target = f"execution {execution}"
    return f"works: results go to {shown(found['url'])} ({shown(target)})"


# Settings -----------------------------------------------------------------------------------


def _probe(arguments: tuple[str, ...]) -> dict[str, Any]:
    """Return what pytest reads here, in a process of its own: a conftest.py may print, exit and hang.

    Raises Broken.
    """
    from pytest_tms.plugin.settings_probe import MARK

    mark = f"tms-probe-{secrets.token_hex(8)}:"
    process = subprocess.Popen(  # noqa: S603  # pytest, by this interpreter
        [sys.executable, "-m", "pytest", "-p", "pytest_tms.plugin.settings_probe", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, MARK: mark},
    )
    output = _Reader(process.stdout, mark)
    errors = _Reader(process.stderr)
    deadline = time.monotonic() + PYTEST_TIMEOUT
    while not output.marked.wait(0.05) and process.poll() is None and time.monotonic() < deadline:
        pass
    try:
        process.wait(5 if output.marked.is_set() else 0)  # a plugin may have something to clean up
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        has_ended = False
    else:
        has_ended = True
        output.join(2)  # with a limit: a process that it started may hold its pipes
        errors.join(2)
    for line in output.lines:
        if line.startswith(mark):
            found: dict[str, Any] = json.loads(line.removeprefix(mark))
            return found
    if not has_ended:
        raise Broken(f"pytest did not read its settings within {PYTEST_TIMEOUT} s: does a conftest.py hang?")
    printed = [line.strip() for line in (errors.lines or output.lines) if line.strip()]
    reasons = [line for line in printed if "rror" in line] or printed
    reason = reasons[0] if reasons else f"it exits with status {process.returncode}; look at conftest.py"
    if causes := [line[1:].strip() for line in printed if line.startswith("E  ")]:
        reason = f"{reason} {causes[-1]}"  # of an error in conftest.py
    raise Broken(f"pytest does not start here: {_without_credentials(_printable(reason))}")


class _Reader(threading.Thread):
    """Reads the lines of a pipe until it ends; ``marked`` is set by a line that begins with ``mark``."""

    def __init__(self, pipe: IO[bytes] | None, mark: str = "") -> None:
        super().__init__(daemon=True)
        self.lines: list[str] = []
        self.marked = threading.Event()
        self._pipe = pipe
        self._mark = mark
        self.start()

    def run(self) -> None:
        for line in self._pipe or ():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            self.lines.append(text)
            if self._mark and text.startswith(self._mark):
                self.marked.set()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value == 0:  # a number that is not set
        return ""
    return " ".join(value) if isinstance(value, list) else str(value)


def _printable(text: str) -> str:
    """Return ``text`` on one line, without control characters and what is not Unicode."""
    text = re.sub(r"\x1b\[[\d;]*m", "", text.encode("utf-8", "backslashreplace").decode())
    return "".join(each if each.isprintable() else " " for each in text)


def _without_credentials(text: str) -> str:
    """Return ``text`` without the credentials that a URL may carry."""
    return re.sub(r"//[^/@\s]*@", "//********@", text)


# The TMS ------------------------------------------------------------------------------------


def _examine(found: dict[str, Any], findings: Findings) -> str:
    """Fill ``findings`` with what the TMS responds; return what keeps it from taking results, or "".

    A server may send its response for ever: the thread is abandoned then.
    """
    problems: list[str] = []

    def examine() -> None:
        from pytest_tms.errors import TmsError, Unreachable
        from pytest_tms.sender.advice import advise

        try:
            _talk(found, findings)
        except Unreachable as error:
            text = str(error).rstrip(".")
            problems.append(f"{text}; check the base URL, and that the TMS is running")
        except TmsError as error:
            problems.append(advise(error))
        except Exception as error:  # whatever a URL or a response that nobody foresaw leads to
            problems.append(
                f"{found['url']} cannot be examined ({type(error).__name__}: {error}): check the base URL"
            )

    thread = threading.Thread(target=examine, daemon=True)
    thread.start()
    thread.join(TMS_TIMEOUT)
    if thread.is_alive():
        return (
            f"{found['url']} did not respond in full within {TMS_TIMEOUT} s: check the base URL and the TMS"
        )
    return problems[0] if problems else ""


def _talk(found: dict[str, Any], findings: Findings) -> None:
    """Raise TmsError if the TMS does not take results with this token."""
    from pytest_tms.client import TmsClient

    url = found["url"]
    with (
        TmsClient(url, found["token"], retries=0, connect_timeout=3, read_timeout=5) as client,
        TmsClient(url, retries=0, connect_timeout=3, read_timeout=5) as anonymous,
    ):
        _ask(client, found["execution"], found["suite"], found["environment"], findings)
        if findings.token is None:
            _ask_without_token(anonymous)


def _ask(client: TmsClient, execution: str, suite: str, environment: str, findings: Findings) -> None:
    """Ours describes itself; of another only a documented call shows whether it accepts the token."""
    import msgspec

    from pytest_tms.errors import ApiError, NotFound, NotTms, TmsError
    from pytest_tms.wire import ServiceInfo

    try:
        service = client.describe_service()
    except (ApiError, NotTms):
        service = ServiceInfo()
    if (response := client.last_response) is not None:
        findings.tms = {
            "url": _without_credentials(client.base_url),
            "milliseconds": round(response.elapsed.total_seconds() * 1000),
            "service": service.service,
            "version": service.version,
        }
        if date := response.headers.get("Date"):
            findings.clock_skew = _skew(date)
    findings.capabilities = list(service.capabilities)
    if service.service and service.token is None:
        raise TmsError("the token is unknown, expired or revoked: set TMS_API_TOKEN to a valid token")
    if service.token is not None:
        findings.token = json.loads(msgspec.json.encode(service.token))
    refused = refusals(service, suite=suite, environment=environment, execution=execution)
    if refused:
        findings.trouble += refused[1:]
        raise TmsError(refused[0])
    if execution or not service.service:
        try:
            client.get_execution(execution or "exec_0")
        except NotFound:
            if execution:
                raise


def _ask_without_token(client: TmsClient) -> None:
    """Raise NotTms unless a request without a token is refused; nothing at a wrong address does that."""
    from pytest_tms.errors import NotFound, NotTms, Unauthorized

    try:
        client.get_execution("exec_0")
    except Unauthorized:
        return
    except NotFound:
        pass
    raise NotTms(
        f"{client.base_url} does not require a token, as a TMS does: check that the base URL includes /api"
    )


def _skew(date: str) -> int | None:
    try:
        return round(time.time() - parsedate_to_datetime(date).timestamp())
    except ValueError:
        return None


def _clock(ahead: int) -> str:
    if abs(ahead) <= 2:
        return "the clock here agrees with the clock of the TMS"
    return f"the clock here is {abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} the clock of the TMS"


# Output -------------------------------------------------------------------------------------


def _print(findings: Findings, *, verbose: bool) -> None:
    click.echo(findings.verdict)
    for sentence in findings.trouble:
        if sentence not in findings.verdict and not sentence.startswith("reporting is off"):
            click.echo(f"problem  {sentence}")
    if (tms := findings.tms) is not None:
        name = f"{tms['service']} {tms['version']}" if tms.get("service") else "does not identify itself"
        click.echo(f"TMS      {name}, responds in {tms['milliseconds']} ms")
    if (token := findings.token) is not None:
        until = f"until {token['expiresAt']}" if token["expiresAt"] else "without expiry"
        environments = f" in {', '.join(token['environments'])}" if token["environments"] else ""
        click.echo(f"token    {token['id']}: {' '.join(token['scopes'])}{environments}, {until}")
    if findings.clock_skew is not None:
        click.echo(f"clock    {_clock(findings.clock_skew)}")
    for note in findings.notes:
        click.echo(f"note     {note}")
    if not verbose:
        return
    if findings.tms is not None:
        click.echo(f"features {', '.join(findings.capabilities) or 'those of the API document'}")
    if findings.settings:
        click.echo(f"settings of pytest in {findings.rootdir}")
        widths = [max(len(row[name]) for row in findings.settings) for name in ("name", "value")]
        for row in findings.settings:
            click.echo(f"  {row['name']:{widths[0]}}  {row['value']:{min(widths[1], 40)}}  {row['source']}")
