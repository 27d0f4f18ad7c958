"""Alembic's environment: migrations run on the connection and in the transaction of the caller."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import DefaultClause, False_, True_

from pytest_tms.server.store.tables import metadata


def render_item(kind: str, item: object, _: Any) -> str | Literal[False]:
    """Write a boolean default into a new revision in a form for every database: PostgreSQL rejects 0."""
    if kind == "server_default" and isinstance(item, DefaultClause) and isinstance(item.arg, False_ | True_):
        return f"sa.{item.arg}()"
    return False


context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_item=render_item
)
context.run_migrations()
