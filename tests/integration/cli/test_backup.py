"""`tms backup`, `tms restore` and `tms db copy`: on both databases, against real servers."""

from __future__ import annotations

import json
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from pytest_tms.server.domain.actors import Actor
from pytest_tms.server.store import audit, copies, tables
from pytest_tms.server.store.database import Database
from tests.helpers.api import KEY, Api, expect_success, result, running, scratch_database
from tests.helpers.filled_databases import fill
from tests.helpers.processes import run_tms

CONTENT = b"the content of a file"
FILE = sha256(CONTENT).hexdigest()
HOOK = {"url": "https://example.com/x", "events": ["execution.completed"], "secret": "0123456789abcdef"}


@contextmanager
def database_url(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a new database of a kind."""
    if kind == "sqlite":
        folder.mkdir(parents=True, exist_ok=True)
        yield f"sqlite:///{folder}/tms.sqlite3"
    else:
        with scratch_database() as url:
            yield url


def use(api: Api) -> dict[str, Any]:
    """Let a server store something of each kind; the execution."""
    execution = api.create(metadata={"branch": "main"})
    api.send(execution, "execution.progress", shardId="1", tests=[result("a")])
    failed = result("b", "failed", error="wrong", properties={"id": ["TC-1"]})
    api.submit(execution, tests=[result("a"), failed])
    path = f"/executions/{execution['executionId']}/artifacts/{FILE}"
    assert api.request("PUT", path, CONTENT).status_code == 201
    expect_success(api.request("POST", "/webhooks", HOOK), 201)
    return execution


def shown(api: Api, execution: dict[str, Any], token: str) -> Any:
    """What a server returns about the execution, without what depends on its address."""
    path = f"/executions/{execution['executionId']}"
    status = expect_success(api.request("GET", path, token=token), 200)
    tests = expect_success(api.request("GET", f"{path}/tests", token=token), 200)["tests"]
    file = api.request("GET", f"{path}/artifacts/{FILE}", token=token)
    return json.dumps([status, tests], indent=1).replace(api.root, ""), file.content


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_of_a_running_server_is_restored_with_all_that_it_stored(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "tms.backup"
    with database_url(kind, tmp_path / "data") as url:
        place = ("--database-url", url)
        with running(tmp_path / "data", *place) as api:
            execution = use(api)
            before = shown(api, execution, api.token)
            made = run_tms(
                "backup", str(file), "--include-key", "--json", "--data-dir", str(api.data_dir), *place
            )
            assert made.returncode == 0, made.stderr
            api.create()  # after the backup
            token = api.token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []
    manifest = json.loads(made.stdout)
    assert (manifest["database"], manifest["executions"], manifest["tests"]) == (kind, 1, 2)
    assert (manifest["files"], manifest["bytes"], manifest["has_key"]) == (1, len(CONTENT), True)
    with database_url(kind, tmp_path / "restored") as url:
        place = ("--database-url", url)
        target = ("--data-dir", str(tmp_path / "restored"), *place)
        restored = run_tms("restore", str(file), "--json", *target)
        assert restored.returncode == 0, restored.stderr
        assert json.loads(restored.stdout) == manifest
        with running(tmp_path / "restored", *place) as api:
            assert shown(api, execution, token) == before
            # The secret of the webhook can be decrypted, so a server of the restored database has the key.
            assert api.session.get(f"{api.root}/readyz", timeout=20).json()["checks"]["keys"] == "ok"
            assert len(expect_success(api.request("GET", "/executions"), 200)["executions"]) == 1
            api.create()
        again = run_tms("restore", str(file), *target)
        assert again.returncode == 1
        assert "exists: restore into a new one" in again.stderr


def test_a_backup_leaves_the_key_out_and_says_so(tmp_path: Path) -> None:
    data, file = str(tmp_path / "data"), tmp_path / "tms.backup"
    assert run_tms("db", "upgrade", "--data-dir", data).returncode == 0
    (tmp_path / "data" / "secrets.key").write_text(KEY)
    made = run_tms("backup", str(file), "--data-dir", data)
    assert made.returncode == 0, made.stderr
    assert "the encryption key is not in the backup: keep a copy of" in made.stderr
    assert made.stdout.startswith(f"{file} has 0 executions")
    with tarfile.open(file) as archive:
        assert archive.getnames() == ["manifest.json", "tms.sqlite3"]
    again = run_tms("backup", str(file), "--data-dir", data)
    assert (again.returncode, again.stderr) == (1, f"tms: {file} exists: choose another name\n")
    folder = tmp_path / "missing"
    elsewhere = run_tms("backup", str(folder / "tms.backup"), "--data-dir", data)
    message = f"tms: the folder {folder} does not exist: create it, or choose another one\n"
    assert (elsewhere.returncode, elsewhere.stderr) == (1, message)
    restored = run_tms("restore", str(file), "--data-dir", str(tmp_path / "new"))
    assert restored.returncode == 0, restored.stderr
    assert f"restore {tmp_path / 'new' / 'secrets.key'} from your copy" in restored.stderr
    assert stat.S_IMODE((tmp_path / "new" / "tms.sqlite3").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert [each.name for each in (tmp_path / "new").glob("*.restoring")] == []


def test_a_truncated_backup_is_refused_and_leaves_no_database(tmp_path: Path) -> None:
    data, file = str(tmp_path / "data"), tmp_path / "tms.backup"
    assert run_tms("db", "upgrade", "--data-dir", data).returncode == 0
    assert run_tms("backup", str(file), "--data-dir", data).returncode == 0
    content = file.read_bytes()
    for size in (0, 100, 2000, len(content) // 2):
        file.write_bytes(content[:size])
        completed = run_tms("restore", str(file), "--data-dir", str(tmp_path / f"new{size}"))
        assert completed.returncode == 1
        assert completed.stderr.startswith("tms: ")
        assert completed.stderr.count("\n") == 1
        assert not (tmp_path / f"new{size}" / "tms.sqlite3").exists()


@pytest.mark.parametrize(
    "name", ["../outside", "artifacts/../../outside", "/outside", "artifacts//x", "other"]
)
def test_a_backup_with_a_file_of_another_name_is_refused(tmp_path: Path, name: str) -> None:
    data, file = str(tmp_path / "data"), tmp_path / "tms.backup"
    assert run_tms("db", "upgrade", "--data-dir", data).returncode == 0
    assert run_tms("backup", str(file), "--data-dir", data).returncode == 0
    added = tmp_path / "added"
    added.write_text("x")
    with tarfile.open(file, "a") as archive:
        information = archive.gettarinfo(added)
        information.name = name
        with added.open("rb") as content:
            archive.addfile(information, content)
    completed = run_tms("restore", str(file), "--data-dir", str(tmp_path / "new"))
    assert completed.returncode == 1
    assert "unknown file" in completed.stderr
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "new" / "tms.sqlite3").exists()


def test_a_file_that_is_not_a_backup_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.tar"
    with tarfile.open(other, "w") as archive:
        archive.add(__file__, "manifest.txt")
    completed = run_tms("restore", str(other), "--data-dir", str(tmp_path / "new"))
    assert completed.returncode == 1
    assert "is not a backup of tms backup" in completed.stderr
    missing = run_tms("backup", str(tmp_path / "x"), "--data-dir", str(tmp_path / "none"))
    assert (missing.returncode, (tmp_path / "x").exists()) == (1, False)


@pytest.mark.parametrize(
    "manifest", ["", "[]", "null", '{"format": 1}', '{"format": 2}', '{"format": 1, "files": "x"}']
)
def test_a_backup_whose_manifest_is_not_valid_is_refused(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest").write_text(manifest)
    with tarfile.open(tmp_path / "file", "w") as archive:
        archive.add(tmp_path / "manifest", "manifest.json")
    completed = run_tms("restore", str(tmp_path / "file"), "--data-dir", str(tmp_path / "new"))
    assert (completed.returncode, completed.stderr.count("\n")) == (1, 1)
    assert completed.stderr.startswith("tms: the backup has ")


def test_a_missing_program_of_postgresql_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scratch_database() as url:
        assert run_tms("db", "upgrade", "--data-dir", str(tmp_path), "--database-url", url).returncode == 0
        monkeypatch.setenv("PATH", str(tmp_path))
        file = tmp_path / "x"
        completed = run_tms("backup", str(file), "--data-dir", str(tmp_path), "--database-url", url)
    assert completed.returncode == 1
    assert "pg_dump is not installed: install the client programs of PostgreSQL" in completed.stderr
    assert not file.exists()


def rows(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables."""
    with database.read() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in tables.metadata.sorted_tables
        }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "target"),
    [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("postgresql", "postgresql"), ("sqlite", "sqlite")],
)
def test_a_copy_has_the_same_rows_and_a_server_continues_with_it(
    source: str, target: str, tmp_path: Path
) -> None:
    with database_url(source, tmp_path / "a") as first, database_url(target, tmp_path / "b") as second:
        with running(tmp_path / "a", "--database-url", first, TMS_SERVER_KEYS=KEY) as api:
            execution = use(api)
            token, status = api.token, api.status(execution)
        copied = run_tms("db", "copy", first, second, "--json")
        assert copied.returncode == 0, copied.stderr
        one, two = Database(first), Database(second)
        before = rows(one)
        assert rows(two) == before
        assert json.loads(copied.stdout) == {name: len(found) for name, found in before.items()}
        assert sum(map(len, before.values())) > 10
        one.close()
        two.close()
        with running(tmp_path / "c", "--database-url", second, TMS_SERVER_KEYS=KEY) as api:
            assert (
                api.request("GET", f"/executions/{execution['executionId']}", token=token).status_code == 200
            )
            assert api.status(execution)["results"] == status["results"]
            another = use(api)  # numbers go on after those that were copied
            assert len(api.tests(another)) == 2
        again = run_tms("db", "copy", first, second)
        assert again.returncode == 1
        assert "is not empty (it has rows in " in again.stderr


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_a_copy_that_was_interrupted_leaves_an_empty_database_and_can_be_repeated(
    target: str, tmp_path: Path
) -> None:
    with database_url("sqlite", tmp_path / "a") as first, database_url(target, tmp_path / "b") as second:
        source, other = Database(first), Database(second)
        source.upgrade(tmp_path)
        other.upgrade(tmp_path)
        fill(source, 1200)

        def interrupt(table: str, _: int) -> None:
            if table == "results":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            copies.copy(source, other, interrupt)
        with other.read() as connection:
            assert connection.scalar(select(func.count()).select_from(tables.executions)) == 0
        copied: dict[str, int] = {}
        copies.copy(source, other, copied.__setitem__)
        assert copied["results"] == 1200  # more than two batches
        assert rows(other) == rows(source)
        source.close()
        other.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_is_copied_of_a_database_that_changes_meanwhile(kind: str, tmp_path: Path) -> None:
    with database_url(kind, tmp_path / "a") as first:
        source, other = Database(first), Database(f"sqlite:///{tmp_path}/other.sqlite3")
        for each in (source, other):
            each.upgrade(tmp_path)
        fill(source, 10)

        def store(table: str, _: int) -> None:
            if table == "results":
                with source.write() as connection:
                    audit.add(connection, Actor(id="server"), "token.created", "tok_1", 1)

        with pytest.raises(
            ValueError, match=r"has changed during the copy: nothing was copied; stop the serv"
        ):
            copies.copy(source, other, store)
        with other.read() as connection:
            assert connection.scalar(select(func.count()).select_from(tables.executions)) == 0
        source.close()
        other.close()


def test_a_copy_of_a_database_with_another_schema_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/old.sqlite3")
    database.upgrade(tmp_path)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    database.close()
    completed = run_tms("db", "copy", str(tmp_path / "old.sqlite3"), str(tmp_path / "new.sqlite3"))
    assert completed.returncode == 1
    assert "run `tms db upgrade` with it first" in completed.stderr
    assert not (tmp_path / "new.sqlite3").exists()


def test_a_copy_onto_itself_and_of_nothing_are_refused(tmp_path: Path) -> None:
    file = str(tmp_path / "tms.sqlite3")
    assert run_tms("db", "copy", file, file).returncode == 2
    completed = run_tms("db", "copy", file, str(tmp_path / "other.sqlite3"))
    assert completed.returncode == 1
    assert "there is no TMS database at " in completed.stderr


def test_a_copy_of_an_sqlite_file_that_a_server_uses_is_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "data" / "tms.sqlite3", tmp_path / "new.sqlite3"
    with running(tmp_path / "data") as api:
        api.create()
        refused = run_tms("db", "copy", str(source), str(target))
        message = (
            f"tms: another process uses the database sqlite:///{source}: stop the server and other `tms` "
        )
        assert (refused.returncode, refused.stderr) == (1, f"{message}commands first\n")
        assert not target.exists()
        api.create()  # the server continues
    copied = run_tms("db", "copy", str(source), str(target), "--json")
    assert copied.returncode == 0, copied.stderr
    assert json.loads(copied.stdout)["executions"] == 2


@pytest.mark.parametrize("broken", ["FROM", "TO"])
def test_a_copy_names_the_file_that_is_not_a_database(tmp_path: Path, broken: str) -> None:
    other, file = tmp_path / "other.txt", tmp_path / "tms.sqlite3"
    other.write_text("This file is not a database.")
    assert run_tms("db", "upgrade", "--data-dir", str(tmp_path)).returncode == 0
    names = [str(other), str(file)] if broken == "FROM" else [str(file), str(other)]
    completed = run_tms("db", "copy", *names)
    message = (
        f"tms: the database sqlite:///{other} cannot be used (file is not a database): check its path or "
    )
    assert (completed.returncode, completed.stderr) == (1, f"{message}its URL\n")


def test_a_copy_says_why_it_cannot_connect_to_its_source(tmp_path: Path) -> None:
    url = "postgresql+psycopg://nobody:secret@127.0.0.1:1/tms"
    completed = run_tms("db", "copy", url, str(tmp_path / "new.sqlite3"))
    assert completed.returncode == 1
    assert "Connection refused" in completed.stderr
    assert completed.stderr.endswith(": check its path or its URL\n")
    assert "secret" not in completed.stderr
