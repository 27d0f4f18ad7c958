"""Results of the TMS as texts for agents: short lines, and long texts cut with a note that says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_tms import wire
from pytest_tms.exports.fields import number, objects, text, texts
from pytest_tms.text import describe_counts, describe_since, first_line, without_escapes

MAX_RESULT = 60_000
"""Characters of the result of any tool."""
MAX_TRACEBACK = 15_000
"""Characters of a traceback; its end is kept."""
MAX_OUTPUT = 5_000
"""Characters of each output; its end is kept."""
MAX_LINE = 300
"""Characters of a name or an error in a list."""
TEXT_TYPES = ("text/", "application/json", "application/xml", "application/yaml", "application/javascript")


def limited(content: str) -> str:
    """Return the result of a tool, cut to the limit of every tool."""
    return cut(content, MAX_RESULT, "ask for less")


def cut(content: str, limit: int, hint: str) -> str:
    """Return the beginning of a text, with a note about what is missing."""
    if len(content) <= limit:
        return content
    return f"{content[:limit]}\n[{len(content) - limit:,} more characters are cut off: {hint}]"


def line(content: str) -> str:
    """Return a name or an error on one line."""
    return first_line(without_escapes(content), limit=MAX_LINE)


def is_text(content_type: str) -> bool:
    """Return whether files of a content type are text."""
    return content_type.startswith(TEXT_TYPES)


def run_line(run: wire.ListedExecution) -> str:
    """Return a run on one line."""
    facts = {
        "project": run.project,
        "suite": run.test_suite,
        "environment": run.environment,
        "branch": run.metadata.get("branch"),
        "commit": run.metadata.get("commit"),
    }
    about = ", ".join(f"{name} {line(str(value))}" for name, value in facts.items() if value)
    return f"{run.execution_id}  {run.created_at}  {run.status}: {describe_counts(run.results)}  ({about})"


def cause(found: wire.FailureCause) -> str:
    """Return a cause with its first tests."""
    new = {True: "new", False: "known", None: "no earlier run"}[found.is_new]
    heading = f"{found.count} × {line(found.exception)}: {line(found.message)}"
    facts = f"{new}; first seen {found.first_seen or '?'}; at {line(found.location) or '?'}"
    more = [f"- … and {found.count - len(found.tests)} more"] if found.count > len(found.tests) else []
    return "\n".join([heading, facts, *map(_compared, found.tests), *more])


def result(test: Mapping[str, Any]) -> str:
    """Return one result with its traceback, output, attempts and files."""
    parts = [
        f"test: {text(test, 'nodeId') or text(test, 'title')}",
        f"status: {text(test, 'status')} ({text(test, 'outcome') or text(test, 'status')})",
        f"duration: {number(test, 'duration') or 0} ms",
    ]
    for name in ("owner", "worker", "startedAt"):
        if test.get(name):
            parts.append(f"{name}: {line(text(test, name))}")
    if test.get("tags"):
        parts.append(f"tags: {line(', '.join(texts(test, 'tags')))}")
    if test.get("error"):
        parts.append(f"error: {_tail(text(test, 'error'), MAX_OUTPUT)}")
    parts += _block("traceback", text(test, "longrepr"), MAX_TRACEBACK)
    for name in ("stdout", "stderr", "log"):
        parts += _block(name, text(test, name), MAX_OUTPUT)
    for section in objects(test, "sections"):
        parts += _block(line(text(section, "name")), text(section, "text"), MAX_OUTPUT)
    attempts = objects(test, "attempts")
    parts += [
        f"attempt {count}: {text(each, 'status') or text(each, 'outcome')}: {line(text(each, 'error'))}"
        for count, each in enumerate(attempts, 1)
    ]
    files = objects(test, "artifacts")
    if files:
        parts += ["files:", *map(_file, files)]
    return "\n".join(parts)


def history(found: wire.TestHistory) -> str:
    """Return the rates of a test and its results."""
    test = found.test
    rates = []
    if test.pass_rate is not None:
        rates.append(f"passed in {test.pass_rate:.0%} of the latest {test.runs} results")
    if test.flake_rate is not None:
        low, high = test.flake_rate_low or 0, test.flake_rate_high or 0
        rates.append(f"flaky in {test.flake_rate:.0%} (between {low:.0%} and {high:.0%})")
    lines = [
        f"{each.created_at}  {each.execution_id}  {each.outcome or each.status}{' flaky' * each.is_flaky}  "
        f"{each.duration} ms  branch {line(each.branch) or '?'}, commit {line(each.commit) or '?'}, "
        f"{line(each.test_suite)} on {line(each.environment)}"
        + (f": {line(each.error)}" if each.error else "")
        for each in found.results
    ]
    more = ["There are more results: raise the limit."] if found.cursor else []
    return "\n".join([f"test: {line(test.node_id or test.title)}", "; ".join(rates), *lines, *more])


def comparison(found: wire.ExecutionComparison) -> str:
    """Return what changed from one run to another."""
    counts = found.counts
    parts = [f"{found.execution_id} compared with the earlier {found.compared_with}"]
    if not found.is_complete:
        parts.append("A run has more failures than are compared: the numbers are at least these.")
    groups: Sequence[tuple[str, int, Iterable[str]]] = (
        ("newly failing", counts.newly_failing, map(_compared, found.newly_failing)),
        ("fixed", counts.fixed, map(_compared, found.fixed)),
        ("still failing", counts.still_failing, map(_compared, found.still_failing)),
        ("added", counts.added, map(_compared, found.added)),
        ("removed", counts.removed, map(_compared, found.removed)),
        (
            "slower",
            counts.slower,
            (
                f"- {line(each.node_id or each.title)}: {each.before} → {each.after} ms"
                for each in found.slower
            ),
        ),
    )
    for name, count, lines in groups:
        listed = list(lines)
        more = [f"- … and {count - len(listed)} more"] if count > len(listed) else []
        parts += [f"{name}: {count}", *listed, *more]
    return "\n".join(parts)


def _compared(test: wire.ComparedTest) -> str:
    since = f", since {describe_since(test.since)}, {test.since.runs} runs" if test.since else ""
    error = f": {line(test.error)}" if test.error else ""
    return f"- {line(test.node_id or test.title)} (shard {line(test.shard_id)}{since}){error}"


def _file(file: Mapping[str, Any]) -> str:
    facts = [text(file, name) for name in ("kind", "contentType") if file.get(name)]
    if (size := number(file, "size")) is not None:
        facts.append(f"{size:,} bytes")
    facts.append(f"sha256 {text(file, 'sha256')}" if file.get("sha256") else "not uploaded")
    return f"- {line(text(file, 'name') or text(file, 'path'))} ({', '.join(facts)})"


def _block(name: str, content: str, limit: int) -> list[str]:
    return [f"--- {name} ---", _tail(content, limit)] if content.strip() else []


def _tail(content: str, limit: int) -> str:
    content = without_escapes(content).strip("\n")
    if len(content) <= limit:
        return content
    return f"[{len(content) - limit:,} characters before this are cut off]\n{content[-limit:]}"
