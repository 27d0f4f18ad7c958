"""Badges: an image with the result of the latest run of a suite and branch, for a README or a wiki."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import Response, get
from sqlalchemy import Connection

from pytest_tms import wire
from pytest_tms.errors import Unauthorized
from pytest_tms.server.domain.badges import badge, svg
from pytest_tms.server.pages.page_session import READS, PageSession
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import comparisons, series
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.execution_lists import ListedExecution

MAX_AGE = 60
"""Seconds for which browsers and proxies may show a badge without asking again."""
MAX_FILTER = 200
"""Characters of a parameter; nothing has a longer name."""


@get("/badge.svg", opt={"scope": None}, sync_to_thread=True)
def show_badge(
    database: Database,
    settings: ServerSettings,
    page_session: PageSession,
    query: dict[str, Any],
) -> Response[str]:
    """Return the badge of the latest ended run, without a login if the operator made badges public.

    The parameters are named ``testSuite``, ``project``, ``branch`` and ``environment``. An unknown name gives
    the badge "unknown", so that nobody finds out by it what exists.

    Raises:
        Unauthorized: Badges are not public, and the request is not authenticated.
    """
    if not settings.public_badges and not page_session.may(READS):
        raise Unauthorized("Log in to see badges, or set TMS_SERVER_PUBLIC_BADGES=1 on the server.")
    project, branch = _text(query, "project", "default"), _text(query, "branch", "main")
    test_suite = _text(query, "testSuite")
    environments = _environments(settings, page_session, _text(query, "environment"))
    found, counts = None, wire.Counts()
    if all(0 < len(value) <= MAX_FILTER and "\x00" not in value for value in (project, test_suite, branch)):
        with database.read() as connection:
            found = series.latest_ended(connection, project, test_suite, environments, branch)
            if found is not None:
                counts = _without_quarantine(connection, found)
    shown = badge(test_suite, found.status if found else None, counts)
    kind = "public" if settings.public_badges else "private"
    return Response(
        svg(shown),
        media_type="image/svg+xml",
        headers={
            "Cache-Control": f"{kind}, max-age={MAX_AGE}",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        },
    )


def _without_quarantine(connection: Connection, run: ListedExecution) -> wire.Counts:
    """Return the counts of a run without its failures in quarantine."""
    quarantined = len(comparisons.quarantined(connection, run.number, comparisons.MAX_FAILURES))
    return msgspec.structs.replace(run.results, failed=max(0, run.results.failed - quarantined))


def _text(query: Mapping[str, Any], name: str, default: str = "") -> str:
    """Return a parameter that is given once."""
    value = query.get(name, default)
    return value if isinstance(value, str) else ""


def _environments(settings: ServerSettings, page_session: PageSession, chosen: str) -> Sequence[str]:
    """Return the environments whose runs count: those that exist, of a login those that its token may see."""
    allowed = page_session.environments if not settings.public_badges else ()
    return [
        each
        for each in settings.environments
        if (not chosen or each == chosen) and (not allowed or each in allowed)
    ]
