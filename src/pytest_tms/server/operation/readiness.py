"""Whether a server process can handle requests: the checks of ``/readyz``."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.server.services.encryption import missing_keys
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import revisions
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore
from pytest_tms.server.webhooks.encryption import SecretEncryption

TIMEOUT = 3.0
"""Seconds after which a check that has not ended has failed."""
MAX_AGE = 1.0
"""Seconds for which the outcome of a check is used again."""
MAX_STORAGE_AGE = 15.0
"""The same for the storage: each check is a request to the object store."""
MIN_FREE = 16 << 20
"""Bytes that the disk of the data dir has free, unless it is full."""
STOPPING = "stopping"

Check = Callable[[], None]


class NotReady(Exception):
    """A check failed; the text says why, without secrets."""


class Readiness:
    """The checks of one process. Each runs on a thread of its own, at most once at a time."""

    def __init__(
        self, settings: ServerSettings, database: Database, encryption: SecretEncryption, objects: ObjectStore
    ) -> None:
        """Create the checks; ``database`` is a probe, which does not wait for the pool of the requests."""
        self._settings = settings
        self._database = database
        self._encryption = encryption
        self._objects = objects
        self._checks: Mapping[str, tuple[Check, float]] = {
            "database": (self._check_database, MAX_AGE),
            "migrations": (self._check_migrations, MAX_AGE),
            "keys": (self._check_keys, MAX_AGE),
            "storage": (self._check_storage, MAX_STORAGE_AGE),
        }
        self._running: dict[str, asyncio.Future[str]] = {}
        self._outcomes: dict[str, tuple[float, str]] = {}
        self._threads = ThreadPoolExecutor(len(self._checks), "tms-readiness")
        self.is_stopping = False

    async def outcomes(self) -> dict[str, str]:
        """Return the outcome of each check: ``ok``, or why it failed. Takes ``TIMEOUT`` at most."""
        names = list(self._checks)
        found = await asyncio.gather(*map(self._outcome, names))
        return dict(zip(names, found, strict=True))

    async def _outcome(self, name: str) -> str:
        check, max_age = self._checks[name]
        at, outcome = self._outcomes.get(name, (0.0, ""))
        if outcome == "ok" and time.monotonic() - at < max_age:
            return outcome
        running = self._running.get(name)
        if running is None or running.done():
            loop = asyncio.get_running_loop()
            running = self._running[name] = loop.run_in_executor(self._threads, _outcome, check)
        try:
            outcome = await asyncio.wait_for(asyncio.shield(running), TIMEOUT)
        except (TimeoutError, asyncio.TimeoutError):
            outcome = f"did not end within {TIMEOUT:.0f} s"
        self._outcomes[name] = time.monotonic(), outcome
        return outcome

    def _check_database(self) -> None:
        with self._database.read() as connection:
            connection.exec_driver_sql("SELECT 1")

    def _check_migrations(self) -> None:
        with self._database.read() as connection:
            state = revisions.state(connection)
        if not state.is_usable:
            raise NotReady(
                f"the schema is {state.found or 'missing'}, this server needs {state.expected}: "
                "run `tms db upgrade`"
            )

    def _check_keys(self) -> None:
        if not self._encryption.is_usable(self._database):
            raise NotReady("no key of this server decrypts the stored secrets: set TMS_SERVER_KEYS")
        if missing := missing_keys(self._database):
            raise NotReady(
                f"stored data is encrypted with the key {missing[0]}, which this server does not have: "
                "add it to TMS_SERVER_KEYS, or to secrets.key of the data dir"
            )

    def _check_storage(self) -> None:
        disk = os.statvfs(self._settings.data_dir)
        if disk.f_bavail * disk.f_frsize < MIN_FREE:
            raise NotReady("the disk of the data dir is full")
        try:
            self._objects.check()
        except ServiceUnavailable as error:
            raise NotReady(error.message) from error


def _outcome(check: Check) -> str:
    try:
        check()
    except NotReady as error:
        return str(error)
    except Exception as error:  # its text may contain an address or a secret
        return f"failed ({type(error).__name__})"
    return "ok"
