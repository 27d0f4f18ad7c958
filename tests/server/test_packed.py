"""Bodies as gzip and zstd: unpacked within bounds, refused where they are none."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from pathlib import Path

import pytest
import requests

from tests.conftest import Tms, first_token, peak_memory
from tests.server.conftest import Serve

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CREATE = json.dumps({"testSuite": "smoke", "environment": "dev"}).encode()
PACKED = {"gzip": gzip.compress(CREATE, mtime=0), "zstd": zstd.compress(CREATE)}
PACKINGS = pytest.mark.parametrize("packing", PACKED)


def post(tms: Tms, body: bytes, packing: str = "gzip") -> requests.Response:
    headers = {"Authorization": f"Bearer {tms.token}", "Content-Encoding": packing}
    return requests.post(f"{tms.url}/executions", data=body, headers=headers, timeout=60)


def says(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@PACKINGS
def test_a_packed_body_is_unpacked(tms: Tms, packing: str) -> None:
    assert post(tms, PACKED[packing], packing).status_code == 201
    assert post(tms, PACKED[packing], packing.upper()).status_code == 201


@PACKINGS
def test_a_large_packed_body_arrives_whole(tms: Tms, packing: str) -> None:
    text = "".join(f"{number} " for number in range(700_000))
    body = json.dumps({**json.loads(CREATE), "metadata": {"text": text}}).encode()
    packed = gzip.compress(body, 1) if packing == "gzip" else zstd.compress(body)
    created = post(tms, packed, packing).json()
    with tms.client() as client:
        assert client.get_execution(created["executionId"]).metadata == {"text": text}


@PACKINGS
@pytest.mark.parametrize("kept", [0, 5, 15, -9, -1])
def test_what_is_not_whole_is_400(tms: Tms, packing: str, kept: int) -> None:
    assert says(post(tms, PACKED[packing][:kept], packing)) == (400, "BAD_REQUEST")


@PACKINGS
@pytest.mark.parametrize("body", [CREATE, zlib.compress(CREATE), b"\x00" * 100])
def test_what_is_packed_otherwise_is_400(tms: Tms, packing: str, body: bytes) -> None:
    assert says(post(tms, body, packing)) == (400, "BAD_REQUEST")


def test_a_packing_that_is_not_known_is_400_and_says_which_are(tms: Tms) -> None:
    answer = post(tms, CREATE, "br")
    assert says(answer) == (400, "BAD_REQUEST")
    assert (
        answer.json()["error"]["message"]
        == "The body is packed as br: send it as gzip, as zstd, or not packed."
    )
    assert post(tms, CREATE, "identity").status_code == 201


def test_a_zstd_window_that_would_take_much_memory_is_400(tms: Tms) -> None:
    wide = zstd.compress(CREATE + b" " * (1 << 25), options={zstd.CompressionParameter.window_log: 25})
    assert says(post(tms, wide, "zstd")) == (400, "BAD_REQUEST")


def zstd_bomb(blocks: int) -> bytes:
    """A frame of blocks that each say in four bytes: the same byte, 131,072 times."""
    head = b"\x28\xb5\x2f\xfd\x00\x38"
    block = (131_072 << 3 | 1 << 1).to_bytes(3, "little") + b" "
    return head + block * blocks


def test_bombs_are_413_and_cost_no_more_memory_than_the_largest_body(start: Serve, tmp_path: Path) -> None:
    process, url = start(tmp_path)
    tms = Tms(url, first_token(tmp_path), tmp_path)
    assert post(tms, PACKED["gzip"]).status_code == 201
    before = peak_memory(process.pid)
    bombs = {"gzip": gzip.compress(b" " * (300 << 20), compresslevel=1), "zstd": zstd_bomb(1_000_000)}
    for packing, bomb in bombs.items():
        assert says(post(tms, bomb, packing)) == (413, "PAYLOAD_TOO_LARGE")
    assert peak_memory(process.pid) - before < 150 << 20  # the zstd bomb alone has 131 GB
    assert post(tms, PACKED["zstd"], "zstd").status_code == 201


def test_the_client_packs_what_is_worth_it(tms: Tms) -> None:
    from pytest_tms import wire

    with tms.client() as client:
        client.compress = True
        request = wire.ExecutionRequest(test_suite="smoke", environment="dev", metadata={"long": "x" * 5000})
        created = client.create_execution(request)
        assert client.get_execution(created.execution_id).metadata == {"long": "x" * 5000}
