"""The revision of the schema: that of the database, and that of this version of pytest-tms.

Each revision names in ``compatible_since`` the oldest revision whose code works with the schema after it. The
database stores it, so that a server continues, and starts, with the database that a newer one has upgraded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, delete, insert, inspect, select

from pytest_tms.server.store import tables


class SchemaState(NamedTuple):
    """The revision that a database has, empty if it has no schema, and the one that this version expects.

    ``since`` is the oldest revision whose code works with the database, empty if it is not known.
    """

    found: str
    expected: str
    since: str

    @property
    def is_newer(self) -> bool:
        """Whether a newer version upgraded the database."""
        return bool(self.found) and self.found not in known()

    @property
    def is_usable(self) -> bool:
        """Whether this version works with the database: it has upgraded it, or a compatible newer one has."""
        return self.found == self.expected or (self.is_newer and self.since in known())


def config() -> Config:
    """Return the configuration of Alembic with the revisions of this version."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return made


@cache
def known() -> tuple[str, ...]:
    """Return the revisions of this version, the newest first."""
    return tuple(revision for revision, _ in _declared())


def compatible_since() -> str:
    """Return the oldest revision whose code works with the schema of this version."""
    return oldest_compatible(_declared())


def oldest_compatible(declared: Sequence[tuple[str, str]]) -> str:
    """Return the newest of what revisions declare, which are given the newest first."""
    order = [revision for revision, _ in declared]
    return min((since for _, since in declared), key=order.index)


def state(connection: Connection) -> SchemaState:
    """Return the state of the schema of a database."""
    found = ", ".join(MigrationContext.configure(connection).get_current_heads())
    since = ""
    if found not in known() and inspect(connection).has_table(tables.schema_compatibility.name):
        since = connection.scalar(select(tables.schema_compatibility.c.since)) or ""
    return SchemaState(found, known()[0], since)


def store_compatibility(connection: Connection) -> None:
    """Store which versions work with a database that has the schema of this one."""
    since, table = compatible_since(), tables.schema_compatibility
    if connection.scalars(select(table.c.since)).all() != [since]:
        connection.execute(delete(table))
        connection.execute(insert(table).values(since=since))


@cache
def _declared() -> tuple[tuple[str, str], ...]:
    """Return each revision, the newest first, with the oldest one whose code works with it."""
    return tuple(
        (each.revision, getattr(each.module, "compatible_since", each.revision))
        for each in ScriptDirectory.from_config(config()).walk_revisions()
    )
