"""How a request reaches the TMS: an open connection, retries, the environment's proxy and certificates."""

from __future__ import annotations

import gzip
import ipaddress
import os
import random
import select
import socket
import ssl
import time
import zlib
from base64 import b64encode
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPSConnection, InvalidURL
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from pytest_tms.errors import InFlight

RETRIED = (429, 500, 502, 503, 504)
"""Statuses worth another attempt, by "Retry Logic" in the integration document."""
LONGEST_WAIT = 60
"""Seconds that one wait between two attempts may last."""
AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name a file, or a folder, of trusted certificates; the first that is set counts."""


class Answer(msgspec.Struct, frozen=True):
    """What a server answered, read whole and unpacked; names of ``headers`` are written in any case."""

    status: int
    reason: str
    headers: HTTPMessage
    body: bytes


class NoAnswer(Exception):
    """No answer came; its text says why."""


class Transport:
    """Sends one request at a time, and follows no redirect.

    The variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are heeded as curl does, for proxies at
    http:// URLs. Certificates are checked against ``AUTHORITIES``, else against certifi's.
    """

    def __init__(self, retries: int, connect_timeout: float, read_timeout: float) -> None:
        self._retries = retries
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._connections: dict[tuple[str, str, str], HTTPConnection] = {}

    def __del__(self) -> None:  # who forgets to close must not be warned of a socket that is none of theirs
        self.close()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """The answer. Raises NoAnswer, and ValueError where the URL or a header is malformed.

        ``RETRIED`` and broken connections are tried again, after 0.5 s, 1 s, 2 s … plus jitter, or after the
        server's ``Retry-After``, unless that is more than ``LONGEST_WAIT``.
        """
        for attempt in range(self._retries):
            asked = None
            try:
                answer = self._send(method, url, headers, body)
            except NoAnswer:
                pass
            else:
                asked = retry_after(answer.headers)
                is_in_flight = answer.status == InFlight.status and asked is not None
                if (asked or 0) > LONGEST_WAIT or not (is_in_flight or answer.status in RETRIED):
                    return answer
            backoff = min(LONGEST_WAIT, 0.5 * 2**attempt + random.uniform(0, 0.25))  # noqa: S311  # spreads clients, no secret
            time.sleep(backoff if asked is None else asked)
        return self._send(method, url, headers, body)

    def close(self) -> None:
        """Close the connections; they open again where they are needed."""
        for connection in self._connections.values():
            connection.close()

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        where = urlsplit(url)
        if where.scheme not in ("http", "https") or not where.hostname:
            raise ValueError("it is neither http:// nor https://")
        if not all(map(str.isprintable, headers.values())):
            raise ValueError("a header is no line of text")
        proxy = proxy_of(where)
        key = (where.scheme, where.netloc, proxy)
        if key not in self._connections:
            self._connections[key] = _connection(where, proxy, self._connect_timeout)
        target = f"{where.path or '/'}{'?' * bool(where.query)}{where.query}"
        if proxy and where.scheme == "http":
            target = f"http://{where.netloc.rpartition('@')[2]}{target}"
            headers = {**headers, **_login(proxy)}
        connection = self._connections[key]
        try:
            self._connect(connection, proxy)
            return _exchange(connection, method, target, headers, body)
        except InvalidURL:
            raise ValueError("it has characters that no URL has") from None
        except TimeoutError as error:
            raise NoAnswer("it timed out") from error
        except (OSError, HTTPException) as error:
            raise NoAnswer("the connection was cut off") from error

    def _connect(self, connection: HTTPConnection, proxy: str) -> None:
        if connection.sock is not None and not _has_news(connection.sock):
            return
        connection.close()  # nothing was asked, so what there is to read is the end
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NoAnswer(_why(error, proxy)) from error
        connection.sock.settimeout(self._read_timeout)


def retry_after(headers: HTTPMessage) -> float | None:
    """The seconds that a server asks to wait, which it writes as a number or as a date; else None."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def proxy_of(where: SplitResult) -> str:
    """The URL of the proxy that the environment names for a URL, or an empty text."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib.request import getproxies_environment, proxy_bypass

    proxies = getproxies_environment()
    proxy: str = proxies.get(where.scheme) or proxies.get("all") or ""
    host = where.hostname or ""
    if proxy_bypass(where.netloc.rpartition("@")[2]) or _is_within(host, proxies.get("no", "")):
        return ""
    return proxy if "://" in proxy or not proxy else f"http://{proxy}"


def _is_within(host: str, networks: str) -> bool:
    """Whether a host is an address of one of the networks that NO_PROXY lists, as 10.0.0.0/8."""
    for network in networks.split(","):
        try:
            if "/" in network and ipaddress.ip_address(host) in ipaddress.ip_network(network.strip(), False):
                return True
        except ValueError:
            continue
    return False


def _connection(where: SplitResult, proxy: str, timeout: float) -> HTTPConnection:
    """A connection that is not open yet, to a URL's host or by a proxy."""
    by = urlsplit(proxy) if proxy else where
    if proxy and (by.scheme != "http" or not by.hostname):
        raise NoAnswer("the environment's proxy is not an http:// one")
    # Without a port, http.client would take the end of an IPv6 address for one.
    host, port = by.hostname or "", by.port or (443 if by.scheme == "https" else 80)
    if where.scheme == "http":
        return HTTPConnection(host, port, timeout=timeout)
    connection = HTTPSConnection(host, port, timeout=timeout, context=_trust())
    if proxy:
        connection.set_tunnel(where.hostname or "", where.port or 443, _login(proxy))
    return connection


def _login(proxy: str) -> dict[str, str]:
    by = urlsplit(proxy)
    if by.username is None:
        return {}
    login = f"{unquote(by.username)}:{unquote(by.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(login.encode()).decode()}"}


def _trust() -> ssl.SSLContext:
    path = next((os.environ[name] for name in AUTHORITIES if os.environ.get(name)), "")
    if not path:
        import certifi

        path = certifi.where()
    try:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise NoAnswer(f"the certificates to trust cannot be read, {path}: {error.strerror}") from error


def _exchange(
    connection: HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: bytes | None
) -> Answer:
    try:
        connection.request(method, target, body, dict(headers))
        response = connection.getresponse()
        content = response.read()
    except BaseException:
        connection.close()  # what still comes is no answer to the next request
        raise
    return Answer(response.status, response.reason, response.headers, _unpacked(response.headers, content))


def _has_news(connection: socket.socket) -> bool:
    """Whether there is something to read, or the end."""
    if not hasattr(select, "poll"):
        return bool(select.select([connection], [], [], 0)[0])
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))


def _why(error: OSError, proxy: str) -> str:
    """Why a connection was not made."""
    if isinstance(error, ssl.SSLError):
        return "its TLS certificate is not accepted"
    if isinstance(error, TimeoutError):
        return "it timed out"
    if proxy:
        return "the proxy does not reach it"
    return "the name does not resolve" if isinstance(error, socket.gaierror) else "the connection is refused"


def _unpacked(headers: HTTPMessage, content: bytes) -> bytes:
    if headers.get("Content-Encoding", "").lower() != "gzip" or not content:
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise NoAnswer("what it sent cannot be unpacked") from error
