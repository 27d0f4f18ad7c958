"""The HTTP client of webhooks: one signed POST to an allowed address, within a deadline, without redirects.

It parses HTTP with h11 over asyncio streams; docs/architecture.md has the comparison with aiohttp.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import version
from types import MappingProxyType

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
            target = self._egress_policy.parse(url)
        except ValueError as error:  # the operator may have changed the policy since the registration
            return failed(f"the URL {str(error)[0].lower()}{str(error)[1:]}")
        try:
            headers = {**custom_headers, **signing.sign(secrets, message_id, int(time.time()), body)}
            code, response_headers = await asyncio.wait_for(self._exchange(target, headers, body), TIMEOUT)
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
        self, target: Target, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[bytes, bytes]]:
        """Send a request and return status and headers; replace an idle connection that was closed."""
        idle = self._idle_connection(target)
        if idle is not None:
            with suppress(OSError, EOFError):
                return await self._request(idle, target, headers, body)
        return await self._request(await self._connect(target), target, headers, body)

    async def _request(
        self, connection: _Connection, target: Target, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[bytes, bytes]]:
        reader, writer = connection
        is_reusable = False
        try:
            protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
            request = h11.Request(
                method="POST",
                target=target.path,
                headers=[
                    ("Host", target.authority),
                    ("User-Agent", _user_agent()),
                    ("Content-Type", "application/json"),
                    ("Content-Length", str(len(body))),
                    *headers.items(),
                ],
            )
            sent = [
                protocol.send(request),
                protocol.send(h11.Data(data=body)),
                protocol.send(h11.EndOfMessage()),
            ]
            writer.write(b"".join(part or b"" for part in sent))
            await writer.drain()
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
