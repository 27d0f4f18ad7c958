"""The command group `tms execution`, for scripts and CI steps."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_tms.cli.execution_check import check
from pytest_tms.cli.options import Group, connect, json_option, new_request, request_options, url_option
from pytest_tms.cli.output import print_json
from pytest_tms.exports.formats import FORMATS, write_export

if TYPE_CHECKING:
    from pytest_tms import wire
    from pytest_tms.client import TmsClient

ENDS: dict[str, wire.EventName] = {
    "completed": "execution.completed",
    "failed": "execution.failed",
    "cancelled": "execution.cancelled",
}
STATES = ("created", "running", "completed", "failed", "cancelled")
SHOWN = 10
"""Tests of one kind that ``show`` lists for each shard."""


@click.group(cls=Group)
def execution() -> None:
    """Create, list, show, check, finish, cancel and delete executions."""


execution.add_command(check)


@execution.command()
@request_options
@click.option(
    "--shards",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Number of shards that will report.",
)
@click.option(
    "--run-key",
    metavar="KEY",
    default="",
    help="Key of the CI run: jobs with the same one share an execution, which the first of them creates.",
)
@url_option
@json_option
def create(shards: int, run_key: str, url: str, as_json: bool, **options: Any) -> None:
    """Create an execution and print it as variables.

    Prints TMS_EXECUTION_ID and TMS_WEBHOOK_TOKEN, one per line, for $GITHUB_ENV, a dotenv report, or export.
    The token authenticates events of this execution and is shown only once: keep it out of logs.
    """
    request = new_request(options, shards, run_key)
    with connect(url) as client:
        if run_key and "run-key" not in capabilities(client):
            raise ValueError(
                f"{client.base_url} cannot share an execution by a run key: create it once without --run-key "
                "and pass its variables to the other jobs"
            )
        created = client.create_execution(request)
    if as_json:
        print_json(created)
        return
    click.echo(f"TMS_EXECUTION_ID={created.execution_id}")
    if created.webhook_token:
        click.echo(f"TMS_WEBHOOK_TOKEN={created.webhook_token}")
    if created.report_url:
        click.echo(f"report  {created.report_url}", err=True)


@execution.command()
@click.argument("execution_id", metavar="ID")
@click.option(
    "--markdown",
    "as_markdown",
    is_flag=True,
    help="Print Markdown for a comment or the summary of a CI job: new failures first, at most 64 KiB.",
)
@url_option
@json_option
def show(execution_id: str, as_markdown: bool, url: str, as_json: bool) -> None:
    """Show the state and the results of an execution and its shards."""
    from pytest_tms.text import describe_counts, stopped_early

    if as_markdown and as_json:
        raise click.UsageError("--markdown and --json exclude each other: choose one")
    with connect(url) as client:
        status = client.get_execution(execution_id)
        if as_markdown:
            # A TMS that does not list tests still has the counts and the shards.
            known = capabilities(client)
            tests = client.iter_tests(execution_id) if "tests" in known else ()
            changes = _changes(client, execution_id, known)
            _write(write_export("markdown", status, lambda _: tests, changes), None)
            return
    if as_json:
        print_json(status)
        return
    progress = status.progress
    shards = f"{progress.shards_completed} of {progress.total_shards} shards finished"
    click.echo(f"{status.execution_id}  {status.status}, {shards}: {describe_counts(status.results)}")
    if status.reason:
        click.echo(f"reason  {status.reason}")
    if progress.tests_not_run:
        click.echo(stopped_early(progress.tests_not_run, progress.tests_expected))
    for shard in status.shard_results:
        again = f" (attempt {shard.attempt})" if shard.attempt > 1 else ""
        click.echo(f"shard   {shard.shard_id} {shard.status}{again}: {describe_counts(shard.results)}")
        for line in _details(shard):
            click.echo(f"        {line}")
    if status.artifacts.report_url:
        click.echo(f"report  {status.artifacts.report_url}")


@execution.command()
@click.argument("execution_id", metavar="ID")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS)),
    required=True,
    help="Format of the file.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE instead of standard output.",
)
@url_option
def export(execution_id: str, format_name: str, output: Path | None, url: str) -> None:
    """Write an execution and its tests to a file, for other tools, or for colleagues.

    The HTML file opens without a server. Works with every TMS that has the capability `tests`.
    """
    with connect(url) as client:
        known = capabilities(client)
        if "tests" not in known:
            raise ValueError(
                f"{client.base_url} does not list the tests of an execution (it has no capability `tests`), "
                "so they cannot be exported: use a TMS that has it, for example `tms serve`"
            )
        status = client.get_execution(execution_id)
        changes = _changes(client, execution_id, known) if FORMATS[format_name].has_changes else None
        content = write_export(
            format_name, status, lambda only: client.iter_tests(execution_id, status=only), changes
        )
        _write(content, output)


@execution.command()
@click.argument("execution_id", metavar="ID")
@click.option(
    "--status",
    type=click.Choice(list(ENDS)),
    default="completed",
    show_default=True,
    help="Final status of the execution.",
)
@url_option
@json_option
def finish(execution_id: str, status: str, url: str, as_json: bool) -> None:
    """End an execution, even if its shards have not ended.

    An execution whose shards have all ended needs no such command. Authenticates with TMS_WEBHOOK_TOKEN if it
    is set, else with the API token.
    """
    from pytest_tms import wire

    own_token = os.environ.get("TMS_WEBHOOK_TOKEN", "").strip()
    event = wire.Event(
        event=ENDS[status],
        execution_id=execution_id,
        timestamp=wire.timestamp(),
        data=wire.EventData(status=status),
    )
    with connect(url, own_token=bool(own_token)) as client:
        accepted = client.send_event(event, webhook_token=own_token)
    if as_json:
        print_json(accepted)
    current = accepted.execution_status or status
    if current != status:
        raise ValueError(f"{execution_id} is already {current}, which cannot change to {status}")
    if not as_json:
        click.echo(f"{execution_id} is {current}")


@execution.command()
@click.argument("execution_id", metavar="ID")
@url_option
@json_option
def cancel(execution_id: str, url: str, as_json: bool) -> None:
    """Cancel an execution. Its runs stop when they are notified."""
    with connect(url) as client:
        cancelled = client.cancel_execution(execution_id)
    if as_json:
        print_json(cancelled)
    else:
        click.echo(f"{execution_id} is {cancelled.status}")


@execution.command("list")
@click.option("--project", metavar="NAME", help="Only executions of this project.")
@click.option("--suite", "test_suite", metavar="NAME", help="Only executions of this suite.")
@click.option("--environment", metavar="NAME", help="Only executions in this environment.")
@click.option("--branch", metavar="NAME", help="Only executions of this branch.")
@click.option("--status", type=click.Choice(STATES), help="Only executions in this state.")
@click.option("--provider", metavar="NAME", help="Only executions of this provider.")
@click.option("--commit", metavar="SHA", help="Only executions of commits that begin like this.")
@click.option("--author", metavar="NAME", help="Only executions of commits by this author.")
@click.option("--since", metavar="TIME", help="Only executions created at this ISO 8601 time or later.")
@click.option("--until", metavar="TIME", help="Only executions created before this ISO 8601 time.")
@click.option(
    "--text", "q", metavar="TEXT", help="Only executions with it in the id, branch, commit, suite or author."
)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Executions to list."
)
@url_option
@json_option
def list_executions(limit: int, url: str, as_json: bool, **filters: Any) -> None:
    """List executions, the newest first."""
    import msgspec

    from pytest_tms.text import describe_counts

    with connect(url) as client:
        found = find(client, limit, **filters)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for each in found:
        metadata = each.metadata
        words = [each.project, each.test_suite, each.environment, metadata.get("branch")]
        about = " · ".join(str(word) for word in words if word)
        click.echo(
            f"{each.execution_id}  {each.created_at}  {each.status}  {about}: {describe_counts(each.results)}"
        )
    if not found:
        click.echo("no executions match", err=True)


def find(client: TmsClient, limit: int, **filters: Any) -> list[wire.ListedExecution]:
    """Return at most ``limit`` executions that match, the newest first.

    Raises:
        ValueError: The TMS does not announce the capability ``executions``.
    """
    if "executions" not in capabilities(client):
        raise ValueError("this TMS does not list executions: find them on its pages")
    found: list[wire.ListedExecution] = []
    cursor = None
    while len(found) < limit:
        page = client.list_executions(**filters, cursor=cursor, limit=min(200, limit - len(found)))
        found += page.executions
        cursor = page.cursor
        if cursor is None:
            break
    return found


def capabilities(client: TmsClient) -> list[str]:
    """Return what a TMS announces, nothing if it implements the API document only."""
    from pytest_tms.errors import NotFound, NotTms

    try:
        return client.describe_service().capabilities
    except (NotFound, NotTms):
        return []


@execution.command()
@click.argument("execution_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Ask for no confirmation.")
@url_option
@json_option
def delete(execution_id: str, yes: bool, url: str, as_json: bool) -> None:
    """Delete an execution that has ended, with all its results.

    This cannot be undone. It needs a token with the scope admin.
    """
    if not yes:
        click.confirm(f"Delete {execution_id} with all its results?", abort=True, err=True)
    with connect(url) as client:
        deleted = client.delete_execution(execution_id)
    if as_json:
        print_json(deleted)
    else:
        click.echo(f"{execution_id} is deleted")


def _changes(client: TmsClient, execution_id: str, known: Sequence[str]) -> wire.RunChanges | None:
    """Return what changed since the previous run, if the TMS has the capability."""
    return client.get_changes(execution_id, limit=200) if "history" in known else None


def _write(content: Iterator[bytes], output: Path | None) -> None:
    """Write to a file, or to standard output; a file that cannot be completed is removed."""
    first = next(content, b"")  # before the file is opened: an error leaves an earlier one as it is
    if output is None:
        stream = sys.stdout.buffer
        stream.writelines(chain([first], content))
        stream.flush()
        return
    try:
        with output.open("wb") as file:
            file.writelines(chain([first], content))
    except BaseException:
        if output.is_file():
            output.unlink()
        raise


def _details(shard: wire.ShardResult) -> Iterator[str]:
    """Yield lines about what is unusual in a shard: exit status, reason, tests that run or did not run."""
    from pytest_tms.text import is_notable_exit

    if is_notable_exit(shard.exit_status, shard.results.failed):
        yield f"exit status {shard.exit_status}"
    if shard.reason:
        yield f"reason: {shard.reason}"
    when = "running now" if shard.status == "running" else "running when it ended"
    yield from _listed(when, [test.node_id for test in shard.in_flight], len(shard.in_flight))
    total = len(shard.not_run_tests) if shard.not_run is None else shard.not_run
    reason = f": {shard.not_run_reason}" if shard.not_run_reason else ""
    if total:
        yield f"{total} did not run{reason}"
        yield from _listed("did not run", shard.not_run_tests, total)


def _listed(what: str, names: Sequence[str], total: int) -> Iterator[str]:
    for name in names[:SHOWN]:
        yield f"{what}: {name}"
    if names and total > SHOWN:
        yield f"{what}: {total - len(names[:SHOWN])} more"
