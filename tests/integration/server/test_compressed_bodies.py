"""Bodies as gzip and zstd: unpacked within bounds, refused where they are none."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.helpers.api import Serve
from tests.helpers.processes import Tms, first_token, peak_memory

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
    body = json.dumps({**json.loads(CREATE), "mine": text}).encode()
    packed = gzip.compress(body, 1) if packing == "gzip" else zstd.compress(body)
    created = post(tms, packed, packing).json()
    assert kept(tms, created) == text


def halves() -> tuple[str, bytes, bytes]:
    """A long text, and a body that has it, in two parts."""
    text = "".join(f"{number} " for number in range(400_000))
    body = json.dumps({**json.loads(CREATE), "mine": text}).encode()
    return text, body[: len(body) // 2], body[len(body) // 2 :]


def kept(tms: Tms, created: dict[str, Any]) -> str:
    """The unknown field of an execution."""
    headers = {"Authorization": f"Bearer {tms.token}"}
    answer = requests.get(f"{tms.url}/executions/{created['executionId']}", headers=headers, timeout=60)
    text: str = answer.json()["mine"]
    return text


@PACKINGS
@pytest.mark.parametrize("empty", [False, True])
def test_every_member_of_a_body_is_read(tms: Tms, packing: str, empty: bool) -> None:
    text, *parts = halves()
    pack = gzip.compress if packing == "gzip" else zstd.compress
    packed = (pack(b"") if empty else b"").join(pack(part) for part in parts)
    answer = post(tms, packed, packing)
    assert answer.status_code == 201, answer.text
    assert kept(tms, answer.json()) == text


def test_members_of_a_kilobyte_each_are_read(tms: Tms) -> None:
    """As bgzip and parallel packers write, with the zeros of a last block behind."""
    text, *parts = halves()
    body = b"".join(parts)
    members = [gzip.compress(body[start : start + 1024]) for start in range(0, len(body), 1024)]
    answer = post(tms, b"".join(members) + b"\0" * 700)
    assert answer.status_code == 201, answer.text
    assert kept(tms, answer.json()) == text


@PACKINGS
@pytest.mark.parametrize("rest", [b"x", CREATE, b"\x1f", b"\x1f\x8b\x08", b"\0\0x"])
def test_what_follows_a_member_and_is_none_is_400(tms: Tms, packing: str, rest: bytes) -> None:
    assert says(post(tms, PACKED[packing] + rest, packing)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("name", ["x-gzip", "X-GZIP", "identity, gzip", "gzip, identity"])
def test_gzip_has_another_name(tms: Tms, name: str) -> None:
    assert post(tms, PACKED["gzip"], name).status_code == 201


@pytest.mark.parametrize("wbits", [15, -15, 9, -9])
def test_deflate_is_read_with_and_without_its_zlib_header(tms: Tms, wbits: int) -> None:
    text, *parts = halves()
    packer = zlib.compressobj(wbits=wbits)
    packed = packer.compress(b"".join(parts)) + packer.flush()
    answer = post(tms, packed, "deflate")
    assert answer.status_code == 201, answer.text
    assert kept(tms, answer.json()) == text
    for wrong in (packed[:-9], packed[:1], b"", packed + b"x", CREATE):
        assert says(post(tms, wrong, "deflate")) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("packing", ["gzip", "deflate", "zstd"])
def test_a_body_that_arrives_byte_by_byte_is_read(tms: Tms, packing: str) -> None:
    packed = {**PACKED, "deflate": zlib.compress(CREATE)}[packing]
    headers = {"Authorization": f"Bearer {tms.token}", "Content-Encoding": packing}
    pieces = (packed[at : at + 1] for at in range(len(packed)))
    answer = requests.post(f"{tms.url}/executions", data=pieces, headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("names", ["gzip, gzip", "deflate, gzip", "zstd,br"])
def test_a_body_that_is_packed_twice_is_400(tms: Tms, names: str) -> None:
    assert says(post(tms, gzip.compress(PACKED["gzip"]), names)) == (400, "BAD_REQUEST")


@PACKINGS
def test_members_without_end_are_413(tms: Tms, packing: str) -> None:
    empty = gzip.compress(b"", mtime=0) if packing == "gzip" else zstd.compress(b"")
    assert says(post(tms, empty * 20_000, packing)) == (413, "PAYLOAD_TOO_LARGE")


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
        == "The Content-Encoding br is not supported: use gzip, deflate, zstd, or none."
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
