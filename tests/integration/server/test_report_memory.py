"""No page reads a document that it does not show whole: many viewers of the largest report take little memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.helpers.api import Serve, result, running
from tests.helpers.processes import peak_memory

FAILURES = 50
VIEWERS = 50
SIZE = 1_000_000
"""Characters of each of the texts of a failed test."""


@pytest.mark.slow
def test_fifty_viewers_of_the_largest_report_take_under_300_mb(tmp_path: Path, start: Serve) -> None:
    folder = tmp_path / "data"
    with running(folder) as api:
        execution = api.create()["executionId"]
        for number in range(FAILURES):
            texts = dict.fromkeys(("longrepr", "stdout", "log"), f"{number} begins {'x' * SIZE} ends")
            files = [f"{number}-{'f' * 1000}.png"] * 1000
            api.submit(
                {"executionId": execution},
                str(number),
                tests=[result(f"t{number}", "failed", **texts)],
                artifacts={"screenshots": files},
                metadata={"note": "x" * 50_000},
            )
    process, url = start(folder)
    paths = [f"{url.removesuffix('/api')}/{name}/{execution}" for name in ("reports", "artifacts", "logs")]
    assert requests.get(paths[0], timeout=60).status_code == 200

    def view(number: int) -> str:
        return requests.get(paths[0] if number % 10 else paths[1], timeout=120).text

    with ThreadPoolExecutor(VIEWERS) as pool:
        shown = list(pool.map(view, range(VIEWERS + 5)))
    assert peak_memory(process.pid) < 300 << 20
    report = shown[1]
    assert report.count("begins xxx") == 3 * FAILURES
    assert report.count("xxx ends") == 3 * FAILURES
    assert "characters are not shown" in report
