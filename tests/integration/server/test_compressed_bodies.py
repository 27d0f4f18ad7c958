"""Bodies as gzip and zstd: unpacked within bounds, refused where they are none."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from pathlib import Path

import pytest
import requests

from tests.helpers.api import Serve
from tests.helpers.processes import TmsServer, first_token, peak_memory

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CREATE = json.dumps({"testSuite": "smoke", "environment": "dev"}).encode()
PACKED = {"gzip": gzip.compress(CREATE, mtime=0), "zstd": zstd.compress(CREATE)}
PACKINGS = pytest.mark.parametrize("packing", PACKED)


def post(tms: TmsServer, body: bytes, packing: str = "gzip", path: str = "/executions") -> requests.Response:
    headers = {"Authorization": f"Bearer {tms.token}", "Content-Encoding": packing}
    return requests.post(f"{tms.url}{path}", data=body, headers=headers, timeout=60)


def error_of(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@PACKINGS
def test_a_packed_body_is_unpacked(tms: TmsServer, packing: str) -> None:
    assert post(tms, PACKED[packing], packing).status_code == 201
    assert post(tms, PACKED[packing], packing.upper()).status_code == 201


def submission(tms: TmsServer, numbers: int) -> tuple[str, str, bytes]:
    """An execution, a long text, and the body of POST /results that has it as the output of a test."""
    text = "".join(f"{number} " for number in range(numbers))
    execution = post(tms, CREATE, "identity").json()["executionId"]
    test = {"title": "t", "status": "passed", "stdout": text}
    return execution, text, json.dumps({"executionId": execution, "shardId": "1", "tests": [test]}).encode()


def submit(tms: TmsServer, body: bytes, packing: str = "gzip") -> None:
    response = post(tms, body, packing, "/results")
    assert response.status_code == 201, response.text


def stored(tms: TmsServer, execution: str) -> str:
    """The output of the execution's test."""
    headers = {"Authorization": f"Bearer {tms.token}"}
    response = requests.get(f"{tms.url}/executions/{execution}/tests", headers=headers, timeout=60)
    text: str = response.json()["tests"][0]["stdout"]
    return text


def halves(body: bytes) -> tuple[bytes, bytes]:
    return body[: len(body) // 2], body[len(body) // 2 :]


@PACKINGS
def test_a_large_packed_body_arrives_whole(tms: TmsServer, packing: str) -> None:
    execution, text, body = submission(tms, 700_000)
    submit(tms, gzip.compress(body, 1) if packing == "gzip" else zstd.compress(body), packing)
    assert stored(tms, execution) == text


@PACKINGS
@pytest.mark.parametrize("empty", [False, True])
def test_every_member_of_a_body_is_read(tms: TmsServer, packing: str, empty: bool) -> None:
    execution, text, body = submission(tms, 400_000)
    pack = gzip.compress if packing == "gzip" else zstd.compress
    submit(tms, (pack(b"") if empty else b"").join(pack(part) for part in halves(body)), packing)
    assert stored(tms, execution) == text


def test_members_of_a_kilobyte_each_are_read(tms: TmsServer) -> None:
    """As bgzip and parallel packers write, with the zeros of a last block behind."""
    execution, text, body = submission(tms, 400_000)
    members = [gzip.compress(body[start : start + 1024]) for start in range(0, len(body), 1024)]
    submit(tms, b"".join(members) + b"\0" * 700)
    assert stored(tms, execution) == text


@PACKINGS
@pytest.mark.parametrize("rest", [b"x", CREATE, b"\x1f", b"\x1f\x8b\x08", b"\0\0x"])
def test_what_follows_a_member_and_is_none_is_400(tms: TmsServer, packing: str, rest: bytes) -> None:
    assert error_of(post(tms, PACKED[packing] + rest, packing)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("name", ["x-gzip", "X-GZIP", "identity, gzip", "gzip, identity"])
def test_gzip_has_another_name(tms: TmsServer, name: str) -> None:
    assert post(tms, PACKED["gzip"], name).status_code == 201


@pytest.mark.parametrize("wbits", [15, -15, 9, -9])
def test_deflate_is_read_with_and_without_its_zlib_header(tms: TmsServer, wbits: int) -> None:
    execution, text, body = submission(tms, 400_000)
    packer = zlib.compressobj(wbits=wbits)
    packed = packer.compress(body) + packer.flush()
    submit(tms, packed, "deflate")
    assert stored(tms, execution) == text
    for wrong in (packed[:-9], packed[:1], b"", packed + b"x", CREATE):
        assert error_of(post(tms, wrong, "deflate")) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("packing", ["gzip", "deflate", "zstd"])
def test_a_body_that_arrives_byte_by_byte_is_read(tms: TmsServer, packing: str) -> None:
    packed = {**PACKED, "deflate": zlib.compress(CREATE)}[packing]
    headers = {"Authorization": f"Bearer {tms.token}", "Content-Encoding": packing}
    pieces = (packed[at : at + 1] for at in range(len(packed)))
    response = requests.post(f"{tms.url}/executions", data=pieces, headers=headers, timeout=60)
    assert response.status_code == 201, response.text


@pytest.mark.parametrize("names", ["gzip, gzip", "deflate, gzip", "zstd,br"])
def test_a_body_that_is_packed_twice_is_400(tms: TmsServer, names: str) -> None:
    assert error_of(post(tms, gzip.compress(PACKED["gzip"]), names)) == (400, "BAD_REQUEST")


@PACKINGS
def test_members_without_end_are_413(tms: TmsServer, packing: str) -> None:
    empty = gzip.compress(b"", mtime=0) if packing == "gzip" else zstd.compress(b"")
    assert error_of(post(tms, empty * 20_000, packing)) == (413, "PAYLOAD_TOO_LARGE")


@PACKINGS
@pytest.mark.parametrize("kept", [0, 5, 15, -9, -1])
def test_what_is_not_whole_is_400(tms: TmsServer, packing: str, kept: int) -> None:
    assert error_of(post(tms, PACKED[packing][:kept], packing)) == (400, "BAD_REQUEST")


@PACKINGS
@pytest.mark.parametrize("body", [CREATE, zlib.compress(CREATE), b"\x00" * 100])
def test_what_is_packed_otherwise_is_400(tms: TmsServer, packing: str, body: bytes) -> None:
    assert error_of(post(tms, body, packing)) == (400, "BAD_REQUEST")


def test_a_packing_that_is_not_known_is_400_and_says_which_are(tms: TmsServer) -> None:
    response = post(tms, CREATE, "br")
    assert error_of(response) == (400, "BAD_REQUEST")
    assert (
        response.json()["error"]["message"]
        == "The Content-Encoding br is not supported: use gzip, deflate, zstd, or none."
    )
    assert post(tms, CREATE, "identity").status_code == 201


def test_a_zstd_window_that_would_take_much_memory_is_400(tms: TmsServer) -> None:
    wide = zstd.compress(CREATE + b" " * (1 << 25), options={zstd.CompressionParameter.window_log: 25})
    assert error_of(post(tms, wide, "zstd")) == (400, "BAD_REQUEST")


def zstd_bomb(blocks: int) -> bytes:
    """A frame of blocks that each say in four bytes: the same byte, 131,072 times."""
    head = b"\x28\xb5\x2f\xfd\x00\x38"
    block = (131_072 << 3 | 1 << 1).to_bytes(3, "little") + b" "
    return head + block * blocks


@pytest.mark.slow
def test_bombs_are_413_and_cost_no_more_memory_than_the_largest_body(start: Serve, tmp_path: Path) -> None:
    process, url = start(tmp_path)
    tms = TmsServer(url, first_token(tmp_path), tmp_path)
    assert post(tms, PACKED["gzip"]).status_code == 201
    before = peak_memory(process.pid)
    bombs = {"gzip": gzip.compress(b" " * (300 << 20), compresslevel=1), "zstd": zstd_bomb(1_000_000)}
    for packing, bomb in bombs.items():
        assert error_of(post(tms, bomb, packing)) == (413, "PAYLOAD_TOO_LARGE")
    assert peak_memory(process.pid) - before < 150 << 20  # the zstd bomb alone has 131 GB
    assert post(tms, PACKED["zstd"], "zstd").status_code == 201


def test_the_client_packs_what_is_worth_it(tms: TmsServer) -> None:
    from pytest_tms import wire

    with tms.client() as client:
        client.compress = True
        request = wire.ExecutionRequest(test_suite="smoke", environment="dev", metadata={"long": "x" * 5000})
        created = client.create_execution(request)
        assert client.get_execution(created.execution_id).metadata == {"long": "x" * 5000}
