"""The page that confirms the deletion of an execution."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Response, get, post
from litestar.response import Redirect

from pytest_tms.server.domain import states
from pytest_tms.server.pages.page_session import ADMIN, PageSession
from pytest_tms.server.pages.run_facts import crumbs
from pytest_tms.server.pages.templates import page
from pytest_tms.server.services.deletion import mark_deleted
from pytest_tms.server.store import executions
from pytest_tms.server.store.database import Database


@get("/runs/{execution_id:str}/delete", opt={"scope": ADMIN}, sync_to_thread=True)
def delete_form(database: Database, page_session: PageSession, execution_id: str) -> Response[Any]:
    """Return the confirmation page; redirect to the report if the execution has not ended."""
    with database.read() as connection:
        execution = executions.get(connection, execution_id)
    if execution.status not in states.ENDED:
        return Redirect(f"/runs/{quote(execution_id, safe='')}", status_code=303)
    return page(page_session, "delete.html", tab="delete", execution=execution, crumbs=crumbs(execution))


@post("/runs/{execution_id:str}/delete", opt={"scope": ADMIN}, sync_to_thread=True)
def delete_execution(database: Database, page_session: PageSession, execution_id: str) -> Response[Any]:
    """Delete the execution, and return to the list."""
    mark_deleted(database, page_session.caller, execution_id)
    return Redirect("/", status_code=303)
