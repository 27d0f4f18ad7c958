"""The HTTP client of webhooks: one signed POST to an allowed address, within a deadline, without redirects.

It parses HTTP with h11 over asyncio streams; docs/architecture.md has the comparison with aiohttp.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import re
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import version
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import h11

from pytest_tms import signing
from pytest_tms.server.domain.delivery_policy import SubscriberResponse
from pytest_tms.server.domain.egress import SUBNETS_REMEDY, Address, EgressPolicy, Target

TIMEOUT = 15.0
"""Seconds from the resolution of the name to the end of the response."""
MAX_RESPONSE = 4096
"""Bytes of a response's body that are read; the connection is closed if there are more."""
KEEP_ALIVE = 5.0
"""Seconds for which an idle connection is kept for the next delivery."""
MAX_HEAD = 64 << 10
"""Bytes of a response's status line and headers."""
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Tls = Callable[[], ssl.SSLContext]

_T = TypeVar("_T")
_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class AddressNotAllowed(Exception):
    """The egress policy allows none of the addresses of a name."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses that the system's resolver finds for a name, on asyncio's threads.

    Raises:
        OSError: The name cannot be resolved.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class NameResolver:
    """Resolves names on threads of its own, so that unresponsive name servers delay nothing else."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, name)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses that the system's resolver finds for a name.

        Raises:
            OSError: The name cannot be resolved.
        """
        resolve_name = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, resolve_name)
        return [str(each[4][0]) for each in found]

    def close(self) -> None:
        """Start no further resolutions; those in progress end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@cache
def tls() -> ssl.SSLContext:
    """Return a context that trusts the authorities of the system, or those of the variable SSL_CERT_FILE."""
    return ssl.create_default_context()


class HttpSender:
    """Sends to one webhook over persistent connections. Belongs to one event loop.

    A name is resolved once for each connection, by ``resolve``. The connection is made to one of the
    addresses that ``egress_policy`` allows, so a second resolution cannot lead elsewhere (DNS rebinding).
    ``tls`` verifies the certificate against the name.
    """

    def __init__(self, egress_policy: EgressPolicy, resolve: Resolve = resolve, tls: Tls = tls) -> None:
        self._egress_policy = egress_policy
        self._resolve = resolve
        self._tls = tls
        self._resolving = asyncio.Lock()
        self._idle: list[tuple[Target, float, _Connection]] = []
        self._parsed: tuple[str, Target | None] = ("", None)
        self._latest_head: tuple[tuple[Target, dict[str, str]], bytes] | None = None

    async def send(
        self,
        url: str,
        secrets: Sequence[str],
        message_id: str,
        body: bytes,
        custom_headers: Mapping[str, str] = MappingProxyType({}),
    ) -> SubscriberResponse:
        """Send one delivery and return the response.

        ``secrets`` sign it, ``message_id`` is its id for receivers. No error of the endpoint or the network
        is raised: ``reason`` of the response describes it.
        """
        started = time.monotonic()

        def failed(reason: str, code: int = 0) -> SubscriberResponse:
            return SubscriberResponse(
                code=code, milliseconds=round((time.monotonic() - started) * 1000), reason=reason
            )

        try:
            target = self._target(url)
        except ValueError as error:  # the operator may have changed the policy since the registration
            return failed(f"the URL {str(error)[0].lower()}{str(error)[1:]}")
        try:
            signature = signing.sign(secrets, message_id, int(time.time()), body)
            headers = _Headers(custom_headers, {"Content-Length": str(len(body)), **signature})
            code, response_headers = await _within(TIMEOUT, self._exchange(target, headers, body))
        except AddressNotAllowed as error:
            return failed(str(error))
        except (TimeoutError, asyncio.TimeoutError):
            return failed(f"there was no complete response within {TIMEOUT:.0f} s")
        except ssl.SSLCertVerificationError as error:
            return failed(f"its TLS certificate is not valid: {error.verify_message}")
        except ssl.SSLError:
            return failed("the TLS handshake failed")
        except socket.gaierror:
            return failed("its host name cannot be resolved")
        except ConnectionRefusedError:
            return failed("the connection was refused")
        except (OSError, EOFError):
            return failed("the connection was closed")
        except h11.RemoteProtocolError:
            return failed("its response is not valid HTTP")
        milliseconds = round((time.monotonic() - started) * 1000)
        reason = None if 200 <= code < 300 else f"it responded with {code}"
        if 300 <= code < 400:
            reason = f"it redirects ({code}); redirects are not followed"
        wait = _retry_after(response_headers.get(b"retry-after", b""))
        return SubscriberResponse(code=code, milliseconds=milliseconds, reason=reason, retry_after=wait)

    async def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            _, _, (_, writer) = self._idle.pop()
            writer.close()

    async def _exchange(
        self, target: Target, headers: _Headers, body: bytes
    ) -> tuple[int, dict[bytes, bytes]]:
        """Send a request and return status and headers; replace an idle connection that was closed."""
        idle = self._idle_connection(target)
        if idle is not None:
            with suppress(OSError, EOFError):
                return await self._request(idle, target, headers, body)
        return await self._request(await self._connect(target), target, headers, body)

    async def _request(
        self, connection: _Connection, target: Target, headers: _Headers, body: bytes
    ) -> tuple[int, dict[bytes, bytes]]:
        reader, writer = connection
        is_reusable = False
        try:
            own = "".join(f"{name}: {value}\r\n" for name, value in headers.own.items())
            writer.write(b"".join((self._head(target, headers.custom), own.encode(), b"\r\n", body)))
            await writer.drain()
            data = await reader.read(MAX_RESPONSE)
            if not data:
                raise EOFError
            simple = _simple_response(data)
            if simple is not None:
                is_reusable = True
                return simple
            protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
            protocol.send(_request(target, {"Content-Length": "0"}))
            protocol.send(h11.EndOfMessage())
            protocol.receive_data(data)
            response: h11.Response | None = None
            read = 0
            while True:
                event = protocol.next_event()
                if event is h11.NEED_DATA:
                    data = await reader.read(MAX_RESPONSE)
                    if not data and response is None:
                        raise EOFError
                    protocol.receive_data(data)
                elif isinstance(event, h11.Response):
                    response = event
                elif isinstance(event, h11.Data):
                    read += len(event.data)
                    if read > MAX_RESPONSE:
                        break
                elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                    is_reusable = protocol.our_state is h11.DONE and protocol.their_state is h11.DONE
                    is_reusable = is_reusable and not protocol.trailing_data[0]
                    break
            if response is None:
                raise EOFError
            return response.status_code, dict(response.headers)
        finally:
            if is_reusable:
                self._idle.append((target, time.monotonic(), connection))
            else:
                writer.transport.abort()

    def _target(self, url: str) -> Target:
        """Return the parts of a URL.

        Raises:
            ValueError: It is not allowed.
        """
        if url != self._parsed[0]:
            self._parsed = url, self._egress_policy.parse(url)
        assert self._parsed[1] is not None  # noqa: S101  # for the type checker
        return self._parsed[1]

    def _head(self, target: Target, custom_headers: Mapping[str, str]) -> bytes:
        """Return the beginning of a request, with the headers that all deliveries have."""
        key = (target, dict(custom_headers))
        if self._latest_head is None or self._latest_head[0] != key:
            last = {"Content-Length": "0"}
            written = h11.Connection(h11.CLIENT).send(_request(target, {**custom_headers, **last})) or b""
            self._latest_head = key, written.removesuffix(b"Content-Length: 0\r\n\r\n")
        return self._latest_head[1]

    def _idle_connection(self, target: Target) -> _Connection | None:
        found = None
        now = time.monotonic()
        while self._idle and found is None:
            its_target, since, (reader, writer) = self._idle.pop()
            if (
                its_target.authority != target.authority
                or its_target.scheme != target.scheme
                or now - since > KEEP_ALIVE
            ):
                writer.close()
            elif not writer.is_closing() and not reader.at_eof():
                found = (reader, writer)
        return found

    async def _connect(self, target: Target) -> _Connection:
        """Connect to the first allowed address of a name that accepts the connection."""
        async with self._resolving:  # so one webhook blocks one resolver thread, not one per execution
            found = await self._resolve(target.host, target.port)
        allowed = [each for each in found if self._egress_policy.allows(_address(each))]
        if not allowed:
            raise AddressNotAllowed(f"its host name does not resolve to a public address ({SUBNETS_REMEDY})")
        context = self._tls() if target.scheme == "https" else None
        name = target.host if context else None
        for address in allowed[:-1]:
            with suppress(OSError, asyncio.TimeoutError):
                opening = asyncio.open_connection(address, target.port, ssl=context, server_hostname=name)
                return await asyncio.wait_for(opening, TIMEOUT / 3)
        return await asyncio.open_connection(allowed[-1], target.port, ssl=context, server_hostname=name)


class _Headers(NamedTuple):
    """The headers of a delivery: those of its webhook, and its own."""

    custom: Mapping[str, str]
    own: Mapping[str, str]


def _request(target: Target, headers: Mapping[str, str]) -> h11.Request:
    """Return a request; h11 checks that names and values of headers are valid."""
    return h11.Request(
        method="POST",
        target=target.path,
        headers=[
            ("Host", target.authority),
            ("User-Agent", _user_agent()),
            ("Content-Type", "application/json"),
            *headers.items(),
        ],
    )


_SIMPLE = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [ -~]*)?\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)*)\r\n"
)


def _simple_response(data: bytes) -> tuple[int, dict[bytes, bytes]] | None:
    """Return status and headers of a complete response with a length, after which the connection stays open.

    Most responses are such, and h11 takes a third of the time of a delivery for them. None for any other.
    """
    found = _SIMPLE.match(data)
    if found is None:
        return None
    headers: dict[bytes, bytes] = {}
    for line in found[2].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    length = headers.get(b"content-length", b"")
    if (
        not headers.keys().isdisjoint((b"transfer-encoding", b"connection", b"upgrade"))
        or found[1] in (b"204", b"304")
        or len(headers) != found[2].count(b"\r\n")  # a name is repeated
        or not (length.isdigit() and len(length) < 5)
        or len(data) - found.end() != int(length)
    ):
        return None
    return int(found[1]), headers


async def _within(seconds: float, exchange: Awaitable[_T]) -> _T:
    """Wait for something.

    Raises:
        TimeoutError: It takes longer.
    """
    if sys.version_info >= (3, 11):
        async with asyncio.timeout(seconds):  # without a task of its own, as wait_for has in Python 3.11
            return await exchange
    return await asyncio.wait_for(exchange, seconds)


def _address(text: str) -> Address:
    return ipaddress.ip_address(text)


@cache
def _user_agent() -> str:
    return f"pytest-tms/{version('pytest-tms')}"


def _retry_after(value: bytes) -> int | None:
    """Return the milliseconds of a Retry-After header, in seconds or as a date; None if it is not valid."""
    text = value.decode("latin-1").strip()
    if text.isdecimal() and len(text) < 10:
        return int(text) * 1000
    try:
        at = email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None
    return max(0, round((at - time.time()) * 1000))
