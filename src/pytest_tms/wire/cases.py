"""Messages about test cases: the capability ``cases``.

A test carries the id of a case as its property ``id``. Several tests may carry one id, and a test several.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from pytest_tms.wire.base import ClientMessage, Identifier, ServerMessage

MAX_PLAN = 20_000
"""Cases of one plan."""


class PlannedCase(ClientMessage, frozen=True, kw_only=True):
    """A case of a plan, with its title."""

    id: Identifier
    title: Annotated[str, msgspec.Meta(max_length=500)] = ""


class CasePlan(ClientMessage, frozen=True, kw_only=True):
    """The plan of a project, which replaces the one before: PUT /cases."""

    cases: Annotated[list[PlannedCase], msgspec.Meta(max_length=MAX_PLAN)]
    project: Identifier | None = None


class PlanChange(ServerMessage, frozen=True, kw_only=True):
    """The response to PUT /cases: how many cases the plan has, and what differs from the plan before."""

    project: str
    total: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0


class CaseTest(ServerMessage, frozen=True, kw_only=True):
    """A test that carries the id of a case; ``key`` identifies it in the capability ``history``."""

    key: str
    node_id: str = ""
    title: str = ""
    file: str = ""
    owner: str = ""


class CaseResult(ServerMessage, frozen=True, kw_only=True):
    """The latest status of a case in a suite and environment.

    It has failed if the latest result of any of its tests has. ``at`` is when the latest execution was
    created.
    """

    test_suite: str
    environment: str = ""
    status: str = ""
    at: str = ""


class Case(ServerMessage, frozen=True, kw_only=True):
    """A test case of a project, the first 50 tests that carry its id, and its latest results.

    ``is_planned`` is whether the plan of the project has it; only then it has a title.
    """

    key: str
    id: str = ""
    title: str = ""
    project: str = ""
    is_planned: bool = False
    tests: list[CaseTest] = []
    results: list[CaseResult] = []


class CasePage(ServerMessage, frozen=True, kw_only=True):
    """The response to GET /cases. ``cursor`` fetches the next page; it is null on the last one."""

    cases: list[Case] = []
    cursor: str | None = None
