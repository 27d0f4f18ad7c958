"""The command `tms execution check`: a gate for pipelines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from pytest_tms.cli.options import connect, json_option, url_option
from pytest_tms.cli.output import print_json
from pytest_tms.text import counted

if TYPE_CHECKING:
    from pytest_tms import wire

NAMES = 3
"""Tests that one line names."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What an execution has to meet; None is no rule.

    ``max_failures`` limits failed tests that are not in quarantine.
    """

    max_new_failures: int | None = None
    max_failures: int | None = None
    max_flaky: int | None = None
    is_complete: bool = False


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule that an execution does not meet, by the name of its option, and why."""

    rule: str
    message: str


@click.command()
@click.argument("execution_id", metavar="ID")
@click.option(
    "--max-new-failures",
    type=click.IntRange(0),
    metavar="N",
    help="Most tests that may have begun to fail in this execution. Tests in quarantine do not count.",
)
@click.option("--max-flaky", type=click.IntRange(0), metavar="N", help="Most tests that may be flaky.")
@click.option(
    "--complete", "is_complete", is_flag=True, help="The execution must have completed, and every test run."
)
@url_option
@json_option
def check(
    execution_id: str,
    max_new_failures: int | None,
    max_flaky: int | None,
    is_complete: bool,
    url: str,
    as_json: bool,
) -> None:
    """Check an execution that has ended. The exit status is 1 if it does not meet a rule.

    Prints a line for each rule that is not met. Without a rule, no test may have failed, except those in
    quarantine, and the execution must be complete. Without an earlier execution to compare with, every
    failure is new.
    """
    rules = Rules(max_new_failures=max_new_failures, max_flaky=max_flaky, is_complete=is_complete)
    if rules == Rules():
        rules = Rules(max_failures=0, is_complete=True)
    with connect(url) as client:
        status = client.get_execution(execution_id)
        changes = None
        if status.results.failed and (rules.max_new_failures, rules.max_failures) != (None, None):
            changes = client.get_changes(execution_id, limit=NAMES)
    violations = list(violated(rules, status, changes))
    if as_json:
        print_json(
            {
                "executionId": execution_id,
                "isMet": not violations,
                "violations": [asdict(each) for each in violations],
            }
        )
    else:
        for each in violations:
            click.echo(f"{each.rule}: {each.message}")
        if not violations:
            click.echo(f"{execution_id} meets the rules")
    if violations:
        sys.exit(1)


def violated(
    rules: Rules, status: wire.ExecutionStatus, changes: wire.RunChanges | None
) -> Iterator[Violation]:
    """Yield the rules that an execution does not meet.

    ``changes`` may be None if no test failed, or no rule limits failures. An execution that has not ended
    meets none.
    """
    progress, counts = status.progress, status.results
    if status.status in ("created", "running"):
        shards = f"{progress.shards_completed} of {progress.total_shards} shards finished"
        yield Violation(rule="ended", message=f"the execution has not ended: {shards}")
        return
    quarantined = changes.quarantined.count if changes is not None else 0
    if rules.max_failures is not None and counts.failed - quarantined > rules.max_failures:
        others = f", {counted(quarantined, 'other')} in quarantine" if quarantined else ""
        yield Violation(
            rule="failures", message=f"{counted(counts.failed - quarantined, 'test')} failed{others}"
        )
    if rules.max_new_failures is not None and changes is not None:
        new, names = _new_failures(status, changes)
        if new > rules.max_new_failures:
            yield Violation(
                rule="--max-new-failures",
                message=f"{counted(new, 'new failure')}, at most {rules.max_new_failures} allowed{names}",
            )
    if rules.max_flaky is not None and counts.flaky > rules.max_flaky:
        yield Violation(
            rule="--max-flaky",
            message=f"{counted(counts.flaky, 'flaky test')}, at most {rules.max_flaky} allowed",
        )
    if rules.is_complete and (reason := _why_incomplete(status)):
        yield Violation(rule="--complete", message=reason)


def _new_failures(status: wire.ExecutionStatus, changes: wire.RunChanges) -> tuple[int, str]:
    """Return the number of new failures, and the end of a sentence that names the first of them.

    Without an earlier execution every failure is new. So is each of a runner that sent no tests.
    """
    quarantined = changes.quarantined.count
    if changes.compared_with is None:
        return status.results.failed - quarantined, " (no earlier execution to compare with)"
    if not (changes.new_failures.count or changes.known_failures.count or quarantined):
        return status.results.failed, " (its runner sent no tests)"
    names = [each.node_id or each.title for each in changes.new_failures.tests[:NAMES]]
    more = ", …" if changes.new_failures.count > len(names) else ""
    return changes.new_failures.count, f": {', '.join(names)}{more}"


def _why_incomplete(status: wire.ExecutionStatus) -> str:
    """Return why an execution that has ended is not complete; empty if it is."""
    progress = status.progress
    if status.status != "completed":
        return f"the execution is {status.status}{f': {status.reason}' if status.reason else ''}"
    if progress.tests_not_run:
        return f"{counted(progress.tests_not_run, 'test')} did not run"
    if progress.shards_completed < progress.total_shards:
        return f"{progress.shards_completed} of {progress.total_shards} shards finished"
    return ""
