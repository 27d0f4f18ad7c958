"""A real `tms serve`, for as long as a measurement lasts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TMS = [sys.executable, "-c", "from pytest_tms.cli import main; main()"]


@contextmanager
def serving(data_dir: Path) -> Iterator[tuple[str, str]]:
    """Start a server on a free port; gives its base URL and a token."""
    server = subprocess.Popen(
        [*TMS, "serve", "--port", "0", "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        text=True,
        env={"TMS_SERVER_RATE_LIMITS": "off", **os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stdout is not None
        url = next(
            found.group()
            for line in server.stdout
            if (found := re.search(r"http://127\.0\.0\.1:\d+/api", line))
        )
        made = subprocess.run(
            [*TMS, "token", "create", "--name", "bench", "--json", "--data-dir", str(data_dir)],
            check=True,
            capture_output=True,
            text=True,
        )
        yield url, json.loads(made.stdout)["token"]
    finally:
        server.terminate()
        server.communicate()
