"""Processes of the command `tms` that tests start, and waiting for what they do."""

from __future__ import annotations

import gc
import io
import os
import re
import select
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from pytest_tms.client import TmsClient
from tests.helpers.server_processes import ServerProcess

T = TypeVar("T")

TMS = [sys.executable, "-c", "from pytest_tms.cli import main; main()"]
"""The command `tms`, by this interpreter."""


WITHOUT_UNNEEDED_PLUGINS = " ".join(
    f"-p no:{name}" for name in ("anyio", "faker", "hypothesispytest", "platformdirs")
)
"""Options of pytest that leave out plugins of the development environment: they take most of a short run."""

QUIET = {"TMS_SERVER_LOG_FORMAT": "text", "TMS_SERVER_ACCESS_LOG": "0"}
"""Settings by which a server writes its address and its warnings alone, as text."""

TOKEN = re.compile(r"tms_\w{36}")
"""The line with the token that a server prints at its first start on a terminal."""


def first_token(data_dir: Path) -> str:
    """The token that a server without a terminal wrote at its first start."""
    file = data_dir / "first-token"
    return wait_for(lambda: file.read_text() if file.exists() else "").strip()


def peak_memory(pid: int) -> int:
    """The most bytes of memory that a process has had."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("this system does not tell how much memory a process takes")
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024


def environ_outside_pytest(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment outside of a test: inside of one, pytest reports only if an option requests it."""
    return {name: value for name, value in environ.items() if name != "PYTEST_CURRENT_TEST"}


@dataclass(frozen=True)
class TmsServer:
    """A running TMS."""

    url: str
    token: str
    data_dir: Path

    @property
    def root(self) -> str:
        """The address of its pages."""
        return self.url.removesuffix("/api")

    def client(self) -> TmsClient:
        return TmsClient(self.url, self.token, retries=0)


def run_tms(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command `tms` to its end: in this process, which takes a tenth of the time, a server in another."""
    if "serve" in arguments:
        with tempfile.TemporaryFile("wb") as stdout, tempfile.TemporaryFile("wb") as stderr:
            status = ServerProcess(arguments, {**QUIET, **os.environ, **environ}, stdout, stderr).wait()
            written = [Path(f"/proc/self/fd/{file.fileno()}").read_text() for file in (stdout, stderr)]
            return subprocess.CompletedProcess([*TMS, *arguments], status, *written)
    from pytest_tms.cli import main

    output = {name: io.BytesIO() for name in ("stdout", "stderr")}
    with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a process releases what it holds at its end
        patched.setattr(sys, "argv", ["tms", *arguments])
        patched.setattr(sys, "stdin", io.StringIO())
        streams = [io.TextIOWrapper(written, "utf-8", write_through=True) for written in output.values()]
        for name, stream in zip(output, streams, strict=True):
            patched.setattr(sys, name, stream)
        for name, value in environ.items():
            patched.setenv(name, value)
        with pytest.raises(SystemExit) as left:
            main()
        code = left.value.code
        del left  # its traceback holds what the command did not close
        gc.collect()
    texts = {name: written.getvalue().decode().replace("\r\n", "\n") for name, written in output.items()}
    return subprocess.CompletedProcess(
        [*TMS, *arguments], code if isinstance(code, int) else int(code is not None), **texts
    )


def serve(data_dir: Path, *options: str, **environ: str) -> tuple[ServerProcess, str]:
    """Start `tms serve` on a free port; the process and its base URL. Its output goes to data_dir/serve.log.

    Tests share its token, so it limits nothing unless TMS_SERVER_RATE_LIMITS says so.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = data_dir / "serve.log"
    with log.open("wb") as output:
        process = ServerProcess(
            ["serve", "--port", "0", "--data-dir", str(data_dir), *options],
            {**QUIET, "TMS_SERVER_RATE_LIMITS": "off", **os.environ, **environ},
            output,
            output,
        )
    try:
        found = wait_for(
            lambda: (
                re.search(r"(https?://\S+/api)\ndata .*\n", log.read_text()) or process.poll() is not None
            ),
            seconds=90,  # a busy machine starts it slowly
        )
        assert isinstance(found, re.Match), f"tms serve did not start: {log.read_text()}"
    except AssertionError:
        process.kill()
        process.wait()
        raise
    return process, found[1]


def wait_for_end(pid: int, seconds: float = 30) -> None:
    """Wait until a process, which need not be a child of this one, has ended; fail after ``seconds``."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([process], [], [], seconds)[0], f"process {pid} runs after {seconds} s"
    finally:
        os.close(process)


def wait_for(condition: Callable[[], T | None], seconds: float = 30) -> T:
    """Call ``condition`` until it returns a true value, and return that; fail after ``seconds``.

    Only for what another process does to its files, rows and responses, and announces to nobody. A subscriber,
    the end of a process and the output of a process can be waited for.
    """
    deadline = time.monotonic() + seconds
    while not (response := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.02)
    return response
