"""A real `tms serve`, for as long as a measurement lasts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POSTGRES = "postgresql://postgres@127.0.0.1:5432"
TMS = [sys.executable, "-c", "from pytest_tms.cli import main; main()"]


def databases(folder: Path) -> Iterator[tuple[str, str]]:
    """SQLite, and an empty database of the PostgreSQL on this machine if one answers: (name, URL)."""
    yield "SQLite", f"sqlite:///{folder / 'bench.sqlite3'}"
    try:
        import psycopg

        with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True, connect_timeout=2) as connection:
            name = f"tms_bench_{os.getpid()}_{time.monotonic_ns()}"
            connection.execute(f"CREATE DATABASE {name}")
            try:
                yield "PostgreSQL", f"{POSTGRES.replace('://', '+psycopg://')}/{name}"
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    except (ImportError, psycopg.OperationalError) as error:
        print(f"no PostgreSQL: {error}", file=sys.stderr)


@contextmanager
def serving(
    data_dir: Path,
    *options: str,
    environ: dict[str, str] | None = None,
    pids: list[int] | None = None,
) -> Iterator[tuple[str, str]]:
    """Start a server on a free port, with more variables; gives its base URL and a token.

    Its process id is added to ``pids``.
    """
    with tempfile.TemporaryFile("w+") as errors:  # it has a line for each request
        server = subprocess.Popen(
            [*TMS, "serve", "--port", "0", "--data-dir", str(data_dir), *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={
                "TMS_SERVER_RATE_LIMITS": "off",
                "TMS_SERVER_LOG_FORMAT": "text",
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                **(environ or {}),
            },
        )
        if pids is not None:
            pids.append(server.pid)
        try:
            assert server.stdout is not None
            printed = (re.search(r"http://127\.0\.0\.1:\d+/api", line) for line in server.stdout)
            address = next((found for found in printed if found), None)
            if address is None:
                errors.seek(0)
                raise RuntimeError(f"the server did not start: {errors.read()[-2000:]}")
            url = address.group()
            made = subprocess.run(
                [*TMS, "token", "create", "--name", "bench", "--json", "--data-dir", str(data_dir), *options],
                check=True,
                capture_output=True,
                text=True,
            )
            yield url, json.loads(made.stdout)["token"]
        finally:
            server.terminate()
            server.communicate()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has taken: other load on the machine does not change it much."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
