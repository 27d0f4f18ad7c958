"""The page that confirms the cancellation of an execution."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Response, get, post
from litestar.response import Redirect

from pytest_tms.server.domain import clock, states
from pytest_tms.server.domain.urls import Urls
from pytest_tms.server.pages.page_session import WRITES, PageSession
from pytest_tms.server.pages.run_facts import crumbs
from pytest_tms.server.pages.templates import page
from pytest_tms.server.services.executions import cancel_execution as cancel
from pytest_tms.server.services.executions import is_reporting
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import executions
from pytest_tms.server.store.database import Database
from pytest_tms.server.webhooks.delivery_worker import DeliveryWorker


@get("/runs/{execution_id:str}/cancel", opt={"scope": WRITES}, sync_to_thread=True)
def cancel_form(
    database: Database, settings: ServerSettings, page_session: PageSession, execution_id: str
) -> Response[Any]:
    """Return the confirmation page; redirect to the report if there is nothing to cancel."""
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
        still = is_reporting(connection, settings, execution, clock.now())
    if execution.status == "cancelled" or not states.is_cancellable(execution.status, reports=still):
        return _report(execution_id)
    return page(page_session, "cancel.html", tab="cancel", execution=execution, crumbs=crumbs(execution))


@post("/runs/{execution_id:str}/cancel", opt={"scope": WRITES}, sync_to_thread=True)
def cancel_execution(
    database: Database,
    settings: ServerSettings,
    urls: Urls,
    delivery_worker: DeliveryWorker,
    page_session: PageSession,
    execution_id: str,
) -> Response[Any]:
    """Cancel the execution: every pytest that reports to it stops with its next report."""
    cancel(database, settings, urls, delivery_worker, page_session.caller, execution_id)
    return _report(execution_id)


def _report(execution_id: str) -> Response[Any]:
    return Redirect(f"/runs/{quote(execution_id, safe='')}", status_code=303)
