"""The local server listens on loopback, and leaves the state of a successor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from pytest_tms.server.local import lifetime


def ask(data_dir: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Find or start the local server as the plugin does."""
    return subprocess.run(
        [sys.executable, "-m", "pytest_tms.server.local", "--session", str(os.getpid())],
        capture_output=True,
        text=True,
        env={**os.environ, "TMS_SERVER_DATA_DIR": str(data_dir), **environ},
        check=False,
    )


@pytest.mark.parametrize(
    "environ",
    [
        {"TMS_SERVER_HOST": "0.0.0.0"},
        {"TMS_SERVER_HOST": "::1"},
        {"TMS_SERVER_PUBLIC_URL": "https://tms.example.com"},
    ],
    ids=lambda environ: "-".join(environ.values()),
)
def test_it_listens_on_loopback_whatever_the_environment_sets(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    completed = ask(tmp_path, **environ)
    assert (completed.returncode, completed.stderr) == (0, "")
    try:
        found = json.loads(completed.stdout)
        assert found["url"].startswith("http://127.0.0.1:")
        elsewhere = requests.get(f"{found['url']}/", headers={"Host": "evil.example"}, timeout=10)
        assert elsewhere.status_code == 403
        made = requests.post(
            f"{found['url']}/executions",
            json={"testSuite": "all", "environment": "dev"},
            headers={"Authorization": f"Bearer {found['token']}"},
            timeout=10,
        ).json()
        assert made["webhookUrl"].startswith(f"{found['url']}/")
    finally:
        os.kill(json.loads((tmp_path / "local.json").read_text())["pid"], signal.SIGKILL)


@pytest.mark.parametrize("mine", [True, False])
def test_a_stopping_server_leaves_the_state_of_its_successor(tmp_path: Path, mine: bool) -> None:
    lifetime.publish(tmp_path, "http://127.0.0.1:1/api", "secret")
    state = tmp_path / "local.json"
    before = {**json.loads(state.read_text()), "pid": os.getpid() if mine else os.getppid()}
    state.write_text(json.dumps(before))
    assert lifetime.withdraw(tmp_path, before["url"], lambda: False)
    assert json.loads(state.read_text()) == ({"url": before["url"]} if mine else before)


def test_a_server_that_is_needed_again_under_the_lock_continues(tmp_path: Path) -> None:
    said = iter([False, True])
    lifetime.publish(tmp_path, "http://127.0.0.1:1/api", "secret")
    assert not lifetime.withdraw(tmp_path, "http://127.0.0.1:1/api", lambda: next(said))
    assert json.loads((tmp_path / "local.json").read_text())["token"] == "secret"


def test_an_unusable_data_dir_is_a_one_line_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    completed = ask(tmp_path / "file")
    assert (completed.returncode, completed.stdout, completed.stderr.count("\n")) == (1, "", 1)
    assert str(tmp_path / "file") in completed.stderr
    assert "set TMS_SERVER_DATA_DIR to another" in completed.stderr
