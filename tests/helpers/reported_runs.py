"""Runs a case with three reporters on, ours, JUnit XML and pytest-reportlog, and reads what each has."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pytest_tms import wire
from tests.helpers.environments import python
from tests.helpers.processes import TmsServer

MODES = {"alone": (), "workers": ("-n", "2")}
"""The options of each way in which a case runs."""


@dataclass(frozen=True)
class Test:
    """What is stored of a test. ``more`` are further fields to compare, by their names on the wire."""

    __test__ = False

    node_id: str
    status: str
    outcome: str
    retries: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class StartsWith:
    """Compares equal to every text with this beginning; the end of such a text varies."""

    start: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other.startswith(self.start)


def passed(node_id: str, retries: int = 0, **more: Any) -> Test:
    return Test(node_id, "passed", "passed", retries, more)


def failed(node_id: str, error: str | StartsWith, retries: int = 0, **more: Any) -> Test:
    return Test(node_id, "failed", "failed", retries, {"error": error, **more})


def broken(node_id: str, error: str | StartsWith, retries: int = 0, **more: Any) -> Test:
    return Test(node_id, "failed", "error", retries, {"error": error, **more})


def crashed(node_id: str, retries: int = 0, **more: Any) -> Test:
    return Test(node_id, "failed", "crashed", retries, {"error": StartsWith("worker 'gw"), **more})


def skipped(node_id: str, reason: str | None, outcome: str = "skipped", **more: Any) -> Test:
    return Test(node_id, "skipped", outcome, 0, {"error": reason, **more})


def xpassed(node_id: str, status: str = "passed", **more: Any) -> Test:
    return Test(node_id, status, "xpassed", 0, more)


@dataclass(frozen=True)
class Case:
    """A small project, how it is run, and what must be stored of it.

    ``shards`` are their states by their ids, or the one state of all, or their ids where the states are a matter
    of luck. ``odd`` are the node ids (or patterns of them) about which JUnit XML or the report log say something else;
    docs/outcomes.md says why. ``in_workers`` replaces fields where the case runs over xdist.
    """

    name: str
    files: Mapping[str, str]
    tests: Iterable[Test]
    exit: int = 0
    options: tuple[str, ...] = ()
    shards: Mapping[str, str] | set[str] | str = "completed"
    not_run: int = 0
    odd: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    modes: tuple[str, ...] = tuple(MODES)
    environment: str = "main"
    execution: str = "completed"
    in_workers: Mapping[str, Any] = field(default_factory=dict)

    def id(self, mode: str) -> str:
        return f"{self.name}-{mode}"


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its exit status and output, and what each reporter has of it."""

    exit: int
    output: str
    stored: list[dict[str, Any]]
    status: wire.ExecutionStatus | None
    junit: dict[tuple[str, str], str]
    log: list[dict[str, Any]]

    @property
    def reported(self) -> tuple[int, int, int]:
        """The numbers in our summary: tests collected, delivered and not run."""
        found = re.findall(r"^(?:tms: )?(?:(\d+) of )?(\d+) results? reported: ", self.output, re.M)
        (part, total), *_ = found or [("", "0")]
        not_run = re.findall(r"^(\d+) of (\d+) tests? did not run: ", self.output, re.M)
        missing, collected = map(int, not_run[0]) if not_run else (0, int(total))
        return collected, int(part or total), missing

    @property
    def warnings(self) -> list[str]:
        """The problems and warnings in our summary."""
        return re.findall(r"^(?:problem|warning): (.*)$", self.output, re.M)


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write a project; without a pytest.ini of its own it gets an empty one."""
    for name, text in {"pytest.ini": "[pytest]\n", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def run(
    tms: TmsServer,
    folder: Path,
    files: Mapping[str, str],
    *options: str,
    environment: str = "main",
    cwd: Path | None = None,
    extra: Mapping[str, str] | None = None,
    timeout: float = 180,
) -> FinishedRun:
    """Write ``files`` and run pytest over them with all three reporters."""
    project = folder / "project"
    project.mkdir(exist_ok=True)
    write(project, files)
    xml, log = folder / "junit.xml", folder / "log.jsonl"
    command = [python(environment), "-m", "pytest", f"--junitxml={xml}", f"--report-log={log}"]
    settings = {"TMS_URL": tms.url, "TMS_API_TOKEN": tms.token, "PYTHONDONTWRITEBYTECODE": "1"}
    settings["PYTEST_DEBUG_TEMPROOT"] = str(folder)  # any other run may clear a shared one
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTEST_") or (name == "PYTEST_ADDOPTS" and environment == "main")
    }
    environ = {**inherited, **settings, **(extra or {})}
    completed = subprocess.run(
        [*command, *options],
        cwd=cwd or project,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )
    return read(tms, folder, completed.returncode, completed.stdout.decode(errors="replace"))


def read(tms: TmsServer, folder: Path, exit_status: int, output: str) -> FinishedRun:
    """Return what each reporter has of a run with this ``output``; the two others wrote to ``folder``."""
    print(output[-20_000:])
    stored: list[dict[str, Any]] = []
    status = None
    executions = sorted(set(re.findall(r"/(exec_\w+)", output)))
    if executions:
        (execution,) = executions
        with tms.client() as client:
            status = client.get_execution(execution)
            stored = list(client.iter_tests(execution))
    junit, log = _junit(folder / "junit.xml"), _log(folder / "log.jsonl")
    return FinishedRun(exit_status, output, stored, status, junit, log)


def run_case(tms: TmsServer, folder: Path, case: Case, mode: str) -> FinishedRun:
    """Run a case in the given ``mode``."""
    options = (*MODES[mode], *case.options)
    return run(tms, folder, case.files, *options, environment=case.environment)


def fields(case: Case, mode: str) -> dict[str, Any]:
    """What the case expects in this mode, by the names of its fields."""
    own = {name: getattr(case, name) for name in Case.__dataclass_fields__}
    return own | (dict(case.in_workers) if mode == "workers" else {})


def check(ran: FinishedRun, expected: Mapping[str, Any]) -> None:
    """Compare a run with what its case expects, and with what the other reporters have."""
    assert ran.status is not None, ran.output
    assert "INTERNALERROR" not in ran.output or ran.exit == pytest.ExitCode.INTERNAL_ERROR
    assert_stored(ran.stored, expected["tests"])
    assert ran.exit == expected["exit"]
    assert_counted(ran)
    states = {shard.shard_id: shard.status for shard in ran.status.shard_results}
    shards = expected["shards"]
    if isinstance(shards, set):  # which of them failed is a matter of luck
        assert set(states) == shards
        assert set(states.values()) <= {"completed", "failed"}
    elif shards == "failed" and len(states) > 1:  # which worker got a failing test is a matter of luck
        assert "failed" in states.values()
        assert set(states.values()) <= {"completed", "failed"}
    else:
        assert states == (dict.fromkeys(states, shards) if isinstance(shards, str) else shards)
    assert ran.status.status == expected["execution"]
    total, not_run = len(ran.stored), expected["not_run"]
    assert ran.reported == (total + not_run, total, not_run)
    assert ran.warnings == list(expected["warnings"])
    assert differing_tests(ran) == set(expected["odd"])


def assert_stored(stored: Iterable[Mapping[str, Any]], expected: Iterable[Test]) -> None:
    """Each expected test is stored exactly once, and nothing else is."""
    wanted = sorted(expected, key=lambda test: test.node_id)
    found = sorted(stored, key=lambda test: test["nodeId"])
    read = [(test["nodeId"], test["status"], test["outcome"], test.get("retries") or 0) for test in found]
    names = [(test.node_id, test.status, test.outcome, test.retries) for test in wanted]
    assert (
        [name for name in read if name not in names],
        [name for name in names if name not in read],
    ) == (
        [],
        [],
    )
    assert read == names
    for test, has in zip(wanted, found, strict=True):
        for name, value in test.more.items():
            assert (test.node_id, name, compact(name, has.get(name))) == (test.node_id, name, value)


def compact(name: str, value: Any) -> Any:
    """Attempts as (outcome, error) and subtests as (title, status); everything else as it is."""
    if name == "attempts" and value:
        return [(attempt["outcome"], attempt.get("error")) for attempt in value]
    if name == "subtests" and value:
        return [(part["title"], part["status"]) for part in value]
    if name == "artifacts" and value:
        return [(file["kind"], file["name"]) for file in value]
    return value


def assert_counted(ran: FinishedRun) -> None:
    """The counts of the execution and of its shards are those of the stored tests."""
    assert ran.status is not None
    statuses = Counter(test["status"] for test in ran.stored)
    flaky = sum(test["status"] == "passed" and bool(test.get("retries")) for test in ran.stored)
    assert ran.status.results == wire.Counts(total=len(ran.stored), **statuses, flaky=flaky)
    for name in ("total", "passed", "failed", "skipped", "flaky"):
        parts = [getattr(shard.results, name) for shard in ran.status.shard_results]
        assert sum(parts) == getattr(ran.status.results, name)


# The other reporters ------------------------------------------------------------------------------


def differing_tests(ran: FinishedRun) -> set[str]:
    """The node ids whose stored status differs from that in JUnit XML or in the report log."""
    ours: dict[str, set[str]] = {}
    for test in ran.stored:
        ours.setdefault(without_suffix(test["nodeId"]), set()).add(test["status"])
    log = {_ungrouped(node_id, ours): status for node_id, status in by_log(ran.log).items()}
    known = {_junit_name(node_id) for node_id in ours | log}
    names = {name for _, name in known}
    by_name = {(file, _ungrouped(name, names)): status for (file, name), status in ran.junit.items()}
    junit = {node_id: by_name.get(_junit_name(node_id)) for node_id in ours | log}
    unknown = {"::".join(name) for name in by_name if name not in known}
    return unknown | {
        node_id for node_id in ours | log if not (ours.get(node_id) == {log.get(node_id)} == {junit[node_id]})
    }


def _ungrouped(name: str, known: Iterable[str]) -> str:
    """A name without the ``@group`` that other reporters show of xdist's loadgroup before pytest 9.2."""
    if name in known:
        return name
    return next((each for each in known if name.startswith(f"{each}@")), name)


def without_suffix(node_id: str) -> str:
    """Return a node id without the suffix that distinguishes repetitions."""
    return re.sub(r" [@#]\w+$", "", node_id)


def by_log(log: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The status of each test by the report log: of its last attempt, the worst phase."""
    statuses: dict[str, str] = {}
    for line in log:
        if line["$report_type"] == "CollectReport":
            if line["outcome"] != "passed":
                statuses[line["nodeid"]] = line["outcome"]
            continue
        if line["$report_type"] != "TestReport":
            continue
        node_id, outcome = line["nodeid"], line["outcome"]
        if line["when"] == "setup":
            statuses.pop(node_id, None)
        if outcome == "failed" or statuses.get(node_id) == "failed":
            statuses[node_id] = "failed"
        elif outcome == "skipped":
            statuses[node_id] = "skipped"
        elif outcome == "passed" and line["when"] == "call":
            statuses[node_id] = "passed"
    return statuses


def _log(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if "nodeid" in line]


def _junit(path: Path) -> dict[tuple[str, str], str]:
    if not path.exists():
        return {}
    found: dict[tuple[str, str], str] = {}
    for case in ElementTree.parse(path).getroot().iterfind(".//testcase[@name]"):  # one in flight has none
        name = case.get("classname", ""), case.get("name", "")
        status = "passed"
        if case.find("skipped") is not None:
            status = "skipped"
        if case.find("failure") is not None or case.find("error") is not None:
            status = "failed"
        if found.get(name) != "failed":
            found[name] = status
    return found


def _junit_name(node_id: str) -> tuple[str, str]:
    """How JUnit XML calls a node id: a dotted class name, and a name."""
    path, bracket, parameters = node_id.partition("[")
    names = path.split("::")
    names[0] = re.sub(r"\.py$", "", names[0].replace("/", "."))
    names[-1] += bracket + parameters
    name = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", lambda found: f"#x{ord(found.group()):02X}", names[-1])
    return ".".join(names[:-1]), name
