"""POST /webhooks/{id}/validate with an idempotency key."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import requests

from tests.helpers.api import Api, expect_error, expect_success
from tests.helpers.subscribers import OK, ReceivedRequest, Subscribers
from tests.integration.webhooks.conftest import subscribe


def test_concurrent_validations_with_one_key_send_one_payload(hooks: Api, subscribers: Subscribers) -> None:
    name = f"once-{hooks.data_dir.parent.name}"
    answer_now = threading.Event()

    async def waits(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.to_thread(answer_now.wait)
        writer.write(OK)

    subscribers.behave[name] = waits
    path = f"/webhooks/{subscribe(hooks, subscribers.url(name))['webhookId']}/validate"

    def validate() -> requests.Response:
        with requests.Session() as session:
            return replace(hooks, session=session).request("POST", path, Idempotency_Key="once")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(validate)
        subscribers.wait_for(lambda: subscribers.of(name))
        meanwhile = validate()
        assert expect_error(meanwhile, 409)["code"] == "CONFLICT"
        assert meanwhile.headers["Retry-After"] == "1"
        answer_now.set()
        response = expect_success(first.result(), 200)
    assert response["status"] == "valid"
    assert expect_success(validate(), 200) == response
    assert len(subscribers.of(name)) == 1
