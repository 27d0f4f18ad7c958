"""TLS of deliveries: the certificate is verified against the name, at the pinned address."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pytest_tms.server.domain.delivery_policy import SubscriberResponse
from pytest_tms.server.domain.egress import EgressPolicy
from pytest_tms.server.webhooks.http_sender import HttpSender
from tests.helpers.subscribers import Subscribers

NAME = "hooks.example"


class Authority:
    """A certificate authority for tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tests")])
        constraint = x509.BasicConstraints(ca=True, path_length=None)
        own = self._builder(self.name, self.key).add_extension(constraint, critical=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(own.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def serving(self, *names: x509.GeneralName) -> ssl.SSLContext:
        """Return the TLS context of a server with a certificate for these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A server")])
        built = self._builder(subject, key).add_extension(x509.SubjectAlternativeName(names), critical=False)
        made = built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        file = self.folder / "server.pem"
        file.write_bytes(
            made
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.file))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def pinned(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def send(
    serving: ssl.SSLContext, sender: HttpSender, host: str
) -> tuple[SubscriberResponse, list[str | None], Subscribers]:
    """Send once to a server with this TLS, at this machine's address; the names that it was asked for."""
    asked: list[str | None] = []
    serving.sni_callback = lambda _, name, __: asked.append(name)

    async def run() -> tuple[SubscriberResponse, list[str | None], Subscribers]:
        known = Subscribers()
        async with await asyncio.start_server(known.serve, "127.0.0.1", 0, ssl=serving) as server:
            port = server.sockets[0].getsockname()[1]
            response = await sender.send(f"https://{host}:{port}/x", ["s"], "msg_1", b"{}")
            await sender.close()
            return response, asked, known

    return asyncio.run(run())


def test_sni_and_certificate_use_the_name_at_the_pinned_address(authority: Authority) -> None:
    serving = authority.serving(x509.DNSName(NAME))
    sender = HttpSender(EgressPolicy(insecure=True), pinned, authority.trusted)
    response, asked, known = send(serving, sender, NAME)
    assert (response.code, response.reason) == (200, None)
    assert asked == [NAME]
    assert [got.headers["host"].partition(":")[0] for got in known.of("x")] == [NAME]


def test_a_certificate_for_the_address_or_another_name_is_not_accepted(authority: Authority) -> None:
    for name in (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("other.example")):
        sender = HttpSender(EgressPolicy(insecure=True), pinned, authority.trusted)
        response, _, known = send(authority.serving(name), sender, NAME)
        assert response.code == 0
        assert response.reason is not None
        assert response.reason.startswith("its TLS certificate is not valid: Hostname mismatch")
        assert known.got == {}


def test_an_unknown_certificate_authority_is_not_trusted(authority: Authority) -> None:
    serving = authority.serving(x509.DNSName(NAME))
    response, _, known = send(serving, HttpSender(EgressPolicy(insecure=True), pinned), NAME)
    assert response.reason == "its TLS certificate is not valid: unable to get local issuer certificate"
    assert known.got == {}


def test_an_address_as_host_needs_a_certificate_for_it(authority: Authority) -> None:
    serving = authority.serving(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    sender = HttpSender(EgressPolicy(insecure=True), tls=authority.trusted)
    response, asked, _ = send(serving, sender, "127.0.0.1")
    assert (response.code, response.reason) == (200, None)
    assert asked == [None]
