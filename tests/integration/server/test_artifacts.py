"""Files of executions: upload, quotas, reading in ranges, what browsers may show, deletion."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from pytest_tms import TmsClient
from pytest_tms.errors import NotFound, ServiceUnavailable
from pytest_tms.server.domain import clock
from pytest_tms.server.services.artifacts import READ_TIMEOUT, delete_stray, delete_unreferenced
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore
from tests.helpers.api import (
    Api,
    Serve,
    expect_error,
    expect_success,
    invalid_fields,
    result,
    running,
    upgraded_database,
)
from tests.helpers.environments import python
from tests.helpers.processes import peak_memory, run_tms, wait_for

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(api: Api, execution: str, content: bytes, name: str = "") -> requests.Response:
    path = f"/executions/{execution}/artifacts/{sha256(content)}"
    return api.request("PUT", f"{path}?name={name}" if name else path, content)


def read(api: Api, execution: str, content: bytes, name: str = "a", **headers: str) -> requests.Response:
    url = f"{api.root}/files/{execution}/{sha256(content)}/{name}"
    return requests.get(
        url, headers={each.replace("_", "-"): text for each, text in headers.items()}, timeout=60
    )


@pytest.fixture
def execution(api: Api) -> str:
    created: str = api.create()["executionId"]
    return created


def test_a_file_is_uploaded_once_and_read_by_its_hash(api: Api, execution: str) -> None:
    path = f"/executions/{execution}/artifacts/{sha256(PNG)}"
    assert api.request("HEAD", path).status_code == 404
    stored = expect_success(put(api, execution, PNG), 201)
    assert stored == expect_success(put(api, execution, PNG), 200)
    assert (stored["sha256"], stored["size"], stored["contentType"]) == (sha256(PNG), len(PNG), "image/png")
    assert api.request("HEAD", path).status_code == 200
    assert expect_success(api.request("GET", path), 200) == stored
    found = read(api, execution, PNG, "login page.png")
    assert (found.status_code, found.content) == (200, PNG)
    assert found.headers["ETag"] == f'"{sha256(PNG)}"'
    assert found.headers["Content-Type"] == "image/png"
    assert found.headers["Content-Disposition"] == "inline; filename*=UTF-8''login%20page.png"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert found.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert read(api, execution, PNG, If_None_Match=found.headers["ETag"]).status_code == 304


def test_an_api_token_reads_the_content_or_its_beginning(api: Api, execution: str) -> None:
    path = f"/executions/{execution}/artifacts/{sha256(PNG)}/content"
    expect_error(api.request("GET", path), 404)
    expect_success(put(api, execution, PNG), 201)
    whole = api.request("GET", path)
    assert (whole.status_code, whole.content) == (200, PNG)
    assert whole.headers["Content-Type"] == "application/octet-stream"
    assert whole.headers["Content-Disposition"] == "attachment"
    assert api.request("GET", f"{path}?limit=3").content == PNG[:3]
    assert api.request("GET", f"{path}?limit=999999").content == PNG
    for limit in ("0", "-1", "x", "9" * 20, ""):
        assert set(invalid_fields(api.request("GET", f"{path}?limit={limit}"))) == {"limit"}
    expect_error(api.request("GET", path, token=""), 401)
    with TmsClient(api.url, api.token) as client:
        assert client.read_artifact(execution, sha256(PNG), limit=5) == PNG[:5]
        with pytest.raises(NotFound):
            client.read_artifact(execution, "0" * 64)


def test_a_file_of_another_execution_is_not_readable(api: Api, execution: str) -> None:
    expect_success(put(api, execution, b"of the first"), 201)
    other = api.create()["executionId"]
    assert read(api, other, b"of the first").status_code == 404
    assert api.request("HEAD", f"/executions/{other}/artifacts/{sha256(b'of the first')}").status_code == 404
    expect_success(put(api, other, b"of the first"), 201)
    assert read(api, other, b"of the first").content == b"of the first"


def test_an_empty_file_is_stored(api: Api, execution: str) -> None:
    expect_success(put(api, execution, b""), 201)
    assert read(api, execution, b"").content == b""


def test_another_content_than_the_hash_is_refused(api: Api, execution: str) -> None:
    path = f"/executions/{execution}/artifacts/{sha256(b'one')}"
    assert invalid_fields(api.request("PUT", path, b"other")) == {"sha256"}
    assert api.request("HEAD", path).status_code == 404
    assert invalid_fields(api.request("PUT", f"/executions/{execution}/artifacts/{'A' * 64}", b"x")) == {
        "sha256"
    }
    assert not list((api.data_dir / "uploads").iterdir())


def test_unknown_executions_and_missing_tokens_are_refused(api: Api, execution: str) -> None:
    expect_error(put(api, "exec_unknown", b"x"), 404)
    path = f"/executions/{execution}/artifacts/{sha256(b'x')}"
    expect_error(api.request("PUT", path, b"x", token=""), 401)
    expect_error(api.request("GET", path, token=""), 401)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("bytes=0-3", slice(0, 4)), ("bytes=100-", slice(100, None)), ("bytes=-5", slice(-5, None))],
)
def test_a_range_is_read(api: Api, execution: str, header: str, expected: slice) -> None:
    put(api, execution, PNG)
    part = read(api, execution, PNG, Range=header)
    start, end, _ = expected.indices(len(PNG))
    assert (part.status_code, part.content) == (206, PNG[expected])
    assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(PNG)}"


def test_ranges_that_cannot_be_satisfied(api: Api, execution: str) -> None:
    put(api, execution, PNG)
    outside = read(api, execution, PNG, Range=f"bytes={len(PNG)}-")
    assert (outside.status_code, outside.headers["Content-Range"]) == (416, f"bytes */{len(PNG)}")
    changed = read(api, execution, PNG, Range="bytes=0-3", If_Range='"another"')
    assert (changed.status_code, changed.content) == (200, PNG)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html><script>alert(1)</script>", "text/html; charset=utf-8"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"%PDF-1.7 x", "application/pdf"),
        (b"\xff\xfe\x00\x01unknown", "application/octet-stream"),
    ],
)
def test_what_a_browser_could_run_is_downloaded(api: Api, execution: str, content: bytes, kind: str) -> None:
    put(api, execution, content)
    found = read(api, execution, content, "a.png")
    assert found.headers["Content-Type"] == kind
    assert found.headers["Content-Disposition"].startswith("attachment;")


def test_simultaneous_uploads_of_one_content_store_it_once(api: Api, execution: str) -> None:
    content = b"simultaneous" * 100_000

    def upload(_: int) -> int:
        path = f"{api.url}/executions/{execution}/artifacts/{sha256(content)}"
        headers = {"Authorization": f"Bearer {api.token}"}
        return requests.put(path, data=content, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(upload, range(8)))
    assert statuses == [200] * 7 + [201]
    assert read(api, execution, content).content == content
    assert len(list((api.data_dir / "artifacts").rglob(f"{sha256(content)}*"))) == 1


def test_a_submission_counts_its_files_that_are_uploaded(api: Api, execution: str) -> None:
    put(api, execution, PNG)
    here = {"name": "a.png", "kind": "screenshot", "path": "a.png", "sha256": sha256(PNG)}
    missing = {**here, "sha256": "0" * 64}
    tests = [
        result("first", "failed", artifacts=[here, missing]),
        result("second", attempts=[{"outcome": "failed", "artifacts": [here]}]),
    ]
    assert api.submit({"executionId": execution}, tests=tests)["summary"]["artifactsUploaded"] == 1


def test_pages_link_uploaded_files(api: Api, execution: str) -> None:
    put(api, execution, PNG, "login.png")
    stored = {"name": "login.png", "kind": "screenshot", "path": "/x/login.png", "sha256": sha256(PNG)}
    missing = {**stored, "name": "missing.png", "sha256": "0" * 64}
    api.submit({"executionId": execution}, tests=[result("t", "failed", artifacts=[stored, missing])])
    link = f"/files/{execution}/{sha256(PNG)}/login.png"
    overview = api.page(f"/runs/{execution}").text
    (path,) = set(re.findall(rf"/runs/{execution}/tests/\d+\?shard=1", overview))
    shown = api.page(path).text
    assert f'<img src="{link}"' in shown
    assert 'loading="lazy"' in shown
    assert "missing.png" in shown
    assert "0" * 64 not in shown
    assert link in api.page(f"/runs/{execution}/files").text
    assert api.page(link).content == PNG


@pytest.fixture(params=["sqlite", "postgresql"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    """A server with little room for files."""
    limits = {
        "TMS_SERVER_ARTIFACT_LIMIT": "1",
        "TMS_SERVER_ARTIFACT_EXECUTION_LIMIT": "2",
        "TMS_SERVER_ARTIFACT_TOTAL_LIMIT": "3",
    }
    if request.param == "sqlite":
        with running(tmp_path / "data", **limits) as api:
            yield api
        return
    with upgraded_database() as url, running(tmp_path / "data", "--database-url", url, **limits) as api:
        yield api


def test_limits_by_file_execution_and_server(small: Api) -> None:
    def megabyte(text: bytes) -> bytes:
        return text * (1 << 20)

    first, second = (small.create()["executionId"] for _ in range(2))
    expect_error(put(small, first, megabyte(b"a") + b"more"), 413)
    expect_success(put(small, first, megabyte(b"a")), 201)
    expect_success(put(small, first, megabyte(b"b")), 201)
    assert "2 MB" in expect_error(put(small, first, b"c"), 507)["message"]
    expect_success(put(small, second, megabyte(b"a")), 201)  # takes no more room of the server
    expect_success(put(small, second, megabyte(b"c")), 201)
    third = small.create()["executionId"]
    assert "3 MB" in expect_error(put(small, third, b"d"), 507)["message"]
    chunks = iter([megabyte(b"e"), b"more"])
    headers = {"Authorization": f"Bearer {small.token}"}
    url = f"{small.url}/executions/{third}/artifacts/{'e' * 64}"
    assert requests.put(url, data=chunks, headers=headers, timeout=60).status_code == 413
    url = f"{small.url}/executions/{third}/artifacts/{sha256(b'd')}"
    assert requests.put(url, data=iter([b"d"]), headers=headers, timeout=60).status_code == 507
    assert len(list((small.data_dir / "artifacts").rglob("*-obj_*"))) == 3
    assert read(small, first, megabyte(b"a")).status_code == 200


def test_a_content_is_deleted_with_the_last_execution_that_has_it(
    small: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (small.create()["executionId"] for _ in range(2))
    for each in (first, second):
        expect_success(put(small, each, b"shared"), 201)
    expect_success(put(small, first, b"own"), 201)
    database = Database(small.database[1] if small.database else f"sqlite:///{small.data_dir}/tms.sqlite3")
    objects = ObjectStore("", small.data_dir)
    with database.write() as connection:
        connection.exec_driver_sql(f"DELETE FROM executions WHERE id = '{first}'")
    assert delete_unreferenced(database, "") is None
    assert not delete_stray(database, objects)
    stored = {path.name[:64] for path in (small.data_dir / "artifacts").rglob("*-obj_*")}
    assert stored == {sha256(b"own"), sha256(b"shared")}  # may still be read
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + READ_TIMEOUT)
    assert not delete_stray(database, objects)
    stored = {path.name[:64] for path in (small.data_dir / "artifacts").rglob("*-obj_*")}
    assert stored == {sha256(b"shared")}
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT bytes FROM blob_usage").scalar() == len(b"shared")
    database.close()
    assert read(small, second, b"shared").content == b"shared"


def test_an_unusable_store_is_refused_without_its_url() -> None:
    with pytest.raises(
        ValueError, match="TMS_SERVER_ARTIFACTS_URL is not the URL of an object store"
    ) as error:
        ServerSettings.read({"TMS_SERVER_ARTIFACTS_URL": "ftp://me:secret@host"})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "ftp://me:secret@host",
            "--artifacts-url is not the URL of an object store: use s3://, gs:// or az://",
        ),
        ("s3://", "the object store for artifacts cannot be opened (GenericError): write its URL as s3://"),
    ],
)
def test_the_server_does_not_start_with_an_unusable_store(tmp_path: Path, url: str, message: str) -> None:
    completed = run_tms("serve", "--port", "0", "--data-dir", str(tmp_path), "--artifacts-url", url)
    assert (completed.returncode, completed.stdout) == (1, "")
    assert completed.stderr.startswith(f"tms: {message}")
    assert "secret" not in completed.stderr


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a server that speaks the protocol of S3, with a bucket; the environment has its credentials."""
    program = python("s3")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    for name, value in [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "secret-of-the-store"),
    ]:
        monkeypatch.setenv(name, value)
    with subprocess.Popen(
        [program, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:

        def create() -> bool:
            with contextlib.suppress(requests.ConnectionError):
                return requests.put(f"{endpoint}/files", timeout=10).ok
            return False

        try:
            wait_for(create, 60)
            yield f"{endpoint}/files"
        finally:
            process.terminate()


@pytest.mark.plugins
def test_files_are_stored_in_s3(tmp_path: Path, bucket: str) -> None:
    large = os.urandom(1 << 20) * 11  # several parts
    with running(tmp_path / "data", options=("--artifacts-url", "s3://files/tms")) as api:
        execution = api.create()["executionId"]
        for content in (PNG, large, b""):
            expect_success(put(api, execution, content), 201)
            assert read(api, execution, content).content == content
        assert read(api, execution, large, Range="bytes=6000000-6000009").content == large[6000000:6000010]
        assert f"tms/{sha256(PNG)[:2]}/{sha256(PNG)}-obj_" in requests.get(bucket, timeout=10).text
        assert "secret-of-the-store" not in api.output()
    assert not list((tmp_path / "data" / "uploads").iterdir())


@pytest.mark.nightly
def test_a_file_of_500_mb_takes_little_memory(tmp_path: Path, start: Serve) -> None:
    source = tmp_path / "video.mp4"
    digest = hashlib.sha256()
    with source.open("wb") as file:
        for number in range(500):
            block = number.to_bytes(4, "big") * (1 << 18)
            digest.update(block)
            file.write(block)
    folder = tmp_path / "data"
    process, url = start(folder)
    made = run_tms("token", "create", "--name", "tests", "--json", "--data-dir", str(folder))
    before = peak_memory(process.pid)
    program = """
import resource, sys
from pytest_tms import TmsClient, wire
url, token, path, sha256 = sys.argv[1:]
with TmsClient(url, token) as tms, open(path, "rb") as file:
    execution = tms.create_execution(wire.ExecutionRequest(test_suite="all", environment="dev")).execution_id
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tms.upload_artifact(execution, sha256, file)
    print(execution, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    sent = subprocess.run(
        [sys.executable, "-c", program, url, json.loads(made.stdout)["token"], source, digest.hexdigest()],
        capture_output=True,
        text=True,
        check=True,
    )
    execution, client_megabytes = sent.stdout.split()
    received = hashlib.sha256()
    link = f"{url.removesuffix('/api')}/files/{execution}/{digest.hexdigest()}/video.mp4"
    with requests.get(link, stream=True, timeout=60) as response:
        for chunk in response.iter_content(1 << 20):
            received.update(chunk)
    assert received.hexdigest() == digest.hexdigest()
    assert int(client_megabytes) < 30
    assert peak_memory(process.pid) - before < 100 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_and_harms_nothing_else(small_disk: Path, tmp_path: Path) -> None:
    with running(tmp_path / "data", TMS_SERVER_ARTIFACTS_URL=f"file://{small_disk}") as api:
        execution = str(api.create()["executionId"])
        files = [bytes([number]) * 1_000_000 for number in range(5)]
        responses = [put(api, execution, content) for content in files]
        assert [response.status_code for response in responses] == [201, 201, 201, 507, 507]
        assert "disk of the server is full" in expect_error(responses[-1], 507)["message"]
        assert read(api, execution, files[0]).content == files[0]
        api.submit({"executionId": execution}, tests=[result()])
        assert "Traceback" not in api.output()


@pytest.fixture
def refusing_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, str], None]]:
    """A function that sets the status and the body of every response of an object store."""
    responses: list[tuple[int, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = responses[-1]
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    def respond(status: int, body: str) -> None:
        responses.append((status, body))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        for name, value in [
            ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}"),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "key-of-store"),
            ("AWS_SECRET_ACCESS_KEY", "secret-of-the-store"),
        ]:
            monkeypatch.setenv(name, value)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield respond
        server.shutdown()
        thread.join()


def error_of_s3(code: str) -> str:
    """The body of an error of S3, with secrets."""
    return (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>key-of-store may not do this.</Message>"
        "<AWSAccessKeyId>key-of-store</AWSAccessKeyId><StringToSign>to-sign</StringToSign></Error>"
    )


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (404, error_of_s3("NoSuchBucket"), "404 Not Found: NoSuchBucket"),
        (403, error_of_s3("InvalidAccessKeyId"), "403 Forbidden: InvalidAccessKeyId"),
        (403, "<Error><Code>not a <code></Code></Error>", "403 Forbidden"),
        (403, "", "403 Forbidden"),
        (301, "", "the bucket is in another region: check AWS_REGION"),
    ],
)
def test_an_error_of_the_store_has_its_status_and_code(
    tmp_path: Path, refusing_bucket: Callable[[int, str], None], status: int, body: str, reason: str
) -> None:
    refusing_bucket(status, body)
    with pytest.raises(ServiceUnavailable) as error:
        ObjectStore("s3://files/tms", tmp_path).check()
    message = f"The store for artifacts does not respond as expected ({reason}); try again later."
    assert error.value.message == message


def test_a_server_whose_store_refuses_it_names_the_error_code(
    tmp_path: Path, refusing_bucket: Callable[[int, str], None]
) -> None:
    refusing_bucket(403, error_of_s3("AccessDenied"))
    with running(tmp_path / "data", options=("--artifacts-url", "s3://files/tms")) as api:
        response = requests.get(f"{api.root}/readyz", timeout=20)
        assert response.status_code == 503
        assert "(403 Forbidden: AccessDenied)" in response.json()["checks"]["storage"]
