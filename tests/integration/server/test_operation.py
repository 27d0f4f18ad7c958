"""What operators observe of a server: health, readiness, metrics, logs and its shutdown."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from pytest_tms.server.operation import readiness, tracing
from pytest_tms.server.settings import ServerSettings
from pytest_tms.server.store.database import Database
from pytest_tms.server.store.object_store import ObjectStore
from pytest_tms.server.webhooks.encryption import SecretEncryption
from tests.helpers.api import Api, Serve, result, running, upgraded_database
from tests.helpers.ports import free_port
from tests.helpers.processes import first_token, wait_for
from tests.helpers.trace_collector import collecting

DOCS = Path(__file__).parents[3] / "docs" / "operating.md"
TOKEN = "a-token-of-a-monitoring-system"  # a value of this test
CHECKS = {"database", "migrations", "keys", "storage"}


def ready(api: Api) -> tuple[int, dict[str, Any]]:
    response = api.session.get(f"{api.root}/readyz", timeout=20)
    return response.status_code, response.json()


def metrics(text: str) -> dict[str, float]:
    """Return each sample by its name and labels."""
    return {
        f"{sample.name}{json.dumps(sample.labels, sort_keys=True) if sample.labels else ''}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(root: str, **headers: str) -> requests.Response:
    return requests.get(f"{root}/metrics", headers=headers, timeout=20)


def test_a_server_is_alive_and_ready_without_a_token(api: Api) -> None:
    alive = requests.get(f"{api.root}/healthz", timeout=20)
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert ready(api) == (200, {"status": "ready", "checks": dict.fromkeys(CHECKS, "ok")})
    assert requests.head(f"{api.root}/readyz", timeout=20).status_code == 200


def test_a_server_whose_database_accepts_no_connections_is_not_ready_until_it_does(tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    with upgraded_database() as url, running(tmp_path / "data", "--database-url", url) as api:
        assert ready(api)[0] == 200
        name, other = url.rpartition("/")[2], f"{url.rpartition('/')[0]}/postgres".replace("+psycopg", "")
        with psycopg.connect(other, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            try:
                _, document = wait_for(lambda: found if (found := ready(api))[0] == 503 else None)
                assert document["status"] == "not ready"
                assert document["checks"]["database"] == "failed (ServiceUnavailable)"
                assert requests.get(f"{api.root}/healthz", timeout=20).status_code == 200
            finally:
                connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        wait_for(lambda: ready(api)[0] == 200)


def test_each_cause_that_a_server_is_not_ready_is_named(tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    with upgraded_database() as url, running(tmp_path / "data", "--database-url", url) as api:
        folder = api.data_dir / "uploads"
        shutil.rmtree(folder)
        folder.write_text("a file in place of the folder")
        (api.data_dir / "secrets.key").unlink()
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '0001'")
        status, document = wait_for(
            lambda: found if (found := ready(api))[1]["checks"]["migrations"] != "ok" else None
        )
        assert status == 503
        assert document["checks"]["database"] == "ok"
        assert "run `tms db upgrade`" in document["checks"]["migrations"]
        assert "TMS_SERVER_KEYS" in document["checks"]["keys"]
        assert document["checks"]["storage"].startswith("failed (")
        assert not (api.data_dir / "secrets.key").exists()  # the check creates no key


def documented() -> dict[str, tuple[str, list[str]]]:
    """Return the kind and the labels of each metric in the table of the page."""
    rows = re.findall(r"^\| `(tms_\w+)` \| (\w+) \|([^|]*)\|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}


def test_the_page_lists_every_metric_with_its_labels(api: Api) -> None:
    execution = api.create()
    api.send(execution, "execution.progress", shardId="1", tests=[result("a")])
    api.submit(execution, tests=[result("a")])
    families = {family.name: family for family in text_string_to_metric_families(scrape(api.root).text)}
    found = {}
    for family in families.values():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = family.type, sorted(labels)
    expected = {name: (kind, sorted(labels)) for name, (kind, labels) in documented().items()}
    other = {"tms_database_lock_waiters", "tms_database_wal_bytes"}  # each of one database
    no_attempt = {"tms_webhook_attempts_total"}  # has no sample before the first
    assert {name: each for name, each in found.items() if name not in no_attempt} == {
        name: each
        for name, each in expected.items()
        if name not in no_attempt and (name in found or name not in other)
    }
    assert other & found.keys()
    assert no_attempt < expected.keys()


def test_requests_are_counted_by_route_and_results_by_source(api: Api) -> None:
    before = metrics(scrape(api.root).text)
    execution = api.create()
    api.status(execution)
    api.send(execution, "execution.progress", shardId="1", tests=[result("a"), result("b")])
    api.submit(execution, tests=[result("a"), result("b"), result("c")])
    assert api.page(f"/there/is/nothing/{execution['executionId']}").status_code == 404
    text = scrape(api.root).text
    after = metrics(text)
    assert execution["executionId"] not in text

    def grown(name: str, **labels: str) -> float:
        key = f"{name}{json.dumps(labels, sort_keys=True)}"
        return after[key] - before.get(key, 0)

    route = "/api/executions/{execution_id}"
    assert grown("tms_http_requests_total", method="GET", route=route, status="200") == 1
    assert grown("tms_http_request_duration_seconds_count", method="GET", route=route) == 1
    assert grown("tms_http_requests_total", method="GET", route="unmatched", status="404") == 1
    assert grown("tms_results_received_total", source="live") == 2
    assert grown("tms_results_received_total", source="submission") == 3
    assert after["tms_database_up"] == 1


@pytest.mark.slow
def test_the_workers_of_a_server_are_counted_together(start: Serve, tmp_path: Path) -> None:
    process, url = start(tmp_path, "--workers", "2")
    wait_for(lambda: _responds(url), 90)  # a busy machine starts workers slowly
    root, token = url.removesuffix("/api"), {"Authorization": f"Bearer {first_token(tmp_path)}"}
    key = 'tms_http_requests_total{"method": "GET", "route": "/api/executions", "status": "200"}'
    for _ in range(40):  # each on a connection of its own, which either worker accepts
        assert requests.get(f"{url}/executions", headers=token, timeout=20).status_code == 200
    assert {metrics(scrape(root).text)[key] for _ in range(10)} == {40}
    assert metrics(scrape(root).text)["tms_http_requests_in_progress"] >= 1
    process.terminate()
    assert process.wait(20) in (0, -signal.SIGTERM)


def _responds(url: str) -> bool:
    try:
        return requests.get(f"{url}/", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def test_metrics_are_for_the_user_of_the_server_on_its_machine(api: Api) -> None:
    assert scrape(api.root).status_code == 200
    assert scrape(api.root, **{"X-Forwarded-For": "192.0.2.1"}).status_code == 401
    assert scrape(api.root, Authorization=f"Bearer {api.token}", Via="1.1 proxy").status_code == 401


def test_metrics_of_a_server_behind_a_proxy_need_the_token_of_the_setting(
    start: Serve, tmp_path: Path
) -> None:
    def began(name: str, **environ: str) -> str:
        port = str(free_port())
        start(tmp_path / name, "--port", port, "--public-url", "https://tms.example.com", **environ)
        root = f"http://127.0.0.1:{port}"
        wait_for(lambda: _responds(f"{root}/api"))
        return root

    root = began("closed")
    assert scrape(root).status_code == 401
    token = first_token(tmp_path / "closed")
    assert scrape(root, Authorization=f"Bearer {token}").status_code == 401
    root = began("open", TMS_SERVER_METRICS_TOKEN=TOKEN)
    assert scrape(root).status_code == 401
    assert scrape(root, Authorization="Bearer wrong").status_code == 401
    assert scrape(root, Authorization=f"Bearer {TOKEN}").status_code == 200


def test_metrics_of_a_database_that_does_not_respond_say_so(tmp_path: Path) -> None:
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    with upgraded_database() as url, running(tmp_path / "data", "--database-url", url) as api:
        name, other = url.rpartition("/")[2], f"{url.rpartition('/')[0]}/postgres".replace("+psycopg", "")
        with psycopg.connect(other, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            found = metrics(scrape(api.root).text)
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert found["tms_database_up"] == 0
        assert "tms_deliveries_pending" not in found


def lines(data_dir: Path) -> list[dict[str, Any]]:
    """Return the records of a log in JSON; the file also has what a server writes to standard output."""
    text = (data_dir / "serve.log").read_text()
    return [
        json.loads(line) for line in text.splitlines() if not line.startswith(("TMS ", "data ", "token in "))
    ]


def test_a_log_in_json_has_a_line_for_each_request_without_its_secrets(tmp_path: Path) -> None:
    environ = {"TMS_SERVER_LOG_FORMAT": "json", "TMS_SERVER_ACCESS_LOG": "1"}
    with running(tmp_path / "data", **environ) as api:
        execution = api.create()
        response = api.request("GET", f"/executions/{execution['executionId']}?secret=planted-in-a-query")
        assert response.status_code == 422
        assert api.request("GET", "/executions", token="planted-in-a-header").status_code == 401
        assert api.page("/line%0Abreak%22").status_code == 404
        assert ready(api)[0] == 200
        assert scrape(api.root).status_code == 200
        found = wait_for(lambda: each if len(each := lines(api.data_dir)) > 4 else None)
    first, *requests_ = found
    assert first["message"] == f"listening at {api.url}"
    assert first["database"].startswith("sqlite:///")
    made, read, refused, missing = requests_
    assert made | {"time": "", "duration_ms": 0, "bytes": 0, "actor": "", "request_id": ""} == {
        "time": "",
        "level": "info",
        "logger": "pytest_tms.access",
        "message": made["message"],
        "request_id": "",
        "method": "POST",
        "path": "/api/executions",
        "route": "/api/executions",
        "status": 201,
        "duration_ms": 0,
        "bytes": 0,
        "client": "127.0.0.1",
        "actor": "",
    }
    assert made["message"].startswith("POST /api/executions 201 ")
    assert made["actor"].startswith("tok_")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", made["time"])
    assert read["request_id"] == response.headers["X-Request-Id"]
    assert (read["path"], read["status"]) == (f"/api/executions/{execution['executionId']}", 422)
    assert read["route"] == "/api/executions/{execution_id}"
    assert (refused["status"], refused["actor"]) == (401, "")
    assert (missing["path"], missing["route"], missing["status"]) == ("/line%0Abreak%22", "unmatched", 404)
    text = (tmp_path / "data" / "serve.log").read_text()
    for secret in ("planted", api.token, execution["webhookToken"]):
        assert secret not in text


def test_a_log_in_text_has_a_line_for_each_request(tmp_path: Path) -> None:
    with running(tmp_path / "data", TMS_SERVER_ACCESS_LOG="1") as api:
        response = api.request("GET", "/executions")
        shown = wait_for(
            lambda: re.search(
                r"^\S+Z INFO GET /api/executions 200 [\d.]+ ms \[(\w+)\]$", api.output(), re.MULTILINE
            )
        )
        assert shown[1] == response.headers["X-Request-Id"]


def unready(session: requests.Session, root: str) -> dict[str, Any] | None:
    """Return what a server that is not ready says."""
    response = session.get(f"{root}/readyz", timeout=20)
    found: dict[str, Any] = response.json()
    return found if response.status_code == 503 else None


def test_a_server_that_stops_is_not_ready_and_serves_until_a_second_signal(
    start: Serve, tmp_path: Path
) -> None:
    process, url = start(tmp_path, TMS_SERVER_SHUTDOWN_DELAY="3600")
    root, token = url.removesuffix("/api"), {"Authorization": f"Bearer {first_token(tmp_path)}"}
    wait_for(lambda: _responds(url))
    with requests.Session() as session:
        assert session.get(f"{root}/readyz", timeout=20).status_code == 200
        process.terminate()
        stopping = wait_for(lambda: unready(session, root))
        assert stopping["status"] == "stopping"
        assert session.get(f"{url}/executions", headers=token, timeout=20).status_code == 200
        assert requests.get(f"{root}/healthz", timeout=20).status_code == 200
    process.terminate()
    assert process.wait(30) in (0, -signal.SIGTERM)
    assert not _responds(url)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_stops_by_itself_after_the_delay(start: Serve, tmp_path: Path, workers: str) -> None:
    process, url = start(tmp_path, "--workers", workers, TMS_SERVER_SHUTDOWN_DELAY="1")
    wait_for(lambda: _responds(url), 90)  # a busy machine starts workers slowly
    process.terminate()
    assert process.wait(30) in (0, -signal.SIGTERM)
    assert not _responds(url)
    assert "Traceback" not in (tmp_path / "serve.log").read_text()


@pytest.mark.slow
def test_traces_have_spans_of_requests_and_statements_without_values(start: Serve, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.instrumentation.asgi", reason="the extra otel is not installed")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    received: queue.Queue[bytes] = queue.Queue()
    with collecting(received) as endpoint:
        _, url = start(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="50")
        headers = {"Authorization": f"Bearer {first_token(tmp_path)}"}
        wait_for(lambda: _responds(url))
        sent = requests.get(f"{url}/executions/exec_x?a=planted", headers=headers, timeout=20)
        assert sent.status_code == 422
        spans: dict[str, Any] = {}
        while "GET /api/executions/{execution_id}" not in spans:
            message = ExportTraceServiceRequest.FromString(received.get(timeout=30))
            for resource in message.resource_spans:
                assert any(each.value.string_value == "pytest-tms" for each in resource.resource.attributes)
                found = [span for scope in resource.scope_spans for span in scope.spans]
                spans.update({span.name: span for span in found})
    assert any(name.startswith("SELECT") for name in spans)
    assert "planted" not in str(spans)
    assert headers["Authorization"].split()[1] not in str(spans)


def test_without_an_endpoint_nothing_of_opentelemetry_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from pytest_tms.server.operation.tracing import traced; app = object();"
        "assert traced(app, None) is app; assert 'opentelemetry' not in sys.modules"
    )
    environ = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=60)


def test_a_missing_package_for_traces_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    app: Any = object()
    assert tracing.traced(app, None) is app  # type: ignore[arg-type]  # not used
    assert 'pip install "pytest-tms[server,otel]"' in caplog.text


def test_a_check_that_hangs_is_not_waited_for_and_runs_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(readiness, "TIMEOUT", 0.05)
    database = Database(f"sqlite:///{tmp_path}/tms.sqlite3")
    database.upgrade(tmp_path)
    checks = readiness.Readiness(
        ServerSettings(data_dir=tmp_path), database, SecretEncryption("", tmp_path), ObjectStore("", tmp_path)
    )
    release = threading.Event()
    started: list[None] = []

    def hang() -> None:
        started.append(None)
        release.wait(30)

    monkeypatch.setitem(checks._checks, "database", (hang, 1.0))

    async def ask_twice() -> list[dict[str, str]]:
        found = [await checks.outcomes() for _ in range(2)]
        release.set()
        return found

    for outcomes in asyncio.run(ask_twice()):
        assert outcomes["database"].startswith("did not end within")
        assert outcomes["migrations"] in ("ok", outcomes["database"])  # on a busy machine it is late, too
    assert len(started) == 1
    database.close()
