"""`tms submit`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_tms.cli.options import connect, json_option, url_option

if TYPE_CHECKING:
    from pytest_tms import wire
    from pytest_tms.journal.file import JournalWriter
    from pytest_tms.plugin.results.shard_counts import Shard


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--execution",
    envvar="TMS_EXECUTION_ID",
    required=True,
    metavar="ID",
    help="Whose results. [TMS_EXECUTION_ID]",
)
@click.option("--shard", default="1", metavar="I", help="The shard that they are of (1).")
@click.option("--provider", metavar="NAME", default="custom", help="Whose tests these are (custom).")
@url_option
@json_option
def submit(
    files: tuple[Path, ...], execution: str, shard: str, provider: str, url: str, as_json: bool
) -> None:
    """Send the results that FILES hold, as one finished shard; the same again changes nothing.

    FILES are JUnit XML, as most test runners write it, or what pytest-reportlog writes.
    """
    import json
    import sys
    from tempfile import TemporaryDirectory

    from pytest_tms.journal.file import Journal, JournalWriter
    from pytest_tms.plugin.terminal import describe
    from pytest_tms.sender.uploader import Uploader

    with TemporaryDirectory() as folder, connect(url) as client:
        writer = JournalWriter.create([Path(folder)], f"submit-{shard}".replace("/", "-"))
        counts = _write(writer, files, execution, shard, provider)
        writer.close()
        journal = Journal.adopt(writer.path)
        if journal is None:
            raise ValueError(f"{writer.path} cannot be read: is the folder for temporary files writable?")
        delivery = Uploader(client, journal)
        try:
            with click.progressbar(
                length=journal.end, label=f"shard {shard}", hidden=as_json or not sys.stdout.isatty()
            ) as bar:
                delivery.progress = lambda position, _: bar.update(position - bar.pos)
                delivery.step()
        finally:
            journal.close(delivered=True)
    link = delivery.joined.report_url if delivery.joined else ""
    if as_json:
        numbers = {name: getattr(counts, name) for name in counts.__struct_fields__}
        click.echo(json.dumps({"reportUrl": link, "results": numbers, "refused": delivery.refused}))
    else:
        click.echo(f"{link}  shard {shard}: {describe(counts)}")
    for name in delivery.refused:
        click.echo(f"refused {name}", err=True)
    if delivery.refused:
        raise ValueError(f"{len(delivery.refused)} tests were refused; the others have arrived")


def _write(
    journal: JournalWriter, files: tuple[Path, ...], execution: str, shard_id: str, provider: str
) -> wire.GivenCounts:
    """Write the journal of a run that had these results; answers their counts."""
    import os

    from pytest_tms import masking, wire
    from pytest_tms.journal import lines
    from pytest_tms.plugin import ci
    from pytest_tms.plugin.results.shard_counts import Shard

    masker = masking.Masker(masking.of_environment(os.environ))
    shard = Shard(shard_id, 0)
    shard_json = lines.text_as_json(shard_id)

    def write(line: bytes) -> None:
        journal.append(masker.line(line))

    now = wire.timestamp()
    write(
        lines.encode(
            lines.Opened(
                at=now, version=lines.VERSION, run=journal.path.stem, execution=execution, provider=provider
            )
        )
    )
    write(lines.encode(lines.ShardStarted(at=now, shard=shard_id)))
    duration = 0.0
    statuses = set()
    for path in files:
        results = _results(path)
        for result in results:
            result = _distinct(result, shard)
            number, _ = shard.count(result.node_id, result)
            write(lines.encode_tested(shard_json, lines.as_json(result), identity=number))
            duration += result.duration or 0
        statuses.add(getattr(results, "status", None))
    status: wire.SubmittedStatus = "failed" if shard.counts["failed"] else "completed"
    if "error" in statuses:
        status = "error"
    elif "cancelled" in statuses and status == "completed":
        status = "cancelled"  # with a failure it may also have been xdist's -x
    end = lines.ShardEnded(
        at=now,
        shard=shard_id,
        status=status,
        results=shard.totals(),
        duration=round(duration),
        metadata=ci.describe(Path.cwd()),
    )
    write(lines.encode(end))
    return shard.totals()


def _results(path: Path) -> Iterable[wire.TestResult]:
    """The results in a file, by what it begins with. Raises ValueError where it is neither format."""
    with path.open("rb") as file:
        start = file.read(1000).lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\x00")
    if start.startswith(b"<"):
        from pytest_tms.cli.junit import JUnit

        return JUnit(path)
    if start.startswith(b"{"):
        from pytest_tms.cli.reportlog import ReportLog

        return ReportLog(path)
    raise ValueError(f"{path} is neither JUnit XML nor of pytest-reportlog: name such a file")


def _distinct(result: wire.TestResult, shard: Shard) -> wire.TestResult:
    """The result under a node id of its own: files may name several tests the same."""
    import msgspec

    name, number = result.node_id, 1
    while name in shard.settled:
        number += 1
        name = f"{result.node_id} #{number}"
    return result if number == 1 else msgspec.structs.replace(result, node_id=name)
