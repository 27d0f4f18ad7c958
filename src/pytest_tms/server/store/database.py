"""The database: the engine, transactions and the upgrade of the schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

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
from pytest_tms.server.store import causes_migration, results_migration

WRITES = "tms_writes"
"""Execution option of connections whose transactions write: SQLite locks the database at their start."""
LOCK_TIMEOUT = 30
"""Seconds that a transaction waits for a lock; ``?timeout=`` in an SQLite URL sets another value."""
WRITE_CACHE, READ_CACHE = 32_000, 2_000
"""KiB of SQLite's page cache in a transaction that writes, and in one that reads."""
ADVISORY_LOCK = 0x746D73
"""The key of the PostgreSQL advisory lock of ``lock_exclusively``: "tms" in ASCII."""


class _Step(Protocol):
    """A part of a migration that runs in batches."""

    def is_pending(self, connection: Connection, /) -> bool:
        """Return whether anything is left."""

    def move(self, connection: Connection, /) -> None:
        """Do the next batch."""


class Database:
    """An SQLite or PostgreSQL database. Threads may share it."""

    def __init__(self, url: str) -> None:
        """Create the engine for an SQLAlchemy URL; connect later.

        Raises:
            ValueError: The URL is not valid or names an unsupported database. The message is one sentence.
        """
        try:
            self.engine = _engine(url)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise ValueError(
                f"the database URL cannot be used ({error}): write sqlite:///FILE or postgresql+psycopg://…"
            ) from None
        self._writing = self.engine.execution_options(**{WRITES: True})

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Run one transaction that only reads.

        Raises:
            ServiceUnavailable: The database does not respond.
        """
        with _translated_errors(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run one transaction that writes: committed at the end, rolled back on an exception.

        Raises:
            ServiceUnavailable: The database does not respond.
        """
        with _translated_errors(), self._writing.connect() as connection, connection.begin():
            yield connection

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite, which servers on other machines cannot share."""
        return self.engine.dialect.name == "sqlite"

    def exists(self) -> bool:
        """Return whether the database has a schema. Creates nothing.

        True if it does not respond: the next use raises the error.
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
        """Upgrade the schema to this version. Several processes may do so at once.

        Raises:
            ValueError: The database cannot be used, or has the schema of a newer version. The message is one
                sentence.
        """
        if (path := _file(self.engine.url)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        config = Config()
        config.set_main_option(
            "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
        )
        try:
            with filelock.FileLock(data_dir / "upgrade.lock"), self._writing.begin() as connection:
                lock_exclusively(connection, timeout=False)
                self._check_version(connection, ScriptDirectory.from_config(config))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            for step in (causes_migration, results_migration):
                self._complete(step)
        except (SQLAlchemyError, CommandError) as error:
            reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
            raise ValueError(
                f"the database {self.describe()} cannot be used ({reason}): check --database-url"
            ) from error

    def _complete(self, step: _Step) -> None:
        """Complete a migration in several transactions: an interrupted one can continue."""
        while self._is_pending(step):
            with self._writing.begin() as connection:
                lock_exclusively(connection, timeout=False)
                if step.is_pending(connection):
                    step.move(connection)

    def _is_pending(self, step: _Step) -> bool:
        with self.engine.begin() as connection:
            return step.is_pending(connection)

    def _check_version(self, connection: Connection, script: ScriptDirectory) -> None:
        """Check that the revision of the schema is one of this version.

        Raises:
            ValueError: A newer version created the schema.
        """
        revisions = [revision.revision for revision in script.walk_revisions()]
        for found in MigrationContext.configure(connection).get_current_heads():
            if found not in revisions:
                raise ValueError(
                    f"the database {self.describe()} was created by a newer version of pytest-tms (its "
                    f"schema is {found}, the latest of this version is {max(revisions)}): upgrade pytest-tms "
                    f"here, or use another database with --data-dir or --database-url"
                )

    def describe(self) -> str:
        """Return the URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def lock_exclusively(connection: Connection, *, timeout: bool = True) -> None:
    """Wait until no other transaction holds the exclusive lock, and hold it until the transaction ends.

    SQLite needs no such lock: one transaction writes at a time. Without ``timeout`` the wait is not limited
    by ``LOCK_TIMEOUT``.
    """
    if connection.dialect.name == "postgresql":
        if not timeout:
            connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        raise ServiceUnavailable("The database does not respond; try again later.", retry_after=5) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise ServiceUnavailable(
                "The connection to the database was lost; try again later.", retry_after=5
            ) from error
        raise


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        lock_timeout: dict[str, Any] = (
            {} if "options" in parsed.query else {"options": f"-c lock_timeout={LOCK_TIMEOUT * 1000}"}
        )
        return create_engine(parsed, pool_pre_ping=True, hide_parameters=True, connect_args=lock_timeout)
    busy_timeout: dict[str, Any] = {} if "timeout" in parsed.query else {"timeout": LOCK_TIMEOUT}
    engine = create_engine(parsed, connect_args=busy_timeout, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _file(url: URL) -> Path | None:
    """Return the file of an SQLite database; None for an in-memory or another database."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


def _prepare_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)  # noqa: S101  # for the type checker
    # sqlite3 begins transactions with the first write, too late for the lock; _begin_sqlite does instead.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES)
    # Each connection has its own cache. A large one makes large submissions a fifth faster, and does not
    # help reads.
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101  # for the type checker
    driver.execute(f"PRAGMA cache_size = -{WRITE_CACHE if writes else READ_CACHE}").close()
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
