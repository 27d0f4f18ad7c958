"""Runs that are written into a database as the server stores them, without HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from pytest_tms import wire
from pytest_tms.server.domain import counts
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.result_rows import result_rows
from pytest_tms.server.encryption.data_cipher import DataCipher
from pytest_tms.server.encryption.key_ring import KeyRing
from pytest_tms.server.store import executions, results
from pytest_tms.server.store.database import Database
from tests.helpers.api import upgraded_database, write_sqlite_database

Outcome = str | wire.TestResult
"""A status, a status and an error as ``failed: ValueError: 3``, or a whole result."""


class StoredRuns:
    """Stores runs in ``database``, one after another."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._created = 0

    def run(
        self,
        tests: Mapping[str, Outcome],
        *,
        shard: str = "1",
        suite: str = "all",
        environment: str = "dev",
        status: wire.ExecutionState = "completed",
        **metadata: Any,
    ) -> Execution:
        """Store a run with the outcome of each test, and return it."""
        self._created += 1
        number = self._created
        execution = Execution(
            id=f"exec_{number:06}",
            test_suite=suite,
            environment=environment,
            provider="custom",
            trigger_source="api",
            configuration={"timeout": 1000},
            metadata=metadata,
            extra={},
            token_hash="",
            created_at=number * 1000,
            started_at=number * 1000,
            ended_at=number * 1000 + 500,
            status=status,
        )
        with self.database.write() as connection:
            assert executions.create(connection, execution)
        return self.add(execution.id, tests, shard=shard)

    def add(
        self, execution_id: str, tests: Mapping[str, Outcome], *, shard: str = "1", attempt: int = 1
    ) -> Execution:
        """Store results of an attempt of a shard of a run."""
        sent = [_result(name, outcome) for name, outcome in tests.items()]
        rows = result_rows(sent, [msgspec.json.encode(each).decode() for each in sent])
        with self.database.write() as connection:
            found = executions.lock(connection, execution_id)
            change = results.put(
                connection, found, shard, rows, attempt, found.created_at, is_first=found.summed.total == 0
            )
            after = replace(found, summed=counts.add([found.summed, change.counts]))
            executions.save(connection, after)
        return after


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[Database]:
    """An empty database: ``sqlite`` or ``postgresql``, or one of them with ``encrypted``."""
    cipher = DataCipher(KeyRing("", folder), encrypts="encrypted" in kind)
    if kind.startswith("sqlite"):
        write_sqlite_database(folder)
        database = Database(f"sqlite:///{folder}/tms.sqlite3", cipher)
        yield database
        database.close()
        return
    with upgraded_database() as url:
        database = Database(url, cipher)
        yield database
        database.close()


def _result(name: str, outcome: Outcome) -> wire.TestResult:
    if not isinstance(outcome, str):
        return outcome
    status, _, error = outcome.partition(": ")
    return msgspec.convert(
        {
            "title": name,
            "nodeId": f"tests/test_all.py::{name}",
            "file": "tests/test_all.py",
            "status": status,
            "duration": 10,
            "error": error or None,
        },
        wire.TestResult,
    )
