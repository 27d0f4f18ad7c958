"""Test cases: lists with the latest results, one case, import of a plan, export."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.errors import NotFound, Problem
from pytest_tms.exports.cases import write_cases
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.actors import Caller
from pytest_tms.server.domain.builds import DEFAULT_PROJECT
from pytest_tms.server.domain.column_values import without_nul
from pytest_tms.server.domain.flakiness import Observation
from pytest_tms.server.domain.problems import refuse
from pytest_tms.server.store import audit, projects, test_cases, test_catalogue, test_history
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.test_cases import CaseFilter, TestCase
from pytest_tms.server.store.test_history import RegisteredTest

OBSERVED = 50
"""Latest results of a test among which its latest one of each suite and environment is looked for."""
PAGE = 100
"""Cases that an export reads at a time: between two pages it holds no connection and no transaction."""
MAX_TARGET = 64
"""Characters of a project in the audit log."""
_PRECEDENCE = ("failed", "passed", "skipped")


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """The latest status of a case in a suite and environment; ``at`` is milliseconds since 1970."""

    test_suite: str
    environment: str
    status: wire.TestStatus
    at: int


@dataclass(frozen=True, kw_only=True)
class CaseSummary:
    """A case with the tests that carry its id, and its latest results by suite and environment."""

    case: TestCase
    tests: Sequence[RegisteredTest]
    results: Sequence[CaseResult]

    @property
    def status(self) -> wire.TestStatus | None:
        """The worst of the latest results, None if there are none."""
        return min((each.status for each in self.results), key=_PRECEDENCE.index, default=None)


def list_cases(
    connection: Connection, wanted: CaseFilter, environments: Collection[str], *, after: int, limit: int
) -> tuple[list[CaseSummary], int | None]:
    """Return one page of cases, and the cursor of the next page or None; ``after`` is 0 on the first page.

    If ``environments`` are given, tests without a result in one of them are left out, and cases that only
    such tests name.
    """
    found, following = test_cases.find(connection, wanted, after=after, limit=limit)
    return _summaries(connection, found, environments), following


def get_case(connection: Connection, key: str, environments: Collection[str]) -> CaseSummary:
    """Return a case by its key.

    Raises:
        NotFound: The case does not exist, or no environment that is allowed has a result of its tests.
    """
    number = int(key) if key.isascii() and key.isdecimal() and len(key) < 19 else 0
    case = test_cases.get(connection, number)
    found = [] if case is None else _summaries(connection, [case], environments)
    if not found:
        raise NotFound(f"The test case {key[:100]} does not exist.")
    return found[0]


def import_plan(database: Database, plan: wire.CasePlan, *, caller: Caller) -> wire.PlanChange:
    """Replace the plan of a project; cases that tests name stay, without a title.

    Raises:
        Forbidden: The caller's token is bound to environments; a plan applies to all of them.
        Unprocessable: An id is blank, or the plan has it twice.
    """
    caller.require_access(None)
    cases: dict[str, str] = {}
    problems = []
    for place, each in enumerate(plan.cases):
        case_id = " ".join(without_nul(each.id).split())
        if not case_id:
            problems.append(Problem(f"cases[{place}].id", "Must not be blank"))
        elif case_id in cases:
            problems.append(Problem(f"cases[{place}].id", f"The plan has {case_id!r} twice"))
        cases[case_id] = " ".join(without_nul(each.title).split())
    refuse(problems[:100])
    project, now = without_nul(plan.project or DEFAULT_PROJECT), clock.now()
    with database.write() as connection:
        project_id = projects.identify(connection, project, now)
        change = test_cases.replace_plan(connection, project_id, list(cases.items()))
        details = {"project": project, "cases": len(cases), **change._asdict()}
        audit.add(connection, caller, "cases.imported", project[:MAX_TARGET], now, **details)
    return wire.PlanChange(project=project, total=len(cases), **change._asdict())


def export_cases(database: Database, wanted: CaseFilter, environments: Collection[str]) -> Iterator[bytes]:
    """Yield the cases that match a filter as a CSV file, which is read while it is sent."""

    def read() -> Iterator[wire.Case]:
        after: int | None = 0
        while after is not None:
            with database.read() as connection:
                found, after = list_cases(connection, wanted, environments, after=after, limit=PAGE)
            yield from map(case_message, found)

    return write_cases(read())


def case_message(found: CaseSummary) -> wire.Case:
    """Return a case as a message of the API."""
    return wire.Case(
        key=str(found.case.number),
        id=found.case.case_id,
        title=found.case.title,
        project=found.case.project,
        is_planned=found.case.is_planned,
        tests=[
            wire.CaseTest(
                key=str(each.id),
                node_id=each.node_id,
                title=each.title,
                file=each.file,
                owner=each.owner,
            )
            for each in found.tests
        ],
        results=[
            wire.CaseResult(
                test_suite=each.test_suite,
                environment=each.environment,
                status=each.status,
                at=clock.timestamp(each.at),
            )
            for each in found.results
        ],
    )


def _summaries(
    connection: Connection, cases: Sequence[TestCase], environments: Collection[str]
) -> list[CaseSummary]:
    tests_of = test_cases.tests_of(connection, [case.number for case in cases])
    test_ids = sorted({test_id for some in tests_of.values() for test_id in some})
    tests = {each.id: each for each in test_history.get_tests(connection, test_ids)}
    observed = test_catalogue.observations(connection, test_ids, environments, OBSERVED)
    found = []
    for case in cases:
        own = [
            each
            for each in tests_of[case.number]
            if each in tests and (observed.get(each) or not environments)
        ]
        if own or case.is_planned or not environments:
            results = _latest([observed[each] for each in own])
            found.append(CaseSummary(case=case, tests=[tests[each] for each in own], results=results))
    return found


def _latest(tests: Sequence[Sequence[tuple[int, Observation]]]) -> list[CaseResult]:
    """Return the worst of the latest results of several tests, by suite and environment."""
    found: dict[tuple[str, str], list[tuple[int, wire.TestStatus]]] = {}
    for results in tests:
        latest: dict[tuple[str, str], tuple[int, wire.TestStatus]] = {}
        for at, each in results:
            latest.setdefault(each.series, (at, each.status))
        for series, result in latest.items():
            found.setdefault(series, []).append(result)
    return [
        CaseResult(
            test_suite=suite,
            environment=environment,
            status=min((status for _, status in some), key=_PRECEDENCE.index),
            at=max(at for at, _ in some),
        )
        for (suite, environment), some in sorted(found.items())
    ]
