"""One signed POST: to an address that was checked, within a deadline, and nothing followed."""

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
from pytest_tms.server.domain.delivery_policy import Response
from pytest_tms.server.domain.egress import SUBNETS_REMEDY, Address, EgressPolicy, Target

TIMEOUT = 15.0
"""Seconds from the name's resolution to the end of the answer."""
LARGEST_ANSWER = 4096
"""Bytes of an answer's body that are read; where there are more, the connection is closed."""
KEPT_ALIVE = 5.0
"""Seconds for which a connection waits for the next delivery."""
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Tls = Callable[[], ssl.SSLContext]

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Refused(Exception):
    """The target is one that webhooks may not go to."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as the system has them. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class NameLookups:
    """Resolves names on threads of its own, so that dead name servers hold up nothing else."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, name)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name, as the system has them. Raises OSError."""
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [str(each[4][0]) for each in found]

    def close(self) -> None:
        """Start no further look-ups; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@cache
def tls() -> ssl.SSLContext:
    """TLS that believes whom the system believes; OpenSSL's variable SSL_CERT_FILE names others."""
    return ssl.create_default_context()


class HttpSender:
    """Sends to one webhook, over connections that stay open between deliveries. For one event loop.

    ``targets`` says where it may go. A name is resolved once for each connection, by ``resolve``, and the
    connection goes to one of the very addresses that were checked; ``tls`` checks the certificate against
    the name.
    """

    def __init__(self, targets: EgressPolicy, resolve: Resolve = resolve, tls: Tls = tls) -> None:
        self._targets = targets
        self._resolve = resolve
        self._tls = tls
        self._lookup = asyncio.Lock()
        self._idle: list[tuple[Target, float, _Connection]] = []

    async def send(
        self,
        url: str,
        secrets: Sequence[str],
        message_id: str,
        body: bytes,
        custom: Mapping[str, str] = MappingProxyType({}),
    ) -> Response:
        """Send one delivery, with ``custom`` headers beside our own.

        Never raises for what the endpoint does: the response says what went wrong.
        """
        begun = time.monotonic()

        def ended(reason: str, code: int = 0) -> Response:
            return Response(code=code, milliseconds=round((time.monotonic() - begun) * 1000), reason=reason)

        try:
            target = self._targets.parse(url)
        except ValueError as error:  # the operator may have changed what is allowed
            return ended(f"the URL {str(error)[0].lower()}{str(error)[1:]}")
        try:
            headers = {**custom, **signing.sign(secrets, message_id, int(time.time()), body)}
            code, answered = await asyncio.wait_for(self._exchange(target, headers, body), TIMEOUT)
        except Refused as error:
            return ended(str(error))
        except (TimeoutError, asyncio.TimeoutError):
            return ended(f"no whole answer came within {TIMEOUT:.0f} s")
        except ssl.SSLCertVerificationError as error:
            return ended(f"its TLS certificate is not accepted: {error.verify_message}")
        except ssl.SSLError:
            return ended("it does not speak TLS as it should")
        except socket.gaierror:
            return ended("its name does not resolve")
        except ConnectionRefusedError:
            return ended("the connection is refused")
        except (OSError, EOFError):
            return ended("the connection was cut off")
        except h11.RemoteProtocolError:
            return ended("it does not speak HTTP as it should")
        milliseconds = round((time.monotonic() - begun) * 1000)
        reason = None if 200 <= code < 300 else f"it answered {code}"
        if 300 <= code < 400:
            reason = f"it redirects ({code}), which is not followed"
        wait = _retry_after(answered.get(b"retry-after", b""))
        return Response(code=code, milliseconds=milliseconds, reason=reason, retry_after=wait)

    async def close(self) -> None:
        """Close the connections that are open."""
        while self._idle:
            _, _, (_, writer) = self._idle.pop()
            writer.close()

    async def _exchange(
        self, target: Target, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[bytes, bytes]]:
        """One request and its answer; a kept connection that died meanwhile is replaced once."""
        kept = self._kept(target)
        if kept is not None:
            with suppress(OSError, EOFError):
                return await self._ask(kept, target, headers, body)
        return await self._ask(await self._connect(target), target, headers, body)

    async def _ask(
        self, connection: _Connection, target: Target, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[bytes, bytes]]:
        reader, writer = connection
        clean = False
        try:
            protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=65536)
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
            answer: h11.Response | None = None
            read = 0
            while True:
                event = protocol.next_event()
                if event is h11.NEED_DATA:
                    data = await reader.read(LARGEST_ANSWER)
                    if not data and answer is None:
                        raise EOFError
                    protocol.receive_data(data)
                elif isinstance(event, h11.Response):
                    answer = event
                elif isinstance(event, h11.Data):
                    read += len(event.data)
                    if read > LARGEST_ANSWER:
                        break
                elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                    clean = protocol.our_state is h11.DONE and protocol.their_state is h11.DONE
                    clean = clean and not protocol.trailing_data[0]
                    break
            if answer is None:
                raise EOFError
            return answer.status_code, dict(answer.headers)
        finally:
            if clean:
                self._idle.append((target, time.monotonic(), connection))
            else:
                writer.transport.abort()

    def _kept(self, target: Target) -> _Connection | None:
        found = None
        now = time.monotonic()
        while self._idle and found is None:
            its, since, (reader, writer) = self._idle.pop()
            if its.authority != target.authority or its.scheme != target.scheme or now - since > KEPT_ALIVE:
                writer.close()
            elif not writer.is_closing() and not reader.at_eof():
                found = (reader, writer)
        return found

    async def _connect(self, target: Target) -> _Connection:
        """A connection to an address that is allowed, tried in the order that the name resolves to."""
        async with self._lookup:  # a dead name server holds up one thread of each webhook, not sixteen
            found = await self._resolve(target.host, target.port)
        allowed = [each for each in found if self._targets.allows(_address(each))]
        if not allowed:
            raise Refused(f"its name does not lead to a public address ({SUBNETS_REMEDY})")
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
    """Milliseconds that a Retry-After asks for, as seconds or as a date."""
    text = value.decode("latin-1").strip()
    if text.isdecimal() and len(text) < 10:
        return int(text) * 1000
    try:
        at = email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None
    return max(0, round((at - time.time()) * 1000))
