"""Fixtures for all tests: a real TMS, started as users start it, and a foreign one with defined responses."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.helpers.api import Api, Serve, running, upgraded_database, write_sqlite_database
from tests.helpers.foreign_tms import ForeignTms, mocked, served
from tests.helpers.processes import WITHOUT_UNNEEDED_PLUGINS, TmsServer, run_tms, serve
from tests.helpers.server_processes import ServerProcess

if TYPE_CHECKING:
    from pytest_tms.server.store.database import Database

pytest_plugins = ["pytester"]
CI_VARIABLES = ("BUILDKITE", "CI", "CIRCLECI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")


def pytest_collection_finish() -> None:
    """Exclude the collected tests from garbage collections: with them, each takes a fifth of a second."""
    gc.collect()
    gc.freeze()


# A busy machine generates examples slowly.
hypothesis.settings.register_profile("busy", suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove TMS settings and CI variables from the environment of every test."""
    for name in list(os.environ):
        if name.startswith(("TMS_", "ACTIONS_ID_TOKEN_")) or name in CI_VARIABLES:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _runs_of_pytest_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every pytest that a test starts leave out the plugins that no test needs."""
    monkeypatch.setenv("PYTEST_ADDOPTS", WITHOUT_UNNEEDED_PLUGINS)


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Pytest's own fixture, which clears PYTEST_ADDOPTS."""
    monkeypatch.setenv("PYTEST_ADDOPTS", WITHOUT_UNNEEDED_PLUGINS)
    return pytester


@pytest.fixture(scope="session")
def tms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TmsServer]:
    """A TMS on SQLite that all tests share; each creates its own executions."""
    data_dir = tmp_path_factory.mktemp("tms")
    process, url = serve(data_dir)
    made = run_tms("token", "create", "--name", "tests", "--json", "--data-dir", str(data_dir))
    assert made.returncode == 0, made.stderr
    yield TmsServer(url, json.loads(made.stdout)["token"], data_dir)
    process.terminate()
    process.wait(timeout=20)


@pytest.fixture
def mocked_tms() -> Iterator[ForeignTms]:
    """A foreign TMS for code that runs in the process of the test."""
    with mocked() as known:
        yield known


@pytest.fixture
def foreign() -> Iterator[ForeignTms]:
    """A foreign TMS for code that runs in another process."""
    with served() as known:
        yield known


@pytest.fixture(scope="session")
def sqlite_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server on SQLite."""
    with running(tmp_path_factory.mktemp("sqlite") / "data") as api:
        yield api


@pytest.fixture(scope="session")
def postgres_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server on PostgreSQL."""
    folder = tmp_path_factory.mktemp("postgres") / "data"
    with upgraded_database() as url, running(folder, "--database-url", url) as api:
        yield api


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL database with empty tables; a test that fills them empties them."""
    with upgraded_database() as url:
        yield url


@pytest.fixture
def postgresql_database() -> Iterator[Database]:
    """A PostgreSQL database of this version for one test, which may change its tables."""
    from pytest_tms.server.store.database import Database  # here: few tests load the server

    with upgraded_database() as url:
        database = Database(url)
        yield database
        database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Each database in turn, with empty tables."""
    from pytest_tms.server.store.database import Database  # here: few tests load the server
    from tests.helpers.filled_databases import empty_tables

    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/tms.sqlite3" if is_sqlite else request.getfixturevalue("postgresql_url")
    if is_sqlite:
        write_sqlite_database(tmp_path)
    database = Database(url)
    yield database
    if not is_sqlite:
        empty_tables(database)
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> Api:
    """A server on each database, one after the other."""
    name = "sqlite_api" if request.param == "sqlite" else "postgres_api"
    found: Api = request.getfixturevalue(name)
    return found


@pytest.fixture
def api(server: Api) -> Iterator[Api]:
    """A server on each database, which prints nothing during a test."""
    before = server.output()
    yield server
    server.delete_webhooks()
    assert server.output() == before


@pytest.fixture
def start() -> Iterator[Serve]:
    """Start `tms serve`; a server that a failing test left running is stopped."""
    started: list[ServerProcess] = []

    def one(data_dir: Path, *options: str, **environ: str) -> tuple[ServerProcess, str]:
        process, url = serve(data_dir, *options, **environ)
        started.append(process)
        return process, url

    yield one
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=20)
