"""The command `tms`: one line for what goes wrong, and nothing loaded that is not needed."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.api import POSTGRES
from tests.helpers.processes import run_tms
from tests.integration.server.test_tokens import one_line

NO_SERVER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"litestar", "sqlalchemy", "alembic", "platformdirs"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
from pytest_tms.cli import main
main()
"""


@pytest.mark.parametrize(
    "arguments",
    [["nope"], ["serve", "--port", "x"], ["serve", "--port", "70000"], ["serve", "--workers", "0"], ["db", "down"],
     ["serve", "--nope"], ["token", "list", "surplus"]],
)  # fmt: skip
def test_wrong_usage_is_status_2_and_names_the_help(arguments: list[str]) -> None:
    completed = run_tms(*arguments)
    assert completed.returncode == 2
    assert "--help`" in one_line(completed.stderr)


@pytest.mark.parametrize("arguments", [[], ["token"], ["db"]])
def test_a_group_alone_shows_its_help(arguments: list[str]) -> None:
    completed = run_tms(*arguments)
    assert completed.returncode == 2
    assert completed.stderr.startswith("Usage: tms")


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "foo://bar",
        "mysql://127.0.0.1/x",
        "postgresql+psycopg://nobody@127.0.0.1:1/x",
        f"{POSTGRES}/there_is_none",
        "sqlite:////dev/null/x.sqlite3",
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(tmp_path: Path, url: str) -> None:
    completed = run_tms("db", "upgrade", "--data-dir", str(tmp_path), "--database-url", url)
    assert completed.returncode == 1
    assert one_line(completed.stderr)


def test_the_password_of_a_database_is_not_shown(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/x"
    completed = run_tms("db", "upgrade", "--data-dir", str(tmp_path), "--database-url", url)
    assert "me:***@127.0.0.1" in one_line(completed.stderr)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tms.sqlite3").write_text("hello " * 1000)
    completed = run_tms("serve", "--port", "0", "--data-dir", str(tmp_path))
    assert completed.returncode == 1
    assert "not a database" in one_line(completed.stderr)


@pytest.mark.parametrize(
    "command", [["token", "list"], ["serve", "--port", "0"], ["db", "upgrade"]], ids=" ".join
)
def test_a_database_of_a_newer_version_is_one_line(tmp_path: Path, command: list[str]) -> None:
    assert run_tms("db", "upgrade", "--data-dir", str(tmp_path)).returncode == 0
    with sqlite3.connect(tmp_path / "tms.sqlite3") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE schema_compatibility SET since = '9999'")
    connection.close()
    completed = run_tms(*command, "--data-dir", str(tmp_path))
    assert completed.returncode == 1
    said = one_line(completed.stderr)
    assert "newer version of pytest-tms (its schema is 9999" in said
    assert "upgrade pytest-tms" in said


def test_a_data_dir_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "data"
    completed = run_tms("serve", "--port", "0", "--data-dir", str(folder))
    assert completed.returncode == 1
    assert str(folder) in one_line(completed.stderr)


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        completed = run_tms("serve", "--port", port, "--data-dir", str(tmp_path))
    assert completed.returncode == 1
    assert f"127.0.0.1:{port}" in one_line(completed.stderr)
    assert "--port" in completed.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("TMS_SERVER_PORT", "abc"), ("TMS_SERVER_PORT", "70000"), ("TMS_SERVER_WORKERS", "9" * 50), ("TMS_SERVER_HOST", "no.such.host.invalid"),
     ("TMS_SERVER_PUBLIC_URL", "http://[")],
)  # fmt: skip
def test_a_bad_setting_of_the_environment_is_one_line(tmp_path: Path, name: str, value: str) -> None:
    settings = {"TMS_SERVER_PORT": "0", name: value}
    completed = run_tms("serve", "--data-dir", str(tmp_path), **settings)
    assert completed.returncode == 1
    assert one_line(completed.stderr)


@pytest.mark.parametrize("command", [["serve"], ["token", "list"]])
def test_a_missing_server_is_said_with_the_command_that_installs_it(
    tmp_path: Path, command: list[str]
) -> None:
    completed = subprocess.run(
        [sys.executable, "-c", NO_SERVER, *command, "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 1
    assert 'pip install "pytest-tms[server]"' in one_line(completed.stderr)


def test_help_and_version_load_no_server() -> None:
    for option in ("--help", "--version"):
        code = f"""
import sys
sys.argv = ["tms", "{option}"]
from pytest_tms.cli import main
try:
    main()
except SystemExit as end:
    assert end.code in (0, None), end.code
print(sorted({{"litestar", "sqlalchemy", "alembic", "uvicorn", "requests", "pytest"}} & set(sys.modules)))
"""
        completed = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
        )
        assert completed.stdout.endswith("[]\n"), completed.stdout


def test_help_names_every_command() -> None:
    completed = run_tms("--help")
    assert completed.returncode == 0
    assert {"serve", "token", "db"} <= set(completed.stdout.split())
