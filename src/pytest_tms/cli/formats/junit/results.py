"""Test cases and failed suites as results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_tms import wire
from pytest_tms.cli.formats import attachments
from pytest_tms.cli.formats.bounded_text import BoundedText, clip
from pytest_tms.cli.formats.durations import milliseconds
from pytest_tms.cli.formats.junit.dialects import FAILED, SKIPPED
from pytest_tms.cli.formats.junit.elements import MAX_TITLE, Case, Detail, Suite
from pytest_tms.cli.formats.junit.exported import NODE_ID, is_exported, restored
from pytest_tms.cli.formats.junit.outcomes import attempts_of, error_of_attributes, outcome_of
from pytest_tms.cli.formats.junit.titles import titles_of
from pytest_tms.cli.formats.node_ids import NodeIds
from pytest_tms.text import clean


def result_of_case(case: Case, root: Mapping[str, str], node_ids: NodeIds, folder: Path) -> wire.TestResult:
    """Return the result of a complete ``testcase``, and count it in its suite.

    ``root`` is the attributes of the root element; relative paths of attachments begin at ``folder``.
    """
    status, outcome, decisive = outcome_of(case)
    case.suite.count(case, status)
    titles, file = titles_of(case, root)
    attempts, retries = attempts_of(case, outcome)
    paths: list[str] = []
    stdout = _output(case.stdout, paths)
    stderr = _output(case.stderr, paths)
    properties = _properties(case, paths)
    candidates = [_node_id(file, title) for title in titles]
    if is_exported(root) and isinstance(node_id := properties.get(NODE_ID), str):
        candidates = [node_id]
    index, node_id = node_ids.take(candidates, case.suite.key)
    result = wire.TestResult(
        title=titles[index],
        file=file or None,
        status=status,
        duration=milliseconds(case.attributes.get("time") or case.attributes.get("duration")),
        error=decisive.error if decisive is not None else error_of_attributes(case, status),
        retries=retries or None,
        node_id=node_id,
        outcome=outcome,
        longrepr=_longrepr(case, status, decisive),
        stdout=stdout or None,
        stderr=stderr or None,
        properties=properties or None,
        artifacts=(attachments.artifacts(paths, folder) or None) if paths else None,
        attempts=attempts or None,
    )
    return restored(result) if is_exported(root) else result


def result_of_suite(suite: Suite, failure: Detail, node_ids: NodeIds) -> wire.TestResult:
    """Return the failure of a whole suite as a failed test with the name of the suite."""
    name = suite.name or "(a suite without a name)"
    title = clean("::".join([*(each for each in suite.titles if each != name), name]), limit=MAX_TITLE)
    _, node_id = node_ids.take([_node_id(suite.file, title)], suite.key)
    return wire.TestResult(
        title=title,
        file=suite.file or None,
        status="failed",
        error=failure.error,
        node_id=node_id,
        outcome="error",
        longrepr=failure.longrepr or None,
    )


def add_property(properties: dict[str, Any], name: str, value: str) -> None:
    """Set a property; the values of a name that is repeated are a list."""
    if name not in properties:
        properties[name] = value
    elif isinstance(properties[name], list):
        properties[name].append(value)
    else:
        properties[name] = [properties[name], value]


def _node_id(file: str, title: str) -> str:
    return f"{file}::{title}" if file else title


def _longrepr(case: Case, status: wire.TestStatus, decisive: Detail | None) -> str | None:
    """Return the texts of all failures; of a skip only if ``error`` does not have all of it."""
    if decisive is None or status == "passed":
        return None
    details = case.named(FAILED) or [decisive] if status == "failed" else case.named(SKIPPED)
    if len(details) > 1:
        text = _joined(detail.message_and_body for detail in details)
    else:
        text = _joined([decisive.longrepr])
    if status == "skipped" and text.strip() == (decisive.error or ""):
        return None
    return text or None


def _joined(texts: Iterable[str]) -> str:
    kept = [text for text in (each.strip("\r\n") for each in texts) if text.strip()]
    return clip("\n\n".join(kept))


def _output(texts: list[BoundedText], paths: list[str]) -> str:
    """Return captured output without the lines that name attachments; append their paths to ``paths``."""
    if not texts:
        return ""
    found, text = attachments.in_output(_joined(map(str, texts)))
    paths += found
    return text.strip("\n") if found else text


def _properties(case: Case, paths: list[str]) -> dict[str, Any]:
    """Return the properties of a test; append the paths of those that name attachments to ``paths``."""
    properties: dict[str, Any] = {}
    for detail in case.details:
        if detail.tag == "property":
            name, value = detail.name_and_value
        elif detail.tag == "attachment":
            name, value = "attachment", detail.path
        else:
            continue
        if attachments.is_attachment(name, value):
            paths.append(value)
        elif name or value:
            add_property(properties, name, value)
    return properties
