"""Many viewers of the largest texts take little memory."""

from __future__ import annotations

import re
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
def test_fifty_viewers_of_the_largest_results_take_under_300_mb(tmp_path: Path, start: Serve) -> None:
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
    before = peak_memory(process.pid)  # 80 MB: also what the process that it is forked from has imported
    root = f"{url.removesuffix('/api')}/runs/{execution}"
    overview = requests.get(root, timeout=60).text
    shown = sorted(set(re.findall(rf"/runs/{execution}/tests/\d+\?shard=\d+", overview)))
    paths = [*(f"{url.removesuffix('/api')}{path}" for path in shown), root, f"{root}/tests", f"{root}/files"]

    def view(number: int) -> str:
        response = requests.get(paths[number % len(paths)], timeout=120)
        assert response.status_code == 200
        return response.text

    with ThreadPoolExecutor(VIEWERS) as pool:
        pages = list(pool.map(view, range(VIEWERS + 5)))
    assert peak_memory(process.pid) - before < 300 << 20
    assert shown
    assert "begins xxx" in pages[0]
    assert "xxx ends" in pages[0]
    assert max(map(len, pages)) < 1_000_000
