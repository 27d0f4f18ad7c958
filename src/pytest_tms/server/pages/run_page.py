"""Rendering of the pages of a run, which share their heading and follow the run while it is open."""

from __future__ import annotations

from typing import Any

from litestar import Response

from pytest_tms.server.domain import states
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.verdicts import Verdict, verdict
from pytest_tms.server.pages.page_session import PageSession
from pytest_tms.server.pages.run_facts import crumbs
from pytest_tms.server.pages.run_links import run_path
from pytest_tms.server.pages.templates import page


def run_page(
    page_session: PageSession,
    template: str,
    execution: Execution,
    tab: str,
    heading: Verdict | None = None,
    **values: Any,
) -> Response[str]:
    """Return a page of a run; ``heading`` is its verdict, by default that of the stored counts."""
    if heading is None:
        heading = verdict(execution.status, execution.results, execution.not_run, execution.tests_expected)
    return page(
        page_session,
        template,
        tab=tab,
        execution=execution,
        verdict=heading,
        favicon=heading.favicon,
        crumbs=crumbs(execution),
        live=run_path(execution.id, "stream"),
        refresh=execution.status not in states.ENDED,
        **values,
    )
