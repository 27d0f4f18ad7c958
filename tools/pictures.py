"""Take the pictures of the documentation, `docs/images`, in both themes (`make pictures`)."""

from __future__ import annotations

import argparse
import base64
import shutil
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from tests.helpers.api import Api, expect_success, running
from tests.helpers.chromium import FLAGS

SIZE = (1120, 700)
"""Width and height of a picture, in pixels."""
QUALITY = 85
"""The quality of the pictures, which are WebP, in percent."""

FILES = {
    "cart": [
        "a_new_cart_is_empty",
        "same_product_makes_one_line",
        "removes_a_line",
        "merges_at_login",
        "total",
    ],
    "checkout": ["receipt", "pays_by_card[visa]", "pays_by_card[amex]", "pays_by_card[maestro]", "declined"],
    "prices": ["vat[DE]", "vat[AT]", "vat[FR]", "third_book_is_free", "coupon_after_discount"],
    "accounts": ["logs_in", "locks_after_three_failures", "newest_order_first", "password_is_not_kept"],
    "search": [f"finds[{number}]" for number in range(24)],
}
"""The tests of the example by their module."""
PAYMENT = "TimeoutError: payment provider did not answer within 30 s (order 8845)"
TOTAL = "AssertionError: assert '11.90' == '12.00'"
CODE = {
    PAYMENT: "    def test_pays(cart, card):\n        cart.add('mug', 2)\n>       pay(cart, card)\n",
    TOTAL: "    def test_total(cart):\n        cart.add('mug', 2)\n>       assert cart.total == '12.00'\n",
}


def test(module: str, name: str, number: int, at: datetime, *, is_broken: bool) -> dict[str, Any]:
    """Return the result of a test; payments fail, and with ``is_broken`` the total of a cart."""
    message = ""
    if name.startswith("pays_by_card"):
        message = PAYMENT
    elif name == "total" and is_broken:
        message = TOTAL
    file = f"tests/test_{module}.py"
    found: dict[str, Any] = {
        "title": f"test_{name}",
        "nodeId": f"{file}::test_{name}",
        "file": file,
        "status": "failed" if message else "passed",
        "duration": 340 + 197 * (number % 8),
        "startedAt": at.isoformat(),
        "worker": f"gw{number % 2}",
        "owner": "@shop/payments" if module == "checkout" else "@shop/web",
    }
    if message:
        kind = message.partition(":")[0]
        code = CODE[message]
        found |= {
            "error": message,
            "exceptionType": kind,
            "longrepr": f"{code}E       {message}\n\n{file}:31: {kind}",
            "stdout": "basket 8841 has 2 items\n",
            "frames": [
                {"path": file, "line": 31, "function": f"test_{name}", "isOwn": True},
                *(
                    [{"path": "shop/payment.py", "line": 58, "function": "pay", "isOwn": True}]
                    * (message == PAYMENT)
                ),
            ],
        }
    return found


def report(api: Api, commit: str, *, is_broken: bool, is_live: bool = False) -> str:
    """Report an execution of four shards and return its id; with ``is_live`` two of them still run."""
    begin = datetime.now(timezone.utc) - timedelta(seconds=21 if is_live else 3600)
    metadata = {"branch": "main", "commit": commit * 5, "author": "ada", "repository": "example/shop"}
    created = api.create(
        testSuite="regression",
        environment="staging",
        provider="github-actions",
        configuration={"shards": 4},
        metadata=metadata,
    )
    tests = [(module, name) for module, names in FILES.items() for name in names]
    for shard in range(4):
        part = tests[shard::4]
        results = [
            test(module, name, number, begin + timedelta(seconds=number), is_broken=is_broken)
            for number, (module, name) in enumerate(part)
        ]
        start = begin + timedelta(seconds=shard)
        body = {
            "event": "shard.started",
            "executionId": created["executionId"],
            "happenedAt": start.isoformat(),
            "data": {"shardId": str(shard + 1), "collected": len(part)},
        }
        expect_success(api.request("POST", created["webhookUrl"], body), 202)
        if is_live and shard > 1:
            done, left = results[: -3 - shard], results[-3 - shard :]
            going = [
                {"nodeId": each["nodeId"], "worker": each["worker"], "startedAt": begin.isoformat()}
                for each in left[:2]
            ]
            api.send(created, "execution.progress", shardId=str(shard + 1), tests=done, running=going)
        else:
            end = begin + timedelta(seconds=len(part) + shard + 1)
            api.submit(created, str(shard + 1), tests=results, happenedAt=end.isoformat())
    return str(created["executionId"])


def addresses(api: Api) -> dict[str, str]:
    """Fill a server, and return the page of each picture by the picture's name."""
    for commit in ("4f2a9c1d", "81cc02ea"):
        ended = report(api, commit, is_broken=False)
    live = report(api, "d03b77f9", is_broken=True, is_live=True)
    first = api.create(testSuite="all", environment="dev", metadata={"repository": "example/tutorial"})
    longrepr = ">       assert price == 80\nE       assert 90.0 == 80\n\ntest_shop.py:10: AssertionError"
    failure = {"error": "assert 90.0 == 80", "exceptionType": "AssertionError", "longrepr": longrepr}
    results: dict[str, dict[str, Any]] = {
        "an_empty_basket_costs_nothing": {"status": "passed", "duration": 1},
        "a_discount_is_subtracted": {"status": "failed", "duration": 2, **failure},
        "payment": {"status": "skipped", "error": "the payment service is not ready"},
    }
    tutorial = [
        {"title": f"test_{name}", "nodeId": f"test_shop.py::test_{name}", "file": "test_shop.py", **more}
        for name, more in results.items()
    ]
    api.submit(first, tests=tutorial)
    return {
        "run": f"/runs/{live}",
        "runs": "/",
        "result": f"/runs/{ended}",
        "timeline": f"/runs/{ended}/timeline",
        "tutorial": f"/runs/{first['executionId']}",
    }


def take(browser: Browser, api: Api, folder: Path) -> None:
    """Fill a server, and write a light and a dark picture of each page to a folder."""
    found = addresses(api)
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        viewport = ViewportSize(width=SIZE[0], height=SIZE[1])
        context = browser.new_context(color_scheme=scheme, viewport=viewport, reduced_motion="reduce")
        tab = context.new_page()
        capture = context.new_cdp_session(tab)
        for name, path in found.items():
            tab.goto(f"{api.root}{path}")
            if name == "result":
                tab.get_by_role("link", name="test_pays_by_card").first.click()
                tab.wait_for_load_state()
            options = {"format": "webp", "quality": QUALITY}
            picture = capture.send("Page.captureScreenshot", options)["data"]
            (folder / f"{name}-{scheme}.webp").write_bytes(base64.b64decode(picture))
        context.close()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("docs/images"), help="where to write them")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        with running(Path(temporary) / "data") as api:
            take(browser, api, folder)
        browser.close()


if __name__ == "__main__":
    main()
