"""The database: one engine, and transactions that read or write."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.server.store import results_migration

WRITES = "tms_writes"
"""Marks a connection whose transaction will write, so that SQLite takes the lock at its start."""
LOCK_TIMEOUT = 30
"""Seconds that a transaction waits for another's lock; SQLite's ``?timeout=`` sets another time."""
WRITE_CACHE, READ_CACHE = 32_000, 2_000
"""KiB of SQLite's pages that a transaction keeps in memory."""
ADVISORY_LOCK = 0x746D73
"""PostgreSQL's lock for what only one process may do at a time: "tms" in ASCII."""


class Database:
    """SQLite or PostgreSQL behind the same functions; safe to share between threads."""

    def __init__(self, url: str) -> None:
        """Raises ValueError, in a sentence, where ``url`` names no database that we can use."""
        try:
            self.engine = _engine(url)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise ValueError(
                f"the database URL cannot be used ({error}): write sqlite:///FILE or postgresql+psycopg://…"
            ) from None
        self._writing = self.engine.execution_options(**{WRITES: True})

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that only reads. Raises ServiceUnavailable where the database does not answer."""
        with _answering(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that writes: committed at the end, undone by an exception."""
        with _answering(), self._writing.connect() as connection, connection.begin():
            yield connection

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this machine, which servers on others cannot share."""
        return self.engine.dialect.name == "sqlite"

    def exists(self) -> bool:
        """Return whether a server, or ``upgrade``, has made the database; creates nothing.

        True if it does not answer: the next use says why.
        """
        path = _file(self.engine.url)
        if path is not None and not (path.is_file() and path.stat().st_size):
            return False
        try:
            with self.engine.connect() as connection:
                return inspect(connection).has_table("alembic_version")
        except SQLAlchemyError:
            return True

    def upgrade(self, data_dir: Path) -> None:
        """Bring the schema up to date; several processes may ask at once. Raises ValueError in a sentence."""
        if (path := _file(self.engine.url)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        config = Config()
        config.set_main_option(
            "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
        )
        try:
            with filelock.FileLock(data_dir / "upgrade.lock"), self._writing.begin() as connection:
                alone(connection, forever=True)
                self._check_version(connection, ScriptDirectory.from_config(config))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            self._move_results()
        except (SQLAlchemyError, CommandError) as error:
            reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
            raise ValueError(
                f"the database {self.describe()} cannot be used ({reason}): check --database-url"
            ) from error

    def _move_results(self) -> None:
        """Move results of an earlier version, in transactions of their own: what is moved stays moved."""
        while self._has_results_to_move():
            with self._writing.begin() as connection:
                alone(connection, forever=True)
                if results_migration.is_pending(connection):
                    results_migration.move(connection)

    def _has_results_to_move(self) -> bool:
        with self.engine.begin() as connection:
            return results_migration.is_pending(connection)

    def _check_version(self, connection: Connection, script: ScriptDirectory) -> None:
        """Raise ValueError, in a sentence, if this version does not know the schema."""
        known = [revision.revision for revision in script.walk_revisions()]
        for found in MigrationContext.configure(connection).get_current_heads():
            if found not in known:
                raise ValueError(
                    f"the database {self.describe()} was made by a newer version of pytest-tms (its schema "
                    f"is {found}, this version knows up to {max(known)}): upgrade pytest-tms here, or name "
                    f"another database with --data-dir or --database-url"
                )

    def describe(self) -> str:
        """Where the data is, without a password."""
        return self.engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def alone(connection: Connection, *, forever: bool = False) -> None:
    """Wait until no other transaction is past this line; SQLite has one that writes at a time anyway."""
    if connection.dialect.name == "postgresql":
        if forever:
            connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        raise ServiceUnavailable("The database does not answer; try again later.", retry_after=5) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise ServiceUnavailable("The database was cut off; try again later.", retry_after=5) from error
        raise


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        patient = {} if "options" in parsed.query else {"options": f"-c lock_timeout={LOCK_TIMEOUT * 1000}"}
        return create_engine(parsed, pool_pre_ping=True, hide_parameters=True, connect_args=patient)
    patience = {} if "timeout" in parsed.query else {"timeout": LOCK_TIMEOUT}
    engine = create_engine(parsed, connect_args=patience, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _file(url: URL) -> Path | None:
    """Return the file of an SQLite database; None for other databases and for those in memory."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


def _prepare_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)  # noqa: S101  # for the type checker
    # sqlite3 would begin transactions by itself, too late for the lock; _begin_sqlite does instead.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES)
    # Each connection has a cache of its own. Only the one that writes profits from a large one: with it,
    # large submissions insert a fifth faster.
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101  # for the type checker
    driver.execute(f"PRAGMA cache_size = -{WRITE_CACHE if writes else READ_CACHE}").close()
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
