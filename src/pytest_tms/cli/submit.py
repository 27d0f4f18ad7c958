"""The command `tms submit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_tms.cli.options import connect, json_option, url_option

if TYPE_CHECKING:
    from pytest_tms import wire
    from pytest_tms.journal.writer import JournalWriter


@click.command()
@click.argument(
    "files", metavar="REPORT...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True)
)
@click.option(
    "--execution",
    envvar="TMS_EXECUTION_ID",
    show_envvar=True,
    required=True,
    metavar="ID",
    help="Execution that the results belong to.",
)
@click.option("--shard", default="1", show_default=True, metavar="I", help="Shard that the results are of.")
@click.option(
    "--provider", metavar="NAME", default="custom", show_default=True, help="Name of the test runner."
)
@url_option
@json_option
def submit(
    files: tuple[Path, ...], execution: str, shard: str, provider: str, url: str, as_json: bool
) -> None:
    """Send the results in REPORT files as one finished shard.

    A REPORT is a file of JUnit XML, pytest-reportlog or CTRF, a folder of Allure results, a folder of such
    files, a pattern such as 'build/**/*.xml', or - for standard input. Files may be compressed with gzip.
    Submitting the same reports again changes nothing. A file that cannot be read is named, and the shard gets
    the status error; the others are sent.
    """
    import json
    import sys
    from tempfile import TemporaryDirectory

    from pytest_tms.cli.formats.inputs import exists, find_files
    from pytest_tms.errors import TmsError
    from pytest_tms.journal.reader import Journal
    from pytest_tms.journal.writer import JournalWriter
    from pytest_tms.sender.uploader import Uploader
    from pytest_tms.text import describe_counts

    paths = find_files(files)
    if not any(map(exists, paths)):
        raise click.BadParameter(
            f"there is no file {str(files[0])!r}, and nothing was sent: name the reports of the test runner"
        )
    with TemporaryDirectory() as folder, connect(url) as client:
        writer = JournalWriter.create([Path(folder)], f"submit-{shard}".replace("/", "-"))
        counts, problems = _write(writer, paths, execution, shard, provider)
        writer.close()
        found = [problem for each in problems.values() for problem in each]
        journal = Journal.adopt(writer.path)
        if journal is None:
            raise ValueError(f"{writer.path} cannot be read: is the folder for temporary files writable?")
        uploader = Uploader(client, journal)
        try:
            with click.progressbar(
                length=journal.end, label=f"shard {shard}", hidden=as_json or not sys.stdout.isatty()
            ) as bar:
                for position in uploader.steps():
                    bar.update(position - bar.pos)
        except TmsError as error:
            raise ValueError("; ".join([*found, f"nothing was sent: {error}"])) if found else error from None
        finally:
            journal.close(delivered=True)
    link = uploader.execution.report_url if uploader.execution else ""
    if as_json:
        numbers = {name: getattr(counts, name) for name in counts.__struct_fields__}
        document = {"reportUrl": link, "results": numbers, "refused": uploader.refused, "problems": problems}
        click.echo(json.dumps(document))
    else:
        click.echo(f"{link}  shard {shard}: {describe_counts(counts)}")
    for problem in found:
        click.echo(f"tms: {' '.join(problem.splitlines())}", err=True)
    for name in uploader.refused:
        click.echo(f"refused {name}", err=True)
    if uploader.refused:
        raise ValueError(f"{len(uploader.refused)} tests were refused by the TMS; the others are stored")
    if found:
        raise click.exceptions.Exit(1)


def _write(
    journal: JournalWriter, paths: Sequence[Path], execution: str, shard: str, provider: str
) -> tuple[wire.ReportedCounts, dict[str, list[str]]]:
    """Write a journal with the results of these reports; return their counts, and the problems by report."""
    import os

    from pytest_tms import wire
    from pytest_tms.ci.metadata import build_metadata
    from pytest_tms.cli.formats.inputs import read_reports
    from pytest_tms.cli.formats.node_ids import NodeIds
    from pytest_tms.cli.formats.totals import Totals
    from pytest_tms.journal import lines
    from pytest_tms.masking.environment import secrets_in
    from pytest_tms.masking.masker import Masker

    masker = Masker(secrets_in(os.environ))
    shard_json = lines.text_as_json(shard)

    def write(line: bytes) -> None:
        journal.append(masker.line(line))

    now = wire.timestamp()
    opened = lines.Opened(
        at=now, version=lines.VERSION, run=journal.path.stem, execution=execution, provider=provider
    )
    write(lines.encode(opened))
    write(lines.encode(lines.ShardStarted(at=now, shard=shard)))
    totals = Totals()
    node_ids = NodeIds()
    problems: dict[str, list[str]] = {}
    for name, report in read_reports(paths, node_ids):
        for result in report:
            number = totals.add(result)
            write(lines.encode_tested(shard_json, lines.as_json(result), test_number=number))
        totals.end(report)
        if report.problems:
            problems.setdefault(name, []).extend(report.problems)
    metadata = build_metadata(Path.cwd())
    end = lines.ShardEnded(
        at=now,
        shard=shard,
        status=totals.status(),
        results=totals.counts(),
        duration=round(totals.duration),
        artifacts=totals.artifacts(),
        reason=next((problem for each in problems.values() for problem in each), ""),
        metadata={**metadata, "suites": totals.properties} if totals.properties else metadata,
    )
    write(lines.encode(end))
    return totals.counts(), problems
