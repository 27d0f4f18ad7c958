"""Encryption at rest: whether a server has the keys, and the rewriting of existing data.

Each kind of data is read in the order of its keys, twice: a server that was restarted later than the others
may have written data with another key behind the first pass.
"""

from __future__ import annotations

import contextlib
import logging
from typing import NamedTuple

import msgspec

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.server.domain import clock
from pytest_tms.server.domain.durations import HOUR
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.domain.stored_files import StoredFile
from pytest_tms.server.encryption.data_cipher import DamagedData, DataCipher
from pytest_tms.server.encryption.key_ring import KeyRing
from pytest_tms.server.services.artifacts import READ_TIMEOUT, WRITE_TIMEOUT
from pytest_tms.server.services.deletion import PAUSE, Wait
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import artifacts, encryption_state, reencryption
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.encryption_state import RewriteProgress
from pytest_tms.server.store.object_store import ObjectStore

LOG = logging.getLogger("pytest_tms.server")
PASSES = 2
"""Passes over each kind of data."""
BETWEEN_PASSES = HOUR
"""Milliseconds between two passes: by then, all servers have been restarted with the new key."""
READ = 2_000
"""Rows that are read in one transaction."""
WRITTEN = 50
"""Rows that are rewritten in one transaction."""
FILES = 100
"""Files that are read from the database in one transaction."""


class KindState(NamedTuple):
    """How far one kind of data is rewritten: ``share`` of the present pass, between 0 and 1."""

    name: str
    rows: int
    passes: int
    share: float


class State(NamedTuple):
    """The encryption of a database.

    ``keys`` are the ids of the keys with which data may be encrypted, the oldest first. ``target`` is the
    newest one of this server, empty if data is stored unencrypted. ``kinds`` are being rewritten.
    """

    is_on: bool
    keys: list[str]
    target: str
    kinds: list[KindState]

    @property
    def is_complete(self) -> bool:
        """Whether all data is as it should be."""
        return self.keys == ([self.target] if self.target else [])


def data_cipher(settings: ServerSettings) -> DataCipher:
    """Return the cipher of the data of a server."""
    return DataCipher(KeyRing(settings.keys, settings.data_dir), encrypts=settings.encrypt)


def check(database: Database) -> None:
    """Check that this server has the keys of the data, and encrypts if others do; register its key.

    Raises:
        ValueError: It does not. The message is one sentence.
    """
    cipher = database.cipher
    with database.read() as connection:
        is_on, used = encryption_state.is_on(connection), encryption_state.keys(connection)
    if not used and not cipher.encrypts:
        return
    try:
        missing = cipher.lacks(used)
    except ServiceUnavailable as error:
        raise ValueError(error.message) from error
    if missing:
        raise ValueError(
            f"the data in {database.describe()} is encrypted with the key {missing[0]}, which is not in "
            f"{cipher.place} of this server: restore it there; if it is lost, run `tms key reset`, after "
            f"which that data cannot be read"
        )
    if is_on and not cipher.encrypts:
        raise ValueError(
            f"the data in {database.describe()} is encrypted: set TMS_SERVER_ENCRYPT=1, or run "
            f"`tms key decrypt` first, after which servers store it unencrypted"
        )
    if cipher.encrypts:
        with database.write() as connection:
            encryption_state.switch(connection, True)
            encryption_state.add_key(connection, cipher.newest(), clock.now())


def missing_keys(database: Database) -> list[str]:
    """Return the ids of the keys of stored data that this server does not have.

    Raises:
        ServiceUnavailable: A key is malformed.
    """
    with database.read() as connection:
        used = encryption_state.keys(connection)
    return database.cipher.lacks(used) if used else []


def forget_lost_keys(database: Database) -> list[str]:
    """Forget the keys that this server does not have, and return their ids."""
    with database.write() as connection:
        used = encryption_state.keys(connection)
        lost = database.cipher.lacks(used)
        encryption_state.forget_keys(connection, lost)
    return lost


def state(database: Database) -> State:
    """Return how far the data of a database is encrypted."""
    with database.read() as connection:
        is_on, keys = encryption_state.is_on(connection), encryption_state.keys(connection)
        target = database.cipher.newest() if is_on else ""
        kinds = []
        progress = encryption_state.progress(connection)
        for name in reencryption.KINDS:
            found = progress.get(name)
            if found is None or found.key_id != target:
                kinds.append(KindState(name, 0, 0, 0.0))
                continue
            done = found.passes >= PASSES
            position = msgspec.json.decode(found.position or "[]")
            share = 1.0 if done else reencryption.share(connection, name, position)
            kinds.append(KindState(name, found.rows, found.passes, share))
    return State(is_on, keys, target, kinds)


def is_due(database: Database) -> bool:
    """Return whether ``rewrite`` has anything to do."""
    return _target(database) is not None


def rewrite(
    database: Database, objects: ObjectStore, wait: Wait, *, between_passes: int = BETWEEN_PASSES
) -> bool:
    """Encrypt existing data with the newest key, or decrypt it, as far as it is due.

    Return whether all of it is done. If ``wait`` stops it, it continues there the next time.

    Raises:
        ServiceUnavailable: The server does not have the key of a value.
    """
    target = _target(database)
    if target is None:
        return True
    if target:
        with database.write() as connection:
            encryption_state.add_key(connection, target, clock.now())
    is_complete = True
    for name in reencryption.KINDS:
        with database.read() as connection:
            found = encryption_state.progress(connection).get(name)
        progress = found if found is not None and found.key_id == target else RewriteProgress(name, target)
        while progress.passes < PASSES:
            if progress.passes and clock.now() < progress.passed_at + between_passes:
                break
            progress, is_stopped = _pass(database, objects, progress, wait)
            if is_stopped:
                return False
        is_complete = is_complete and progress.passes >= PASSES
    if is_complete:
        with database.write() as connection:
            keys = encryption_state.keys(connection)
            encryption_state.forget_keys(connection, [each for each in keys if each != target])
    return is_complete


def _target(database: Database) -> str | None:
    """Return the id of the key of all data, empty for none; None if nothing is to be rewritten."""
    with database.read() as connection:
        is_on, keys = encryption_state.is_on(connection), encryption_state.keys(connection)
        progress = encryption_state.progress(connection)
    if is_on != database.cipher.encrypts:  # another server was started with another setting
        return None
    target = database.cipher.newest() if is_on else ""
    passes = [
        each.passes for name in reencryption.KINDS if (each := progress.get(name)) and each.key_id == target
    ]
    is_complete = len(passes) == len(reencryption.KINDS) and min(passes) >= PASSES
    if is_complete and keys == ([target] if target else []):
        return None
    return target if is_on or keys else None


def _pass(
    database: Database, objects: ObjectStore, progress: RewriteProgress, wait: Wait
) -> tuple[RewriteProgress, bool]:
    """Continue a pass to its end, or until ``wait`` stops it; return whether it did."""
    while True:
        after = msgspec.json.decode(progress.position or "[]")
        if progress.name == reencryption.FILES:
            changed, position = _rewrite_files(database, objects, progress.key_id, after)
        else:
            changed, position = _rewrite_rows(database, progress, after, wait)
        rows = progress.rows + changed
        if position is None:
            progress = progress._replace(
                position="", rows=rows, passes=progress.passes + 1, passed_at=clock.now()
            )
        else:
            progress = progress._replace(position=msgspec.json.encode(position).decode(), rows=rows)
        with database.write() as connection:
            encryption_state.save(connection, progress)
        if wait(PAUSE):
            return progress, True
        if position is None:
            return progress, False


def _rewrite_rows(
    database: Database, progress: RewriteProgress, after: list[object], wait: Wait
) -> tuple[int, reencryption.Key | None]:
    with database.read() as connection:
        found = reencryption.find(connection, progress.name, progress.key_id, after, READ)
    changed = 0
    for start in range(0, len(found.rows), WRITTEN):
        with database.write() as connection:
            changed += reencryption.rewrite(connection, progress.name, found.rows[start : start + WRITTEN])
        if wait(PAUSE) and start + WRITTEN < len(found.rows):
            return changed, found.rows[start + WRITTEN - 1]
    return changed, found.position


def _rewrite_files(
    database: Database, objects: ObjectStore, key_id: str, after: list[str]
) -> tuple[int, reencryption.Key | None]:
    with database.read() as connection:
        found, last = reencryption.files(connection, key_id, after[0] if after else "", FILES)
    changed = sum(_rewrite_file(database, objects, file) for file in found)
    return changed, None if last is None else (last,)


def _rewrite_file(database: Database, objects: ObjectStore, file: StoredFile) -> bool:
    """Store a file as another object; the previous one is deleted when no request can still be reading it."""
    key = f"{file.sha256[:2]}/{file.sha256}-{new_id('obj')}"
    with database.write() as connection:
        artifacts.note_stray(connection, [key], clock.now() + WRITE_TIMEOUT)
    try:
        encryption = objects.rewrite(file, key)
    except (FileNotFoundError, DamagedData) as error:
        if not isinstance(error, FileNotFoundError):
            LOG.warning("%s", error)
        with contextlib.suppress(ServiceUnavailable):
            objects.delete(key)
        return False
    with database.write() as connection:
        is_replaced = reencryption.replace_object(connection, file, key, encryption)
        if is_replaced:
            artifacts.forget_stray(connection, [key])
            artifacts.note_stray(connection, [file.object], clock.now() + READ_TIMEOUT)
    return is_replaced
