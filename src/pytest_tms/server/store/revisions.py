"""The revision of the schema: that of the database, and that of this version of pytest-tms."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


class SchemaState(NamedTuple):
    """The revision that a database has, empty if it has no schema, and the one that this version expects."""

    found: str
    expected: str

    @property
    def is_usable(self) -> bool:
        """Whether this version works with the database."""
        return self.found == self.expected


def config() -> Config:
    """Return the configuration of Alembic with the revisions of this version."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return made


@cache
def known() -> tuple[str, ...]:
    """Return the revisions of this version, the newest first."""
    return tuple(each.revision for each in ScriptDirectory.from_config(config()).walk_revisions())


def state(connection: Connection) -> SchemaState:
    """Return the state of the schema of a database."""
    found = MigrationContext.configure(connection).get_current_heads()
    return SchemaState(", ".join(found), known()[0])
