"""The command `tms open`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pytest_tms.cli.options import connect, url_option


@click.command("open")
@click.option("--project", metavar="NAME", help="Project.  [default: as a run of pytest in this folder]")
@click.option("--print", "only_print", is_flag=True, help="Print the URL and open no browser.")
@url_option
def open_report(project: str | None, only_print: bool, url: str) -> None:
    """Open the latest report of this project in the browser."""
    from pytest_tms.cli.execution import find

    name = project or current_project()[1] or "default"
    with connect(url) as client:
        found = find(client, 1, project=name)
    if not found:
        raise ValueError(f"there is no execution of the project {name}: name another one with --project")
    report = found[0].artifacts.report_url
    click.echo(report)
    if not only_print and click.launch(report):
        raise ValueError("no browser could be started: open the URL yourself")


def current_project() -> tuple[Path, str]:
    """Return the root folder of the tests here, and the project that pytest would report; empty if none."""
    if name := os.environ.get("TMS_PROJECT", "").strip():  # which needs no settings of pytest
        return Path.cwd(), name
    from pytest_tms.ci.metadata import build_metadata
    from pytest_tms.cli.doctor.settings import read_settings

    found = read_settings(())
    values = {name: value for name, value, _ in found["settings"]}
    folder = Path(found["rootdir"])
    return folder, build_metadata(folder, project=values.get("tms_project") or "").get("project", "")
