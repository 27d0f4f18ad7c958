"""A server whose pages have something to show, and the addresses of those pages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from tests.helpers.api import Api, expect_success, result
from tests.helpers.processes import environ_outside_pytest, run_tms
from tests.integration.server.test_pages import Page

SUITE = """
import logging, sys
import pytest

@pytest.fixture
def basket(request):
    return {"items": 2, "net": "10.00"}

@pytest.mark.smoke
@pytest.mark.parametrize("country, vat", [("DE", "1.90"), ("AT", "2.00"), ("FR", "2.00")])
def test_vat(basket, country, vat):
    found = {"net": basket["net"], "vat": "1.90", "total": "11.90"}
    assert found == {"net": "10.00", "vat": vat, "total": f"{10 + float(vat):.2f}"}

def pay(amount):
    raise TimeoutError(f"payment provider did not answer within 30 s (order {amount})")

@pytest.mark.tms(id=["TC-12", "TC-13"], owner="@shop/payments")
@pytest.mark.parametrize("card", ["visa", "amex", "maestro"])
def test_pays_by_card(basket, card, tms, tmp_path):
    print("basket 8841 has 2 items")
    print("\\x1b[31mno answer\\x1b[0m after 30 s", file=sys.stderr)
    logging.getLogger("shop").warning("POST /charges card=%s", card)
    file = tmp_path / "response.json"
    file.write_text('{"error": "timeout"}')
    tms.attach(file)
    pay(8841 + len(card))

@pytest.mark.flaky(reruns=2)
def test_badge_counts_items(tmp_path_factory):
    file = tmp_path_factory.getbasetemp().parent / "badge-seen"
    seen = file.exists()
    file.touch()
    assert seen, "the badge shows 1, not 2"

@pytest.mark.skip(reason="needs a label printer")
def test_prints_a_label():
    pass

@pytest.mark.xfail(reason="rounding, TC-12")
def test_rounds_half_up():
    assert round(2.5) == 3

@pytest.mark.parametrize("number", range(40))
def test_finds_an_article(number):
    assert number >= 0

@pytest.fixture
def broken():
    raise ConnectionError("database shop_test does not exist")

def test_needs_a_database(broken):
    pass
"""
SKIPPED = re.compile(r"^/(static|files|logout|cases\.csv)|/export\.|/output/")
"""Addresses that are not pages."""
SHOWS_MORE = {"branch", "by", "flaky", "view"}
"""Fields of queries that show another page; the others are filters."""
MAX_PAGES = 60
QUARANTINED = "test_needs_a_database"
"""The test of the suite that is in quarantine from the second run on."""


def fill(api: Api, folder: Path) -> str:
    """Run a suite of pytest twice and create runs and a webhook; return the id of the failed run."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = smoke: quick\n")
    reporting = {"TMS_URL": api.url, "TMS_API_TOKEN": api.token}
    found = ""
    for name in ("test_prints_a_label", "test_prints_labels"):  # the test is renamed
        (folder / "test_shop.py").write_text(SUITE.replace("test_prints_a_label", name))
        command = [sys.executable, "-m", "pytest", "--tms-suite", "smoke", "-p", "no:cacheprovider", "-q"]
        completed = subprocess.run(
            [*command, f"--basetemp={folder / 'temp'}"],
            cwd=folder,
            env=environ_outside_pytest(reporting),
            capture_output=True,
            text=True,
            check=False,
        )
        links = re.findall(r"/(exec_\w+)", completed.stdout)
        assert links, completed.stdout[-3000:]
        found = links[-1]
        quarantine(api, f"test_shop.py::{QUARANTINED}")
    build = {
        "branch": "main",
        "commit": "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678",
        "author": "ada",
        "repository": "https://github.com/example/shop",
        "pullRequest": 812,
        "ciUrl": "https://github.com/example/shop/actions/runs/456",
    }
    passed = api.create(testSuite="regression", environment="staging", metadata=build)
    api.submit(
        passed, tests=[result(f"test_{n}", duration=300 + n, retries=max(0, 3 - n)) for n in range(30)]
    )
    going = api.create(testSuite="smoke", environment="dev", metadata=build, configuration={"shards": 2})
    api.send(going, "shard.started", shardId="1", collected=40)
    tests = [result("test_a", duration=1200), result("test_b", "failed", error="assert 1 == 2")]
    api.send(going, "execution.progress", shardId="1", tests=tests, running=["test_shop.py::test_c"])
    webhook = {"url": "https://hooks.example.com/tms?key=secret", "events": ["execution.completed"]}
    made = expect_success(api.request("POST", "/webhooks", webhook), 201)
    expect_success(api.request("PATCH", f"/webhooks/{made['webhookId']}", {"status": "paused"}), 200)
    ended = api.create(testSuite="smoke", environment="dev", metadata={"branch": "topic", "author": "lin"})
    api.submit(ended, tests=[result("a", "skipped", error="needs a label printer")])
    return found


def quarantine(api: Api, node_id: str) -> None:
    """Put a test into quarantine until next week; an entry that it has is replaced."""
    made = run_tms(
        *("token", "create", "--name", "ada", "--scope", "quarantine:write", "--json"),
        *("--data-dir", str(api.data_dir), *api.database),
    )
    entry = {
        "nodeId": node_id,
        "reason": "waits for a new database, SHOP-12",
        "owner": "ada",
        "until": str(date.today() + timedelta(days=7)),
    }
    token = json.loads(made.stdout)["token"]
    expect_success(api.request("POST", "/quarantine", entry, token=token), 201)


def pages(api: Api, *starts: str) -> dict[str, str]:
    """Return one address of each kind of page that links lead to, by a name for the kind."""
    waiting = [*starts, "/", "/?branch=none", "/nope", "/login"]
    found: dict[str, str] = {}
    while waiting and len(found) < MAX_PAGES:
        path = waiting.pop(0)
        name = _kind(path)
        if name in found or SKIPPED.search(path):
            continue
        found[name] = path
        for link in Page(api.page(path).text).links():
            if link.startswith("/") and _kind(link) not in found:
                waiting.append(link.partition("#")[0])
    return found


def _kind(path: str) -> str:
    """Return a name for the kind of page: the path without ids, and the fields that show another page."""
    parts = urlsplit(path)
    plain = re.sub(r"(?<=/)(exec|wh|msg|tok)_\w+", "one", parts.path)
    plain = re.sub(r"(?<=/)\d+", "one", plain).strip("/").replace("/", "-")
    fields = sorted({field.partition("=")[0] for field in parts.query.split("&")} & SHOWS_MORE)
    return "-".join([plain or "runs", *fields])
