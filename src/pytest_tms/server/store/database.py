"""The database: the engine, transactions and the upgrade of the schema."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import filelock
from alembic import command
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.server.encryption.data_cipher import DataCipher
from pytest_tms.server.store import (
    causes_migration,
    event_partitions,
    partitions,
    results_migration,
    revisions,
    sealed,
)

WRITES = "tms_writes"
"""Execution option of connections whose transactions write: SQLite locks the database at their start."""
LOCK_TIMEOUT = 30
"""Seconds that a transaction waits for a lock; ``?timeout=`` in an SQLite URL sets another value."""
IDLE_TIMEOUT = 15
"""Seconds after which PostgreSQL ends a transaction whose process sends nothing, such as a suspended one.

Its locks are free before another transaction has waited for ``LOCK_TIMEOUT``.
"""
KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""After 25 seconds without a sign of the machine of PostgreSQL, a connection has failed."""
WRITE_CACHE, READ_CACHE = 32_000, 2_000
"""KiB of SQLite's page cache in a transaction that writes, and in one that reads."""
DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql+psycopg")
"""Databases and drivers that a URL may name; PostgreSQL without a driver is used with psycopg."""
URL_ADVICE = "write sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
PROBE_TIMEOUT = 2
"""Seconds that a probe waits for a connection, a lock or a response."""
ADVISORY_LOCK = 0x746D73
"""The key of the PostgreSQL advisory lock of ``lock_exclusively``: "tms" in ASCII."""


class _Step(Protocol):
    """A part of a migration that runs in batches."""

    def is_pending(self, connection: Connection, /) -> bool:
        """Return whether anything is left."""

    def move(self, connection: Connection, /) -> None:
        """Do the next batch."""


STEPS: tuple[_Step, ...] = (causes_migration, results_migration, partitions, event_partitions)
"""What follows the revisions, in this order."""


class Observer(Protocol):
    """What is notified of the waits of transactions, in seconds, and of failures."""

    def waited_for_connection(self, seconds: float, /) -> None:
        """A transaction received a connection."""

    def waited_for_write_lock(self, seconds: float, /) -> None:
        """A transaction received the write lock of SQLite."""

    def was_unavailable(self) -> None:
        """A transaction failed because the database did not respond."""


class Database:
    """An SQLite or PostgreSQL database. Threads may share it."""

    def __init__(self, url: str | URL, cipher: DataCipher | None = None, *, is_probe: bool = False) -> None:
        """Create the engine for an SQLAlchemy URL; connect later. ``is_probe`` is for ``probe``.

        ``cipher`` encrypts and decrypts data.

        Raises:
            ValueError: The URL is not valid or names an unsupported database. The message is one sentence.
        """
        self.observer: Observer | None = None
        self.cipher = cipher or DataCipher()
        try:
            self.engine = _engine(url, self.cipher, is_probe=is_probe)
            self.engine.update_execution_options(**{sealed.CIPHER: self.cipher})
        except ModuleNotFoundError:
            raise ValueError('PostgreSQL needs a package: pip install "pytest-tms[postgres]"') from None
        self._writing = self.engine.execution_options(**{WRITES: True})
        self._write_lock = _WriteLock(self.engine.url, is_probe) if self.is_sqlite else nullcontext(0.0)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Run one transaction that only reads.

        Raises:
            ServiceUnavailable: The database does not respond.
        """
        with self._transaction(self.engine) as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Run one transaction that reads the database as it is at one moment, however long it takes.

        Raises:
            ServiceUnavailable: The database does not respond.
        """
        engine = self.engine  # SQLite's transactions are snapshots
        if not self.is_sqlite:
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with self._transaction(engine) as connection:
            _allow_pauses(connection)
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Run one transaction that writes: committed at the end, rolled back on an exception.

        Raises:
            ServiceUnavailable: The database does not respond.
        """
        with self._write_lock as waited, self._transaction(self._writing, waited) as connection:
            yield connection

    @contextmanager
    def _transaction(self, engine: Engine, waited: float = 0.0) -> Iterator[Connection]:
        """Run one transaction, which has ``waited`` so many seconds for the write lock of this process."""
        observer = self.observer
        started = time.perf_counter()
        with _translated_errors(observer), engine.connect() as connection:
            connected = time.perf_counter()
            with connection.begin():
                if observer is not None:
                    observer.waited_for_connection(connected - started)
                    if engine is self._writing and self.is_sqlite:
                        observer.waited_for_write_lock(waited + time.perf_counter() - connected)
                yield connection

    @property
    def connections_in_use(self) -> int:
        """The number of connections of the pool that transactions use."""
        pool = self.engine.pool
        return pool.checkedout() if isinstance(pool, QueuePool) else 0

    def probe(self) -> Database:
        """Return the same database for checks and metrics.

        It opens a connection for each transaction, and waits for ``PROBE_TIMEOUT`` at most.
        """
        return Database(self.engine.url, self.cipher, is_probe=True)

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

        The schema of a newer version remains, if this version works with it.

        Raises:
            ValueError: The database cannot be used, or has the schema of a newer version with which this one
                does not work. The message is one sentence.
        """
        if (path := _file(self.engine.url)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        config = revisions.config()
        try:
            with filelock.FileLock(data_dir / "upgrade.lock"), self._writing.begin() as connection:
                _allow_pauses(connection)
                lock_exclusively(connection, timeout=False)
                if self._is_newer(connection):
                    return
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                revisions.store_compatibility(connection)
            for step in STEPS:
                self._complete(step)
        except (SQLAlchemyError, CommandError) as error:
            raise self._unusable(error) from error

    def check_current(self) -> None:
        """Check that the schema is that of this version. Changes nothing.

        Raises:
            ValueError: The database cannot be used, has another schema, or its upgrade was interrupted. The
                message is one sentence.
        """
        try:
            with self.engine.begin() as connection:
                state = revisions.state(connection)
                is_current = state.found == state.expected and not any(
                    step.is_pending(connection) for step in STEPS
                )
        except SQLAlchemyError as error:
            raise self._unusable(error) from error
        if not is_current:
            raise ValueError(
                f"the database {self.describe()} has the schema {state.found or 'none'}, and this version "
                f"needs {state.expected}: run `tms db upgrade` with it first"
            )

    def check_unused(self) -> None:
        """Check that no other process has an SQLite database open, as a server has. Closes all connections.

        PostgreSQL is not checked.

        Raises:
            ValueError: Another process has it open. The message is one sentence.
        """
        path = _file(self.engine.url)
        if path is None:
            return
        self.close()
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            # With this mode the first transaction locks the file, which no other connection may have open.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE").close()
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise self._unusable(error) from error
                raise ValueError(
                    f"another process uses the database {self.describe()}: stop the server and other `tms` "
                    "commands first"
                ) from None

    def _unusable(self, error: Exception) -> ValueError:
        """Return the error for a database that cannot be used."""
        reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
        return ValueError(
            f"the database {self.describe()} cannot be used ({reason}): check its path or its URL"
        )

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

    def _is_newer(self, connection: Connection) -> bool:
        """Return whether a newer version has upgraded the schema, and this version works with it.

        Raises:
            ValueError: This version does not work with it.
        """
        state = revisions.state(connection)
        if state.is_newer and not state.is_usable:
            raise ValueError(
                f"the database {self.describe()} was upgraded by a newer version of pytest-tms (its "
                f"schema is {state.found}, the latest of this version is {state.expected}): upgrade "
                f"pytest-tms here, or use another database with --data-dir or --database-url"
            )
        return state.is_newer

    def describe(self) -> str:
        """Return the URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


class _WriteLock:
    """The lock of SQLite's transactions that write, within one process. It returns the seconds of the wait.

    SQLite itself lets a connection ask again and again, with pauses of up to 0.1 s, in no order.
    """

    def __init__(self, url: URL, is_probe: bool) -> None:
        self._lock = threading.Lock()
        self._timeout = float(str(url.query.get("timeout", PROBE_TIMEOUT if is_probe else LOCK_TIMEOUT)))

    def __enter__(self) -> float:
        """Wait for the lock.

        Raises:
            ServiceUnavailable: It was not released in time.
        """
        started = time.perf_counter()
        if not self._lock.acquire(timeout=self._timeout):
            raise ServiceUnavailable("The database does not respond; try again later.", retry_after=5)
        return time.perf_counter() - started

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def lock_exclusively(connection: Connection, *, timeout: bool = True) -> None:
    """Wait until no other transaction holds the exclusive lock, and hold it until the transaction ends.

    SQLite needs no such lock: one transaction writes at a time. Without ``timeout`` the wait is not limited
    by ``LOCK_TIMEOUT``.
    """
    if connection.dialect.name == "postgresql":
        if not timeout:
            connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))


def _allow_pauses(connection: Connection) -> None:
    """Exempt a transaction from ``IDLE_TIMEOUT``."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


@contextmanager
def _translated_errors(observer: Observer | None) -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        if observer is not None:
            observer.was_unavailable()
        raise ServiceUnavailable("The database does not respond; try again later.", retry_after=5) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            if observer is not None:
                observer.was_unavailable()
            raise ServiceUnavailable(
                "The connection to the database was lost; try again later.", retry_after=5
            ) from error
        raise


def _engine(url: str | URL, cipher: DataCipher, *, is_probe: bool) -> Engine:
    parsed = _parse_url(url)
    pool: dict[str, Any] = {"poolclass": NullPool} if is_probe else {}
    if parsed.get_backend_name() != "sqlite":
        return create_engine(
            parsed,
            pool_pre_ping=not is_probe,
            hide_parameters=True,
            connect_args=_timeouts(parsed, is_probe),
            **pool,
        )
    timeout = PROBE_TIMEOUT if is_probe else LOCK_TIMEOUT
    busy_timeout: dict[str, Any] = {} if "timeout" in parsed.query else {"timeout": timeout}
    engine = create_engine(parsed, connect_args=busy_timeout, hide_parameters=True, **pool)
    event.listen(engine, "connect", _prepare_sqlite)
    if cipher.encrypts:
        event.listen(engine, "connect", _erase_deleted)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _parse_url(url: str | URL) -> URL:
    """Return the parsed URL of a database.

    Raises:
        ValueError: The URL is not valid or names an unsupported database. The message has no password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError(f"the database URL cannot be parsed: {URL_ADVICE}") from None
    except ValueError:  # the value of the error may be a part of the password
        raise ValueError(
            f"the database URL has a port that is not a number: {URL_ADVICE}, with %40 and %2F for @ and / "
            "in a password"
        ) from None
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in DRIVERS:
        raise ValueError(f"the database URL begins with {parsed.drivername}://: {URL_ADVICE}")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ValueError("the database URL names no file: write sqlite:///FILE")
    return parsed


def _timeouts(url: URL, is_probe: bool) -> dict[str, Any]:
    """Return the arguments of a connection to PostgreSQL that limit how long it waits."""
    limit = PROBE_TIMEOUT * 1000
    options = (
        f"-c lock_timeout={limit} -c statement_timeout={limit}"
        if is_probe
        else f"-c lock_timeout={LOCK_TIMEOUT * 1000} "
        f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT * 1000}"
    )
    found: dict[str, Any] = {name: value for name, value in KEEPALIVE.items() if name not in url.query}
    if "options" not in url.query:
        found["options"] = options
    if is_probe and "connect_timeout" not in url.query:
        found["connect_timeout"] = PROBE_TIMEOUT
    return found


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


def _erase_deleted(connection: Any, _: ConnectionPoolEntry) -> None:
    """Make SQLite overwrite what it deletes, so that no text remains in the file after it was encrypted."""
    connection.execute("PRAGMA secure_delete = ON").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES)
    # Each connection has its own cache. A large one makes large submissions a fifth faster, and does not
    # help reads.
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101  # for the type checker
    driver.execute(f"PRAGMA cache_size = -{WRITE_CACHE if writes else READ_CACHE}").close()
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
