"""The command `tms replay`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_tms.cli.options import connect, json_option
from pytest_tms.cli.output import print_json

if TYPE_CHECKING:
    from pytest_tms.client import TmsClient
    from pytest_tms.journal.lines import Opened


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path(".tms"))
@click.option(
    "--url",
    envvar="TMS_URL",
    metavar="URL",
    help="Base URL of the TMS. [env var: TMS_URL; default: that of each run]",
)
@click.option("--suite", metavar="NAME", help="Test suite of runs that have no execution yet.")
@click.option("--environment", metavar="NAME", help="Environment of runs that have no execution yet.")
@click.option("--discard", is_flag=True, help="Delete the results instead of sending them.")
@json_option
def replay(
    path: Path, url: str | None, suite: str | None, environment: str | None, discard: bool, as_json: bool
) -> None:
    """Send the results that runs kept on disk. It can be interrupted and repeated.

    PATH is a journal or a folder of journals, by default .tms. A journal contains the URL of its run. The
    token is read from TMS_API_TOKEN or TMS_API_TOKEN_FILE.
    """
    from pytest_tms.sender.replay import find_journals

    found = find_journals(path)
    if not found and not path.exists():
        if path.suffix == ".jsonl":
            click.echo(f"{path} is already delivered", err=as_json)
            return
        raise ValueError(f"there is no folder {path}: use the path in the summary of pytest")
    if discard:
        _discard(found, path, as_json=as_json)
    else:
        fields = {"test_suite": suite, "environment": environment}
        changes = {name: value for name, value in fields.items() if value}
        _Replay(path, url or "", changes, as_json=as_json).run(found)


class _Replay:
    """Sends journals, and collects the outcome of each for the output."""

    def __init__(self, path: Path, url: str, changes: dict[str, str], *, as_json: bool) -> None:
        self._path = path
        self._url = url
        self._changes = changes
        self._as_json = as_json
        self._sent: list[dict[str, Any]] = []
        self._failed: list[dict[str, str]] = []
        self._refused = 0
        self._clients: dict[str, TmsClient] = {}

    def run(self, found: list[Path]) -> None:
        """Send these journals.

        Raises:
            ValueError: one of them was not sent completely.
        """
        from pytest_tms.sender.replay import is_in_use, read_opening

        try:
            for journal in found:
                opened = read_opening(journal)
                if is_in_use(journal):
                    click.echo(f"{journal} is skipped: a run is writing it", err=True)
                elif opened is None:
                    is_empty = not journal.stat().st_size
                    problem = "is empty" if is_empty else "is not a journal of pytest-tms"
                    advice = ": --discard deletes it" if is_empty else ""
                    click.echo(f"{journal} {problem} and is skipped{advice}", err=True)
                else:
                    self._send(journal, opened)
        finally:
            for client in self._clients.values():
                client.close()
        if self._as_json:
            document = {"replayed": self._sent, "refused": self._refused, "failed": self._failed}
            print_json(document)
        elif not found:
            click.echo(f"there are no journals in {self._path}")
        if self._failed:
            raise ValueError(
                f"{len(self._failed)} of {len(found)} runs are not sent and stay in {self._path}: "
                "correct the error and repeat the command, or delete them with --discard"
            )
        if self._refused:
            raise ValueError(
                f"{self._refused} tests were refused and stay in {self._path}: --discard deletes them"
            )

    def _send(self, journal: Path, opened: Opened) -> None:
        from pytest_tms.errors import InFlight, TmsError
        from pytest_tms.sender.advice import advise_replay
        from pytest_tms.sender.replay import Replay

        try:
            client = self._client(self._url or opened.url)
            webhook_token = os.environ.get("TMS_WEBHOOK_TOKEN", "")
            replay = Replay.open(journal, client, webhook_token=webhook_token, overrides=self._changes)
            if replay is not None:
                with click.progressbar(
                    length=journal.stat().st_size, label=journal.stem, hidden=self._as_json
                ) as bar:
                    for position in replay.steps():
                        bar.update(position - bar.pos)
        except KeyboardInterrupt:
            click.echo(f"the rest stays in {self._path}: the same command continues from there", err=True)
            raise
        except InFlight:
            raise
        except (TmsError, OSError, ValueError) as error:
            problem = advise_replay(error)
            self._failed.append({"journal": str(journal), "error": problem})
            click.echo(f"{journal} is not sent: {problem}", err=True)
            return
        if replay is None:
            click.echo(f"{journal} is skipped: another process is sending it", err=True)
            return
        self._refused += len(replay.refused)
        self._sent.append({"journal": str(journal), "reportUrl": replay.report_url, "tests": replay.tests})
        if not self._as_json:
            click.echo(f"{replay.report_url}  {replay.tests} tests")
        for warning in replay.warnings:
            click.echo(f"warning: {warning}", err=True)
        for name in replay.refused:
            click.echo(f"refused {name}", err=True)

    def _client(self, url: str) -> TmsClient:
        if not url:
            raise ValueError("the run was offline and has no URL: use --url URL, or set TMS_URL")
        if url not in self._clients:
            self._clients[url] = connect(url, own_token=bool(os.environ.get("TMS_WEBHOOK_TOKEN")))
        return self._clients[url]


def _discard(found: list[Path], path: Path, *, as_json: bool) -> None:
    from pytest_tms.sender.replay import discard

    deleted, others = [], 0
    for journal in found:
        try:
            if discard(journal):
                deleted.append(str(journal))
        except ValueError as error:
            others += 1
            click.echo(f"{error} and is kept", err=True)
    if as_json:
        print_json({"discarded": deleted})
    else:
        click.echo(f"{len(deleted)} of {len(found) - others} runs deleted in {path}")
    if in_use := len(found) - others - len(deleted):
        raise ValueError(f"{in_use} runs are in use and stay in {path}")
