"""The egress policy of webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from pytest_tms.server.domain.egress import EgressPolicy
from pytest_tms.server.webhooks.http_sender import HttpSender
from tests.helpers.subscribers import Subscribers

REFUSED = [
    "http://ci.example.com/",
    "ftp://ci.example.com/",
    "file:///etc/passwd",
    "gopher://ci.example.com/",
    "//ci.example.com/",
    "https://",
    "https:///path",
    "https://user:password@ci.example.com/",
    "https://ci.example.com@127.0.0.1/",
    "https://ci.example.com:0/",
    "https://ci.example.com:99999/",
    "https://ci.example.com:x/",
    "https://ci.example.com/a b",
    "https://ci.example.com/\r\nX: y",
    "https://ci.example.com\\@127.0.0.1/",
    "https://☃.example.com/",
    "https://exa mple.com/",
    "https://-x.example.com/",
    "https://a..example.com/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://api.localhost/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.1./",
    "https://0.0.0.0/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.100.100.200/",
    "https://100.64.0.1/",
    "https://168.63.129.16/",
    "https://192.0.0.192/",
    "https://192.0.2.1/",
    "https://198.18.0.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[::]/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b:1::a00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::1]/",
    "https://[2001:0:7f00:1::1]/",
    "https://[2001:db8::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[100::1]/",
]
TAKEN = [
    "https://ci.example.com/hooks?x=1",
    "https://ci.example.com.:8443/",
    "https://xn--n3h.example.com/",
    "https://8.8.8.8/",
    "https://172.32.0.1/",
    "https://100.128.0.1/",
    "https://[2606:4700::1111]/",
    "https://[64:ff9b::808:808]/",
    "https://[::ffff:8.8.8.8]/",
]


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_is_not_allowed_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^Must "):
        EgressPolicy().parse(url)


@pytest.mark.parametrize("url", TAKEN)
def test_an_allowed_url_is_parsed(url: str) -> None:
    assert EgressPolicy().parse(url).scheme == "https"


def test_settings_of_the_operator_allow_exactly_what_they_name() -> None:
    insecure = EgressPolicy(insecure=True)
    for url in ("http://ci.example.com/", "http://localhost:1/", "http://127.0.0.1/", "http://[::1]/"):
        insecure.parse(url)
    subnet = EgressPolicy(subnets=("10.1.0.0/16",))
    for url in ("https://10.1.2.3/", "https://[::ffff:10.1.2.3]/"):
        subnet.parse(url)
    for targets, url in (
        (insecure, "http://10.1.2.3/"),
        (insecure, "http://169.254.169.254/"),
        (subnet, "http://10.1.2.3/"),
        (subnet, "https://10.2.0.1/"),
        (subnet, "https://127.0.0.1/"),
    ):
        with pytest.raises(ValueError, match=r"^Must "):
            targets.parse(url)


class Rebinding:
    """A resolver that returns other addresses each time (DNS rebinding)."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0)


def test_a_name_with_private_addresses_is_refused_at_each_connection(subscribers: Subscribers) -> None:
    async def send(resolver: Rebinding) -> list[str | None]:
        sender = HttpSender(EgressPolicy(subnets=("127.0.0.2/32",), insecure=False), resolver)
        urls = [f"https://rebinding.example:{subscribers.port}/x"] * 2
        return [(await sender.send(url, ["s"], "msg_1", b"{}")).reason for url in urls]

    inside = Rebinding(["127.0.0.1"], ["169.254.169.254", "::ffff:127.0.0.1", "::1"])
    for reason in asyncio.run(send(inside)):
        assert reason is not None
        assert reason.startswith("its host name does not resolve to a public address")
        assert "TMS_SERVER_WEBHOOK_SUBNETS" in reason
    assert subscribers.of("x") == []


def test_the_connection_goes_to_the_address_that_was_checked(subscribers: Subscribers) -> None:
    # The second answer of the name is never asked for, and would be an address where nobody listens.
    resolver = Rebinding(["127.0.0.1"], ["127.0.0.9"])

    async def send() -> list[int]:
        sender = HttpSender(EgressPolicy(insecure=True), resolver)
        url = f"http://pinned.example:{subscribers.port}/pinned"
        codes = [(await sender.send(url, ["s"], "msg_1", b"{}")).code for _ in range(2)]
        await sender.close()
        return codes

    assert asyncio.run(send()) == [200, 200]
    assert resolver.asked == 1
    assert [got.headers["host"] for got in subscribers.of("pinned")] == [
        f"pinned.example:{subscribers.port}"
    ] * 2
