"""Egress policy: webhooks may use https to public addresses, unless the operator allows more."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pytest_tms.server.domain.subscriptions import MASK

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_PUBLIC: Sequence[Network] = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # CGNAT; Alibaba's metadata
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's metadata, at a public address
            "169.254.0.0/16",  # link-local; most clouds' metadata
            "172.16.0.0/12",
            "192.0.0.0/24",  # Oracle's metadata
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
            "2001::/23",  # Teredo, ORCHID and other protocols
            "2001:db8::/32",
            "3fff::/20",
        ),
    )
)
PUBLIC_6 = ipaddress.ip_network("2000::/3")
"""All public IPv6 addresses."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
LOOPBACK: Sequence[Network] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
ALLOW_INSECURE = "TMS_SERVER_ALLOW_INSECURE_WEBHOOKS=1"
LOOPBACK_REMEDY = f"this machine needs {ALLOW_INSECURE} on the server"
SUBNETS_REMEDY = "subnets of your own are allowed by TMS_SERVER_WEBHOOK_SUBNETS=10.1.0.0/16,… on the server"
TOKEN = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # a UUID
    r"|(?=[a-z]*[0-9])(?=[0-9]*[a-z])[0-9a-z]{16,}"  # letters and digits
    r"|(?=[a-z0-9]*[A-Z])[0-9A-Za-z]{16,}"
    r"|(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])(?=[^0-9]*[0-9])[0-9A-Za-z_=.:~-]{20,}"
    r"|[0-9]{16,}",
    re.ASCII,
)
"""Segments of a path that look like secrets."""
HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.ASCII)


@dataclass(frozen=True)
class Target:
    """The parts of a URL: ``path`` includes the query, ``authority`` is the value of the Host header."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The host, with the port unless it is the default of the scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


@dataclass(frozen=True)
class EgressPolicy:
    """What the operator allows.

    ``insecure`` allows plain http and this machine, ``subnets`` are private networks that are allowed.
    """

    insecure: bool = False
    subnets: tuple[str, ...] = ()

    def parse(self, url: str) -> Target:
        """Return the parts of a URL.

        The addresses of a host name are checked when a connection is made: see ``allows``.

        Raises:
            ValueError: The URL is not valid or not allowed; the message describes the problem of a field.
        """
        if url != url.strip():
            raise ValueError("Must not begin or end with white space: remove it")
        if any(character.isspace() or not character.isprintable() for character in url):
            raise ValueError("Must not contain white space or control characters: write a space as %20")
        if not url.isascii() or any(character <= " " or character in '\\"<>`{}|^\x7f' for character in url):
            raise ValueError("Must be written in ASCII, other characters as %XX and names as xn--")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError("Must be a URL like https://ci.example.com/hooks") from None
        host = (parts.hostname or "").removesuffix(".")
        if parts.scheme not in ("http", "https") or not host or port == 0:
            raise ValueError("Must be a URL like https://ci.example.com/hooks")
        if parts.scheme == "http" and not self.insecure:
            raise ValueError(f"Must be https: plain http needs {ALLOW_INSECURE} on the server")
        if "@" in parts.netloc:
            raise ValueError("Must not have a user or password: send credentials by headers")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            # A name that ends in a number is an address in some other notation: 0x7f.1, 2130706433.
            if not HOST.fullmatch(host) or re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]):
                raise ValueError("Must have a valid host name") from None
            if not self.insecure and (host == "localhost" or host.endswith(".localhost")):
                raise ValueError(f"Must lead to a public address: {LOOPBACK_REMEDY}") from None
        else:
            if not self.allows(address):
                is_loopback = any(address in network for network in LOOPBACK)
                remedy = LOOPBACK_REMEDY if is_loopback else SUBNETS_REMEDY
                raise ValueError(f"Must lead to a public address: {remedy}")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path)

    def allows(self, address: Address) -> bool:
        """Return whether a delivery may go to this address, also if it is embedded in an IPv6 address."""
        if isinstance(address, ipaddress.IPv6Address):
            if address.scope_id is not None:
                return False
            embedded = _embedded(address)
            if embedded is not None:
                return self.allows(embedded)
        networks = [*map(ipaddress.ip_network, self.subnets), *(LOOPBACK if self.insecure else ())]
        if any(address in network for network in networks):
            return True
        if isinstance(address, ipaddress.IPv6Address) and address not in PUBLIC_6:
            return False
        return not any(address in network for network in NOT_PUBLIC)


def masked(url: str) -> str:
    """Return a URL to be shown: without user, values of the query, and parts of the path that are secrets."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return MASK
    path = "/".join(MASK if TOKEN.search(part) else part for part in parts.path.split("/"))
    query = "&".join(
        f"{name}={MASK}" if separator else MASK
        for name, separator, _ in (part.partition("=") for part in parts.query.split("&"))
        if name or separator
    )
    user = f"{MASK}@" if "@" in parts.netloc else ""
    return (
        f"{parts.scheme}://{user}{host}{path}"
        + (f"?{query}" if query else "")
        + ("#" + MASK if parts.fragment else "")
    )


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address in an IPv6 address: mapped, 6to4, or with the well-known prefix of NAT64."""
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
