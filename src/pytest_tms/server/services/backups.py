"""Backups of a server in one file: the database, the files of tests, and the key if requested.

The file is a tar archive with ``manifest.json``, ``tms.sqlite3`` or ``tms.dump`` (by pg_dump),
``secrets.key`` and ``artifacts/``, in this order. The database is copied first, as it is at one moment. So
each file that it names is in the archive, unless it was deleted meanwhile.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import msgspec
from sqlalchemy import URL, Connection, func, inspect, select

from pytest_tms.server.domain import clock
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store import revisions, tables
from pytest_tms.server.store.database import Database

FORMAT = 1
MAX_MANIFEST = 1 << 20
"""Bytes of a manifest that are read."""
MANIFEST, SQLITE, DUMP, KEY, FILES = "manifest.json", "tms.sqlite3", "tms.dump", "secrets.key", "artifacts"
_FILE = re.compile(r"artifacts/[\w.-]+(/[\w.-]+)*", re.ASCII)
_COUNTED = {"executions": tables.executions, "results": tables.results, "tests": tables.tests}


@dataclass(frozen=True)
class Manifest:
    """What a backup has: the number of rows of some tables, and the files of tests with their bytes."""

    version: str
    created_at: str
    database: str
    schema: str
    executions: int
    results: int
    tests: int
    files: int = 0
    bytes: int = 0
    has_key: bool = False
    format: int = FORMAT


def create(settings: ServerSettings, database: Database, path: Path, *, include_key: bool) -> Manifest:
    """Write a backup to a new file, which only its owner can read, while servers continue to run.

    The folder of the file needs room for the database twice.

    Raises:
        ValueError: The file exists, its folder does not, or pg_dump is missing or failed. The message is one
            sentence.
        OSError: The file cannot be written.
    """
    if path.exists():
        raise ValueError(f"{path} exists: choose another name")
    if not path.parent.is_dir():
        raise ValueError(f"the folder {path.parent} does not exist: create it, or choose another one")
    with database.read() as connection:
        schema = revisions.state(connection).found
    with _private_folder(path) as folder:
        stored = folder / (SQLITE if database.is_sqlite else DUMP)
        if database.is_sqlite:
            _copy_sqlite(database.engine.url, stored)
            counts = _counts_of_copy(stored)
        else:
            _dump(database.engine.url, stored)
            counts = _counts(database)
        sizes = [size for _, size in _files(settings)]
        key = settings.data_dir / KEY
        has_key = include_key and not settings.keys and key.exists()
        manifest = Manifest(
            version=version("pytest-tms"),
            created_at=clock.timestamp(clock.now()),
            database=_kind(database),
            schema=schema,
            files=len(sizes),
            bytes=sum(sizes),
            has_key=has_key,
            **counts,
        )
        partial = folder / "backup.tar"
        with _archive(partial) as archive:
            _add_text(archive, MANIFEST, json.dumps(asdict(manifest), indent=2).encode())
            archive.add(stored, stored.name, recursive=False)
            if has_key:
                archive.add(key, KEY, recursive=False)
            for file, _ in _files(settings):
                name = file.relative_to(settings.data_dir).as_posix()
                with suppress(FileNotFoundError):  # its execution was deleted meanwhile
                    archive.add(file, name, recursive=False)
        partial.rename(path)
    return manifest


def restore(settings: ServerSettings, database: Database, path: Path) -> Manifest:
    """Restore a backup into a new database and a new data dir.

    An SQLite database has its name at the end, when everything was restored.

    Raises:
        ValueError: The file is not a backup, the database exists or is of another kind, the data dir has
            files of tests or a key, pg_restore failed, or the numbers of rows differ from the manifest.
        OSError: The file cannot be read, or the data dir cannot be written.
    """
    try:
        with tarfile.open(path, "r|") as archive:
            manifest = _read_manifest(archive)
            _check_target(settings, database, manifest)
            settings.prepare()
            while (member := archive.next()) is not None:
                _restore_member(settings, database, archive, member)
        if database.is_sqlite:
            _unfinished(database).rename(_file(database))
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a complete backup of tms backup ({error})") from None
    restored = _counts(database)
    expected = {name: getattr(manifest, name) for name in restored}
    if restored != expected and database.is_sqlite:
        raise ValueError(f"the restored database has {restored}, but the backup has {expected}")
    return manifest


def _restore_member(
    settings: ServerSettings, database: Database, archive: tarfile.TarFile, member: tarfile.TarInfo
) -> None:
    content = archive.extractfile(member) if member.isfile() else None
    if content is None:
        raise ValueError(f"the backup has {member.name[:200]!r}, which is not a file")
    if member.name == SQLITE:
        target = _unfinished(database)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.unlink(missing_ok=True)
        _write(content, target)
    elif member.name == DUMP:
        with tempfile.TemporaryDirectory(dir=settings.data_dir) as folder:
            dump = Path(folder) / DUMP
            _write(content, dump)
            _load(database.engine.url, dump)
    elif member.name == KEY:
        _write(content, settings.data_dir / KEY)
    elif _FILE.fullmatch(member.name) and ".." not in member.name.split("/"):
        target = settings.data_dir / member.name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(content, target)
    else:
        raise ValueError(f"the backup has the unknown file {member.name[:200]!r}: upgrade pytest-tms here")


def _read_manifest(archive: tarfile.TarFile) -> Manifest:
    """Return the manifest, which is the first file of a backup.

    Raises:
        ValueError: There is none, it is not valid, or a newer version wrote it.
    """
    member = archive.next()
    content = archive.extractfile(member) if member and member.name == MANIFEST and member.isfile() else None
    if content is None:
        raise ValueError(f"{archive.name!s} is not a backup of tms backup")
    try:
        document = msgspec.json.decode(content.read(MAX_MANIFEST))
        if isinstance(document, dict) and document.get("format") not in (None, FORMAT):
            raise ValueError(
                f"the backup has the format {document['format']!r}, and this version reads {FORMAT}: upgrade "
                "pytest-tms here"
            )
        return msgspec.convert(document, Manifest)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the backup has an invalid {MANIFEST} ({error}): use another backup") from None


def _check_target(settings: ServerSettings, database: Database, manifest: Manifest) -> None:
    """Check that nothing would be overwritten, and that the database is of the right kind."""
    kind = _kind(database)
    if kind != manifest.database:
        raise ValueError(
            f"the backup has a database of the kind {manifest.database}, and {database.describe()} is "
            f"{kind}: restore it into one of its own kind, then use `tms db copy`"
        )
    if manifest.schema not in revisions.known():
        raise ValueError(
            f"the backup has the schema {manifest.schema} of a newer version ({manifest.version}): upgrade "
            "pytest-tms here"
        )
    if not database.is_sqlite:
        with database.read():  # exists() is true if it does not respond
            pass
    if database.exists():
        raise ValueError(f"the database {database.describe()} exists: restore into a new one")
    files = settings.data_dir / FILES
    if manifest.files and files.exists() and any(files.iterdir()):
        raise ValueError(f"{files} has files: restore into a new data dir")
    if manifest.has_key and (settings.data_dir / KEY).exists():
        raise ValueError(f"{settings.data_dir / KEY} exists: move it away, the backup has another one")


def _files(settings: ServerSettings) -> Iterator[tuple[Path, int]]:
    """Yield each file of tests in the data dir with its size."""
    if settings.artifacts_url:  # they are not in the data dir
        return
    for folder, _, names in os.walk(settings.data_dir / FILES):
        for name in sorted(names):
            file = Path(folder) / name
            try:
                yield file, file.stat().st_size
            except FileNotFoundError:  # its execution was deleted meanwhile
                continue


def _copy_sqlite(url: URL, target: Path) -> None:
    """Copy an SQLite database as it is at one moment, and check the copy."""
    with closing(sqlite3.connect(str(url.database))) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        # One file, without a write-ahead log beside it.
        copy.execute("PRAGMA journal_mode = DELETE")
        [[outcome]] = copy.execute("PRAGMA quick_check(1)").fetchall()
    if outcome != "ok":
        raise ValueError(f"the database is damaged ({outcome}): restore an earlier backup")


def _dump(url: URL, target: Path) -> None:
    """Copy a PostgreSQL database as it is at one moment."""
    command = ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={target}"]
    _run_postgresql(command, url, "install the client programs of PostgreSQL (postgresql-client)")


def _load(url: URL, dump: Path) -> None:
    command = ["pg_restore", "--exit-on-error", "--no-owner", "--no-privileges", "--single-transaction"]
    hint = "install the client programs of PostgreSQL (postgresql-client)"
    _run_postgresql([*command, f"--dbname={url.database}", str(dump)], url, hint)


def _run_postgresql(command: list[str], url: URL, hint: str) -> None:
    """Run a program of PostgreSQL, which gets the password from its environment."""
    program = shutil.which(command[0])
    if program is None:
        raise ValueError(f"{command[0]} is not installed: {hint}")
    known = {
        "PGHOST": url.query.get("host", url.host),
        "PGPORT": url.port,
        "PGUSER": url.username,
        "PGDATABASE": url.database,
        "PGPASSWORD": url.password,
        "PGSSLMODE": url.query.get("sslmode"),
    }
    environ = {**os.environ, **{name: str(value) for name, value in known.items() if value}}
    completed = subprocess.run(  # noqa: S603  # found in PATH
        [program, *command[1:]],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode:
        reason = (completed.stderr.strip().splitlines() or [f"exit status {completed.returncode}"])[-1]
        raise ValueError(f"{command[0]} failed ({reason[:300]})")


def _counts(database: Database) -> dict[str, int]:
    with database.read() as connection:
        return _count(connection)


def _counts_of_copy(path: Path) -> dict[str, int]:
    copy = Database(f"sqlite:///{path}")
    try:
        return _counts(copy)
    finally:
        copy.close()
        for suffix in ("-wal", "-shm"):
            path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def _count(connection: Connection) -> dict[str, int]:
    existing = set(inspect(connection).get_table_names())  # fewer in the schema of an earlier version
    return {
        name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        if name in existing
        else 0
        for name, table in _COUNTED.items()
    }


def _kind(database: Database) -> str:
    return "sqlite" if database.is_sqlite else "postgresql"


def _file(database: Database) -> Path:
    return Path(database.engine.url.database or "")


def _unfinished(database: Database) -> Path:
    return _file(database).with_name(f"{_file(database).name}.restoring")


@contextmanager
def _private_folder(path: Path) -> Iterator[Path]:
    """Return a folder beside a file, which only its owner can read; it is deleted at the end."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        yield Path(folder)


@contextmanager
def _archive(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a new archive, and write it to the disk at the end."""
    with _create_private(path) as file:
        with tarfile.open(fileobj=file, mode="w|") as archive:
            yield archive
        file.flush()
        os.fsync(file.fileno())


def _add_text(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _write(content: IO[bytes], target: Path) -> None:
    """Write a new file, which only its owner can read."""
    with _create_private(target) as file:
        shutil.copyfileobj(content, file, 1 << 20)


def _create_private(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
