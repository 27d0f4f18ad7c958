"""Encryption at rest: nothing is stored in plain text, everything is read as before, keys change."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select, text, update

from pytest_tms.errors import ServiceUnavailable
from pytest_tms.exports.formats import FORMATS
from pytest_tms.server.domain.stored_files import StoredFile
from pytest_tms.server.encryption.data_cipher import DataCipher
from pytest_tms.server.encryption.key_ring import KeyRing, new_key
from pytest_tms.server.services import encryption
from pytest_tms.server.store import encryption_state, failures, reencryption, tables
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore
from tests.helpers.api import Api, expect_success, result, running, upgraded_database
from tests.helpers.processes import run_tms, wait_for
from tests.helpers.subscribers import Subscribers, subscribing

SECRET = "Marker-of-a-secret-text"
FILE = (SECRET + " in a file, which is long. ").encode() * 10_000
ON = {"TMS_SERVER_ENCRYPT": "1"}
HOOKS = {"TMS_SERVER_ALLOW_INSECURE_WEBHOOKS": "1", "TMS_SERVER_WEBHOOK_RATE": "0"}


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """The options that name each database in turn, which is empty."""
    if request.param == "sqlite":
        yield ()
    else:
        with upgraded_database() as url:
            yield ("--database-url", url)


@pytest.fixture(scope="module")
def subscribers() -> Iterator[Subscribers]:
    with subscribing() as known:
        yield known


def opened(data_dir: Path, place: tuple[str, ...], *, encrypts: bool = True, keys: str = "") -> Database:
    """The database of a server, with its keys."""
    url = place[1] if place else f"sqlite:///{data_dir}/tms.sqlite3"
    return Database(url, DataCipher(KeyRing(keys, data_dir), encrypts=encrypts))


def stored(data_dir: Path, place: tuple[str, ...]) -> bytes:
    """Everything that a stopped server has stored: its files, and all rows of a PostgreSQL database."""
    found = [file.read_bytes() for file in sorted(data_dir.rglob("*")) if file.is_file()]
    if place:
        database = opened(data_dir, place)
        with database.read() as connection:
            for table in tables.metadata.tables:
                rows = connection.execute(text(f'SELECT "{table}"::text FROM "{table}"'))
                found += [row[0].encode() for row in rows]
                for column in tables.metadata.tables[table].c:
                    if "BYTEA" in str(column.type.compile(connection.dialect)):
                        found += [bytes(each) for each in connection.scalars(select(column)) if each]
        database.close()
    return b"\n".join(found)


def fill(api: Api, subscribers: Subscribers | None = None) -> dict[str, Any]:
    """An execution with the secret in everything that is encrypted."""
    if subscribers is not None:
        hook = {
            "url": subscribers.url("encrypted"),
            "events": ["execution.completed", "execution.failed", "shard.completed"],
            "secret": "0123456789abcdef",
        }
        expect_success(api.request("POST", "/webhooks", hook), 201)
    execution = api.create()
    sha256 = hashlib.sha256(FILE).hexdigest()
    response = api.request("PUT", f"/executions/{execution['executionId']}/artifacts/{sha256}", FILE)
    expect_success(response, 201)
    api.send(execution, "shard.started", shardId="1")
    api.send(execution, "execution.progress", shardId="1", note=f"{SECRET} of an event")
    tests = [
        result(
            "fails", "failed", error=f"AssertionError: {SECRET}", longrepr=f"E  {SECRET} again", stdout=SECRET
        ),
        result("skips", "skipped", error=f"{SECRET}: a reason"),
        result("passes", stdout=f"{SECRET} output"),
    ]
    artifacts = {"screenshots": [f"{SECRET}.txt"]}
    api.submit(execution, tests=tests, status="failed", artifacts=artifacts)
    return execution


def failed_test(api: Api, execution: str) -> str:
    """The number of the failed test, by which pages name it."""
    found = re.search(
        rf"/runs/{execution}/tests/(\d+)", api.page(f"/runs/{execution}/tests?status=failed").text
    )
    assert found
    return found[1]


def check_reads(api: Api, execution: dict[str, Any]) -> None:
    """Check that the API and the pages show the texts, and the file in ranges."""
    name = execution["executionId"]
    shown = {test["title"]: test for test in api.tests(execution)}
    assert shown["fails"]["error"] == f"AssertionError: {SECRET}"
    assert shown["passes"]["stdout"] == f"{SECRET} output"
    assert shown["skips"]["error"] == f"{SECRET}: a reason"
    test_id = failed_test(api, name)
    for each in ("", "/events", "/tests?q=a-secret-TEXT", f"/tests/{test_id}", "/timeline"):
        page = api.page(f"/runs/{name}{each}")
        assert (page.status_code, each == "/timeline" or SECRET in page.text) == (200, True), each
    assert f"{SECRET}.txt" in api.page(f"/runs/{name}/files").text
    for each in FORMATS:
        exported = api.request("GET", f"/executions/{name}/export?format={each}")
        assert (exported.status_code, SECRET in exported.text) == (200, True), each
    url = f"{api.root}/files/{name}/{hashlib.sha256(FILE).hexdigest()}/x"
    assert requests.get(url, timeout=60).content == FILE
    for start, end in ((0, 0), (65_535, 65_536), (65_536, 200_000), (len(FILE) - 3, len(FILE) - 1)):
        part = requests.get(url, headers={"Range": f"bytes={start}-{end}"}, timeout=60)
        assert (part.status_code, part.content) == (206, FILE[start : end + 1])


def test_nothing_is_stored_in_plain_text_and_all_is_read(
    tmp_path: Path, place: tuple[str, ...], subscribers: Subscribers
) -> None:
    data_dir = tmp_path / "data"
    with running(data_dir, *place, **ON, **HOOKS) as api:
        execution = fill(api, subscribers)
        check_reads(api, execution)
        subscribers.wait_for(
            lambda: any(
                SECRET.encode() in request.body and execution["executionId"].encode() in request.body
                for request in subscribers.of("encrypted")
            )
        )
        api.delete_webhooks()
    found = stored(data_dir, place)
    assert b"fails" in found  # the names of tests stay readable
    at = found.find(SECRET.encode())
    assert at < 0, found[max(0, at - 200) : at + 50]


@pytest.mark.slow
def test_existing_data_is_encrypted_by_a_running_server_and_decrypted_by_a_command(
    tmp_path: Path, place: tuple[str, ...]
) -> None:
    data_dir = tmp_path / "data"
    status = ("key", "status", "--json", "--data-dir", str(data_dir), *place)
    with running(data_dir, *place) as api:
        execution = fill(api)
    assert SECRET.encode() in stored(data_dir, place)
    assert json.loads(run_tms(*status, **ON).stdout)["encrypted"] is False

    with running(data_dir, *place, **ON) as api:
        check_reads(api, execution)

        def has_passed() -> bool:
            shown = json.loads(run_tms(*status, **ON).stdout)
            return all(each["passes"] for each in shown["data"])

        wait_for(has_passed)
        check_reads(api, execution)
    found = stored(data_dir, place)
    for file in (data_dir / "artifacts").rglob("*"):  # the previous object is kept while it may still be read
        if file.is_file():
            found = found.replace(file.read_bytes(), b"")
    at = found.find(SECRET.encode())
    assert at < 0, found[max(0, at - 200) : at + 50]

    refused = run_tms("serve", "--port", "0", "--data-dir", str(data_dir), *place)
    assert refused.returncode == 1
    assert "set TMS_SERVER_ENCRYPT=1, or run `tms key decrypt`" in refused.stderr
    decrypt = ("key", "decrypt", "--data-dir", str(data_dir), *place)
    refused = run_tms(*decrypt, **ON)
    assert (refused.returncode, "remove it" in refused.stderr) == (1, True)
    done = run_tms(*decrypt)
    assert done.returncode == 0, done.stderr
    assert SECRET.encode() in stored(data_dir, place)
    with running(data_dir, *place) as api:
        check_reads(api, execution)
    assert "stored data is not encrypted" in run_tms(*[each for each in status if each != "--json"]).stdout


def test_rotation_rewrites_everything_while_it_is_read(tmp_path: Path, place: tuple[str, ...]) -> None:
    data_dir = tmp_path / "data"
    with running(data_dir, *place, **ON) as api:
        execution = fill(api)
        before = KeyRing("", data_dir).read()
        done = run_tms("key", "rotate", "--data-dir", str(data_dir), *place)
        assert (done.returncode, "see `tms key status`" in done.stdout) == (0, True)
        database = opened(data_dir, place)
        objects = ObjectStore("", data_dir, database.cipher)
        finished = threading.Event()
        failed: list[object] = []

        def read() -> None:
            while not finished.is_set():
                try:
                    check_reads(api, execution)
                except BaseException as error:
                    failed.append(error)
                    return

        reader = threading.Thread(target=read)
        reader.start()
        assert encryption.rewrite(database, objects, lambda _: False, between_passes=0)
        finished.set()
        reader.join()
        assert not failed
        check_reads(api, execution)
        state = encryption.state(database)
        assert state.is_complete
        assert state.keys == [database.cipher.newest()]
        assert len({*before, *KeyRing("", data_dir).read()}) == 2
        with database.read() as connection:
            for name in reencryption.KINDS[:-1]:
                assert not reencryption.find(connection, name, state.target, (), 1000).rows, name
        # Everything is read without the previous key.
        database.close()
        newest = KeyRing("", data_dir).read()[0]
    with running(data_dir, *place, TMS_SERVER_KEYS=newest, **ON) as api:
        check_reads(api, execution)


def test_a_file_is_not_rewritten_with_a_previous_key_that_a_server_still_knows_as_the_newest(
    tmp_path: Path,
) -> None:
    ring = KeyRing("", tmp_path)
    other = DataCipher(ring, encrypts=True)
    previous = other.newest()
    ring.add()
    rotated = DataCipher(ring, encrypts=True)
    encryption = rotated.file_encryption()
    path = tmp_path / "object"
    path.write_bytes(encryption.header + b"".join(encryption.update(FILE)) + encryption.finish())
    ObjectStore("", tmp_path, rotated).put("a", path)
    file = StoredFile("0" * 64, "", len(FILE), "", 0, object="a", encryption=encryption.header)

    header = ObjectStore("", tmp_path, other).rewrite(file, "b")

    assert reencryption.file_key(header) == rotated.newest() != previous


def test_a_file_whose_object_was_changed_or_lost_is_refused_with_a_reason(
    tmp_path: Path, place: tuple[str, ...]
) -> None:
    with running(tmp_path / "data", *place, **ON) as api:
        name = fill(api)["executionId"]
        sha256 = hashlib.sha256(FILE).hexdigest()
        urls = (
            f"{api.root}/files/{name}/{sha256}/x",
            f"{api.root}/api/executions/{name}/artifacts/{sha256}/content",
        )
        (path,) = (each for each in (tmp_path / "data" / "artifacts").rglob("*") if each.is_file())
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
        for url in urls:
            response = requests.get(url, timeout=60, headers={"Authorization": f"Bearer {api.token}"})
            assert response.status_code == 503
            assert f"{sha256} cannot be decrypted" in response.text
        path.unlink()
        for url in urls:
            response = requests.get(url, timeout=60, headers={"Authorization": f"Bearer {api.token}"})
            assert response.status_code == 404
            assert f"{sha256} is no longer stored" in response.text


def test_a_stopped_rewriting_continues_where_it_was(tmp_path: Path, place: tuple[str, ...]) -> None:
    with running(tmp_path / "data", *place) as api:
        fill(api)
    database = opened(tmp_path / "data", place)
    objects = ObjectStore("", tmp_path / "data", database.cipher)
    encryption.check(database)
    stops = 0
    while not encryption.rewrite(database, objects, lambda _: True, between_passes=0):
        stops += 1
        assert stops < 100
    assert stops >= 2 * len(reencryption.KINDS) - 1
    assert encryption.state(database).is_complete
    assert not encryption.is_due(database)
    database.close()


def test_a_server_without_the_key_is_refused_in_one_sentence(tmp_path: Path, place: tuple[str, ...]) -> None:
    data_dir = tmp_path / "data"
    key = new_key()
    with running(data_dir, *place, TMS_SERVER_KEYS=key, **ON) as api:
        fill(api)
    command = ("serve", "--port", "0", "--data-dir", str(data_dir), *place)
    for environ in (ON, {**ON, "TMS_SERVER_KEYS": new_key()}, {}):
        refused = run_tms(*command, **environ)
        assert refused.returncode == 1
        assert len(refused.stderr.strip().splitlines()) == 1
        assert "Traceback" not in refused.stderr
        assert key not in refused.stderr
        assert "key" in refused.stderr
    malformed = run_tms(*command, TMS_SERVER_KEYS="nonsense", **ON)
    assert (malformed.returncode, "malformed" in malformed.stderr) == (1, True)
    done = run_tms("key", "reset", "--data-dir", str(data_dir), *place)
    assert (done.returncode, "cannot be read" in done.stdout) == (0, True)
    with running(data_dir, *place, **ON) as api:  # what is lost is unavailable, the rest works
        runs = expect_success(api.request("GET", "/executions"), 200)["executions"]
        lost = api.request("GET", f"/executions/{runs[0]['executionId']}/tests")
        assert (lost.status_code, "Stored data is encrypted with the key" in lost.text) == (503, True)
        assert SECRET in str(api.tests(fill(api)))


def test_a_server_that_lacks_the_key_of_stored_data_is_not_ready(
    tmp_path: Path, place: tuple[str, ...]
) -> None:
    def keys_of(api: Api) -> str:
        response = api.session.get(f"{api.root}/readyz", timeout=20)
        return str(response.json()["checks"]["keys"])

    with running(tmp_path, *place, TMS_SERVER_ENCRYPT="1") as api:
        fill(api)
        assert keys_of(api) == "ok"
        database = opened(tmp_path, place)
        with database.write() as connection:  # as another server does that has a newer key
            encryption_state.add_key(connection, "0123456789abcdef", 1)
        message = wait_for(lambda: found if (found := keys_of(api)) != "ok" else "")
        assert message.startswith("stored data is encrypted with the key 0123456789abcdef, which this server")
        with database.write() as connection:
            encryption_state.forget_keys(connection, ["0123456789abcdef"])
        wait_for(lambda: keys_of(api) == "ok")
        file = tmp_path / "secrets.key"
        kept = file.read_text()
        file.write_text(f"{new_key()}\n")  # another key in place of the right one
        wait_for(lambda: keys_of(api) != "ok")
        file.write_text(kept)
        wait_for(lambda: keys_of(api) == "ok")
        database.close()


@pytest.mark.slow
def test_a_changed_file_and_a_changed_row_are_not_shown(tmp_path: Path, place: tuple[str, ...]) -> None:
    data_dir = tmp_path / "data"
    with running(data_dir, *place, **ON) as api:
        execution = fill(api)
        [path] = [each for each in (data_dir / "artifacts").rglob("*") if each.is_file()]
        content = bytearray(path.read_bytes())
        content[100_000] ^= 1
        path.write_bytes(content)
        url = f"{api.root}/files/{execution['executionId']}/{hashlib.sha256(FILE).hexdigest()}/x"
        part = requests.get(url, headers={"Range": "bytes=0-9"}, timeout=60)
        assert part.content == FILE[:10]  # another chunk
        with pytest.raises(requests.RequestException):
            requests.get(url, headers={"Range": "bytes=70000-70009"}, timeout=60).raise_for_status()
        database = opened(data_dir, place)
        with database.write() as connection:
            row = connection.execute(select(tables.result_documents)).one()
            changed = row.documents[:-1] + bytes([row.documents[-1] ^ 1])
            connection.execute(update(tables.result_documents).values(documents=changed))
        database.close()
        response = api.request("GET", f"/executions/{execution['executionId']}/tests")
        assert (response.status_code, "was changed" in response.text) == (503, True)


def test_repeated_events_and_submissions_are_recognised(tmp_path: Path, place: tuple[str, ...]) -> None:
    """An encrypted document is not compared as a text."""
    with running(tmp_path / "data", *place, **ON) as api:
        execution = api.create(configuration={"shards": 2})
        body = {"executionId": execution["executionId"], "shardId": "1", "tests": [result()]}
        for _ in range(2):
            expect_success(api.request("POST", "/results", {**body, "status": "cancelled"}), 201)
        assert api.shard(execution)["status"] == "cancelled"
        for _ in range(2):  # another attempt, and its repetition
            expect_success(api.request("POST", "/results", {**body, "status": "completed"}), 201)
        assert api.status(execution)["results"]["total"] == 1


def test_the_most_frequent_cause_of_runs_is_decrypted(tmp_path: Path, place: tuple[str, ...]) -> None:
    with running(tmp_path / "data", *place, **ON) as api:
        fill(api)
    database = opened(tmp_path / "data", place)
    with database.read() as connection:
        assert encryption_state.is_on(connection)
        assert SECRET in failures.largest(connection, [1])[1]
        assert SECRET in failures.causes(connection, 1, limit=1)[0].message
    database.close()
    without = opened(tmp_path / "data", place, encrypts=False, keys=new_key())
    with without.read() as connection, pytest.raises(ServiceUnavailable):
        failures.largest(connection, [1])
    without.close()
