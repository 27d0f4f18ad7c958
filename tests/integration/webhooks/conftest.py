"""Servers on each database that may send to this machine, and subscribers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.api import Api, expect_success, running, upgraded_database
from tests.helpers.subscribers import Subscribers, subscribing

SECRET = "webhook_secret_key"
EVENTS = [
    "execution.started",
    "execution.progress",
    "execution.completed",
    "execution.failed",
    "execution.cancelled",
    "shard.started",
    "shard.completed",
]
ENVIRON = {"TMS_SERVER_ALLOW_INSECURE_WEBHOOKS": "1", "TMS_SERVER_WEBHOOK_RATE": "0"}
PROGRESS = {"TMS_SERVER_PROGRESS_INTERVAL": "1"}


@pytest.fixture(scope="module")
def subscribers() -> Iterator[Subscribers]:
    with subscribing() as known:
        yield known


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def hooks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server without a limit on deliveries, on each database in turn; a module's SETTINGS are its own."""
    folder = tmp_path_factory.mktemp("hooks") / "data"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRON, **PROGRESS, **getattr(request.module, "SETTINGS", {})}.items():
            patch.setitem(os.environ, name, value)
        if request.param == "sqlite":
            with running(folder) as api:
                yield api
        else:
            with upgraded_database() as url, running(folder, "--database-url", url) as api:
                yield api


def subscribe(api: Api, url: str, **more: Any) -> dict[str, Any]:
    body = {"url": url, "events": EVENTS, "secret": SECRET, **more}
    return expect_success(api.request("POST", "/webhooks", body), 201)


def deliveries(api: Api, webhook: dict[str, Any], status: str = "") -> list[dict[str, Any]]:
    query = f"?status={status}" if status else ""
    response = expect_success(api.request("GET", f"/webhooks/{webhook['webhookId']}/deliveries{query}"), 200)
    found: list[dict[str, Any]] = response["deliveries"]
    return found


@pytest.fixture(scope="session")
def sqlite_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server with the default egress policy."""
    with running(tmp_path_factory.mktemp("plain") / "data") as api:
        yield api
