"""pytest-playwright with a real browser: its screenshots, videos and traces belong to the attempt that made them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import reported_runs
from tests.helpers.environments import python
from tests.helpers.processes import TmsServer

pytestmark = [pytest.mark.browser, pytest.mark.plugins]

CONFTEST = """
import http.server, threading, pytest

@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    return {**browser_type_launch_args, "executable_path": EXECUTABLE, "args": flags}

class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>Shop</title><h1>Open</h1>")

    def log_message(self, *_): pass

@pytest.fixture(scope="session")
def shop():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
"""

SUITE = """
import pathlib, pytest

@pytest.mark.parametrize("name", ["a basket", "till/1"])
def test_burns(page, shop, name):
    page.goto(shop)
    assert page.title() == name

def test_opens(page, shop):
    page.goto(shop)
    assert page.title() == "Shop"

def test_opens_at_last(page, shop):
    page.goto(shop)
    with open("tries", "a") as file:
        file.write(".")
    assert len(pathlib.Path("tries").read_text()) > 1

def test_without_a_page(): pass
"""

FAILED = [("screenshot", "test-failed-1.png"), ("trace", "trace.zip"), ("video", "video.webm")]
PASSED = [("screenshot", "test-finished-1.png"), ("trace", "trace.zip"), ("video", "video.webm")]


@pytest.fixture(scope="module")
def browsers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which playwright finds an ffmpeg for its videos: one from a package, in its own one's place."""
    folder = tmp_path_factory.mktemp("browsers")
    program = python("playwright")
    find = "import playwright, imageio_ffmpeg; print(playwright.__path__[0]); print(imageio_ffmpeg.get_ffmpeg_exe())"
    completed = subprocess.run([program, "-c", find], capture_output=True, text=True, check=True)
    package, ffmpeg = completed.stdout.splitlines()
    listed = json.loads(Path(package, "driver", "package", "browsers.json").read_text())
    (revision,) = [each["revision"] for each in listed["browsers"] if each["name"] == "ffmpeg"]
    place = folder / f"ffmpeg-{revision}"
    place.mkdir()
    (place / "ffmpeg-linux").symlink_to(ffmpeg)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_what_a_browser_left_belongs_to_its_attempt(
    mode: str, browsers: Path, tms: TmsServer, tmp_path: Path
) -> None:
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("chromium is not installed")
    files = {"conftest.py": f"EXECUTABLE = {executable!r}\n{CONFTEST}", "test_it.py": SUITE}
    always = ("--screenshot=on", "--video=on", "--tracing=on", "--reruns=1")
    ran = reported_runs.run(
        tms,
        tmp_path,
        files,
        *reported_runs.MODES[mode],
        *always,
        environment="playwright",
        extra={"PLAYWRIGHT_BROWSERS_PATH": str(browsers)},
        timeout=180,
    )
    reported_runs.assert_stored(
        ran.stored,
        [
            *(
                reported_runs.failed(
                    f"test_it.py::test_burns[chromium-{name}]", reported_runs.StartsWith("AssertionError"), 1
                )
                for name in ("a basket", "till/1")
            ),
            reported_runs.passed("test_it.py::test_opens[chromium]", artifacts=PASSED),
            reported_runs.passed("test_it.py::test_opens_at_last[chromium]", 1),
            reported_runs.passed("test_it.py::test_without_a_page", artifacts=None),
        ],
    )
    left = {
        test["title"]: [reported_runs.compact("artifacts", each["artifacts"]) for each in test["attempts"]]
        for test in ran.stored
        if test.get("attempts")
    }
    assert left == {
        "test_burns[chromium-a basket]": [FAILED, FAILED],
        "test_burns[chromium-till/1]": [FAILED, FAILED],
        "test_opens_at_last[chromium]": [FAILED, PASSED],
    }
    attempts = [each for test in ran.stored for each in test.get("attempts") or [test]]
    paths = [file["path"] for each in attempts for file in each.get("artifacts") or ()]
    assert len(set(paths)) == len(paths) == 3 * 7
    assert all(Path(path).stat().st_size for path in paths)
    assert {test.get("properties") is None for test in ran.stored} == {True}
