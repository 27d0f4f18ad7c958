"""The call that exports an execution as a file."""

from __future__ import annotations

from litestar.response import Stream

from pytest_tms.client import calls
from pytest_tms.errors import Problem
from pytest_tms.exports.formats import FORMATS
from pytest_tms.server.api.routes import route
from pytest_tms.server.domain.problems import refuse
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services import exports
from pytest_tms.server.store.database import Database


@route(calls.EXPORT_EXECUTION)
def export_execution(database: Database, urls: Urls, execution_id: str, format: str = "") -> Stream:  # noqa: A002  # named as in the query
    """Return an execution in a format, as it is read from the database."""
    if format not in FORMATS:
        refuse([Problem("format", f"Must be one of: {', '.join(FORMATS)}")])
    file = exports.export_execution(database, urls, execution_id, format)
    return Stream(
        file.content,
        media_type=file.content_type,
        headers={"Content-Disposition": f'attachment; filename="{file.name}"'},
    )
