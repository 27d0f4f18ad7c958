"""`tms replay`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from pytest_tms.cli.options import connect, json_option, url_option


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path(".tms"))
@click.option("--suite", metavar="NAME", help="The testSuite of runs that have no execution yet.")
@click.option("--environment", metavar="NAME", help="Their environment.")
@url_option
@json_option
def replay(folder: Path, suite: str | None, environment: str | None, url: str, as_json: bool) -> None:
    """Send what runs kept on disk, or wrote offline; safe to interrupt and to repeat.

    FOLDER is .tms, or one of its parts. The token comes from TMS_API_TOKEN or TMS_API_TOKEN_FILE.
    """
    import json

    from pytest_tms.errors import BadRequest, Conflict, InFlight, NotFound, TooLarge, Unprocessable
    from pytest_tms.sender.replay import journals, reason
    from pytest_tms.sender.replay import replay as send

    client = connect(url)
    found = journals(folder)
    if not found and not folder.exists():
        raise ValueError(f"there is no folder {folder}: name the one that pytest's summary showed")
    asked = {"test_suite": suite, "environment": environment}
    instead = {name: value for name, value in asked.items() if value}
    sent: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    refused = 0
    with client:
        for path in found:
            try:
                with click.progressbar(length=path.stat().st_size, label=path.stem, hidden=as_json) as bar:
                    done = send(path, client, instead=instead, progress=partial(_show, bar))
            except KeyboardInterrupt:
                click.echo(f"what is left stays in {folder}: the same command goes on from there", err=True)
                raise
            except InFlight:
                raise
            except (BadRequest, Conflict, NotFound, TooLarge, Unprocessable, OSError, ValueError) as error:
                why = reason(error)
                failed.append({"journal": str(path), "error": why})
                click.echo(f"{path} is not sent: {why}", err=True)
                continue
            if done is None:
                click.echo(f"{path} is left alone: a run works on it", err=True)
                continue
            refused += len(done.refused)
            sent.append({"journal": str(path), "reportUrl": done.report_url, "tests": done.tests})
            if not as_json:
                click.echo(f"{done.report_url}  {done.tests} tests")
            for name in done.refused:
                click.echo(f"refused {name}", err=True)
    if as_json:
        click.echo(json.dumps({"replayed": sent, "refused": refused, "failed": failed}))
    elif not found:
        click.echo(f"nothing is kept in {folder}")
    if failed:
        raise ValueError(f"{len(failed)} of {len(found)} runs not sent: kept in {folder}")
    if refused:
        raise ValueError(f"{refused} tests were refused and stay in {folder}")


def _show(bar: Any, position: int, end: int) -> None:
    bar.update(position - bar.pos)
