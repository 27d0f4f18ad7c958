"""The command group `tms cases`: the plan of a project, and the test cases with their latest results."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_tms.cli.options import Group, connect, json_option, url_option
from pytest_tms.cli.output import print_json, print_rows

if TYPE_CHECKING:
    from pytest_tms import wire
    from pytest_tms.client import TmsClient

KINDS = ("planned", "missing", "unplanned")
MAX_BYTES = 20_000_000
"""Bytes of the largest plan that is read."""

_project = click.option(
    "--project", metavar="NAME", default="", help="Name of the project; `default` is the one without a name."
)


@click.group(cls=Group)
def cases() -> None:
    """List test cases, and import a plan of them."""


@cases.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_project
@url_option
@json_option
def import_plan(file: Path, project: str, url: str, as_json: bool) -> None:
    """Replace the plan of a project by the cases in FILE.

    FILE is a CSV file in UTF-8 with the columns id and title. Needs a token with the scope `admin`.
    """
    from pytest_tms import wire

    plan = wire.CasePlan(cases=list(read_plan(file)), project=project or None)
    with connect(url) as client:
        _check(client)
        change = client.import_cases(plan)
    if as_json:
        print_json(change)
        return
    click.echo(
        f"{change.project}: {change.total} cases in the plan "
        f"({change.added} added, {change.changed} changed, {change.removed} removed)"
    )


@cases.command("list")
@_project
@click.option(
    "--kind", type=click.Choice(KINDS), help="Only cases in the plan, without a test, or not in it."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print a CSV file.")
@url_option
@json_option
def list_cases(project: str, kind: str | None, as_csv: bool, url: str, as_json: bool) -> None:
    """List test cases with their latest status by suite and environment."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other: choose one")
    with connect(url) as client:
        _check(client)
        found = _all_cases(client, project, kind)
        if as_csv:
            from pytest_tms.exports.cases import write_cases

            for part in write_cases(found):
                sys.stdout.buffer.write(part)
            return
        rows = list(found)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(rows))
        return
    print_rows([each.id, each.title, _latest(each)] for each in rows)


def read_plan(file: Path) -> Iterator[wire.PlannedCase]:
    """Yield the cases of a CSV file.

    Raises:
        ValueError: The file has no column ``id``, or a line is not valid; the message names it.
    """
    from pytest_tms import wire

    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file} is larger than {MAX_BYTES // 10**6} MB: it is not a plan of test cases")
    with file.open(encoding="utf-8-sig", newline="") as lines:
        try:
            rows = csv.reader(lines)
            header = [name.strip().lower() for name in next(rows, [])]
            if "id" not in header:
                raise ValueError(
                    f"{file} has no column id: begin it with the line id,title and write one case on a line"
                )
            first_lines: dict[str, int] = {}
            for row in rows:
                values = dict(zip(header, (" ".join(value.split()) for value in row), strict=False))
                if not any(values.values()):
                    continue
                case_id, title = values.get("id", ""), values.get("title", "")
                problem = _problem(case_id, title, first_lines)
                if problem:
                    raise ValueError(f"{file}, line {rows.line_num}: {problem}")
                first_lines[case_id] = rows.line_num
                yield wire.PlannedCase(id=case_id, title=title)
        except UnicodeDecodeError:
            raise ValueError(f"{file} is not in UTF-8: save it as CSV in UTF-8") from None
        except csv.Error as error:
            raise ValueError(f"{file}, line {rows.line_num}: {error}") from None


def _problem(case_id: str, title: str, first_lines: dict[str, int]) -> str:
    if not case_id:
        return "the id is missing"
    if len(case_id) > 200:
        return "the id has more than 200 characters"
    if len(title) > 500:
        return f"the title of {case_id} has more than 500 characters"
    if case_id in first_lines:
        return f"{case_id} is in line {first_lines[case_id]}, too: remove one of them"
    return ""


def _all_cases(client: TmsClient, project: str, kind: str | None) -> Iterator[wire.Case]:
    cursor = None
    while True:
        page = client.list_cases(project=project or None, kind=kind, cursor=cursor, limit=200)
        yield from page.cases
        cursor = page.cursor
        if cursor is None:
            return


def _check(client: TmsClient) -> None:
    from pytest_tms.errors import NotFound, NotTms

    try:
        capabilities = client.describe_service().capabilities
    except (NotFound, NotTms):  # it implements the API document only
        capabilities = []
    if "cases" not in capabilities:
        raise ValueError(f"{client.base_url} does not manage test cases: it lacks the capability `cases`")


def _latest(case: wire.Case) -> str:
    if not case.tests:
        return "no test"
    results = [f"{each.test_suite}/{each.environment} {each.status}" for each in case.results]
    return ", ".join(results) or "no result"
