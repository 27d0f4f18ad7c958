"""Bodies as gzip: unpacked within bounds, refused where they are none."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
import requests

from tests.conftest import Tms

CREATE = json.dumps({"testSuite": "smoke", "environment": "dev"}).encode()


def post(tms: Tms, body: bytes) -> requests.Response:
    headers = {"Authorization": f"Bearer {tms.token}", "Content-Encoding": "gzip"}
    return requests.post(f"{tms.url}/executions", data=body, headers=headers, timeout=60)


def test_a_gzip_body_is_unpacked(tms: Tms) -> None:
    assert post(tms, gzip.compress(CREATE)).status_code == 201


PACKED = gzip.compress(CREATE, mtime=0)
"""The same in every process that collects these tests."""


@pytest.mark.parametrize("body", [CREATE, b"", PACKED[:-9], PACKED[:15], zlib.compress(CREATE)])
def test_what_is_no_whole_gzip_is_400(tms: Tms, body: bytes) -> None:
    answer = post(tms, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")


def test_a_zip_bomb_is_413_and_costs_bounded_memory(tms: Tms) -> None:
    bomb = gzip.compress(b" " * (300 << 20), compresslevel=9)
    assert len(bomb) < 400_000
    assert post(tms, bomb).status_code == 413
    assert post(tms, gzip.compress(CREATE)).status_code == 201


def test_the_client_packs_what_is_worth_it(tms: Tms) -> None:
    from pytest_tms import wire

    with tms.client() as client:
        client.compress = True
        request = wire.ExecutionRequest(test_suite="smoke", environment="dev", metadata={"long": "x" * 5000})
        created = client.create_execution(request)
        assert client.get_execution(created.execution_id).metadata == {"long": "x" * 5000}
