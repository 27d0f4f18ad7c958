"""Exports of a run as files, for the links of its overview."""

from __future__ import annotations

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from pytest_tms.exports.formats import FORMATS, Format
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.services.exports import export_execution
from pytest_tms.server.store.database import Database

SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
"""Content-Security-Policy of a file, which a browser downloads and does not show."""


def _handler(chosen: Format) -> HTTPRouteHandler:
    @get(f"/runs/{{execution_id:str}}/export.{chosen.extension}", sync_to_thread=True)
    def export(database: Database, urls: Urls, execution_id: str) -> Stream:
        """Return an execution as a file to download."""
        file = export_execution(database, urls, execution_id, chosen.name)
        return Stream(
            file.content,
            media_type=file.content_type,
            headers={
                "Content-Disposition": f'attachment; filename="{file.name}"',
                "Content-Security-Policy": SANDBOX,
            },
        )

    return export


HANDLERS = [_handler(each) for each in FORMATS.values()]
"""One for each format: `/runs/{id}/export.json` and so on."""
