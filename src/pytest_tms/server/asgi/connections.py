"""HTTP connections: uvicorn's protocol with timeouts for slow clients, and documented errors for bad HTTP.

uvicorn does not document the class that ``Connection`` extends. If the parts that are used here change,
tests/unit/server/test_uvicorn.py fails.
"""

from __future__ import annotations

import asyncio
import re
import sys
from http import HTTPStatus
from typing import cast

import h11
from litestar.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from pytest_tms.errors import ApiError
from pytest_tms.server import error_responses
from pytest_tms.server.asgi.headers import SECURITY_HEADERS, HeadersTooLarge
from pytest_tms.server.domain.ids import new_id
from pytest_tms.server.request_context import is_stream

HEAD_TIMEOUT = 10.0
"""Seconds in which the whole head of a request has to arrive."""
LINGER_TIMEOUT = 2.0
"""Seconds for which a refused client may continue to send, so that it can read the response."""
MAX_DISCARDED = 1 << 20
"""Bytes that are read from a refused client and discarded."""
MAX_CONNECTIONS = 800
"""Connections of one process: fewer than the 1024 files that it may open on most systems."""
_CODES = {400: "BAD_REQUEST", 431: "HEADERS_TOO_LARGE", 501: "NOT_IMPLEMENTED"}


class Connection(H11Protocol):
    """Closes a connection on which no request is in progress: after a timeout, or to allow a new one.

    Between two requests uvicorn's ``timeout_keep_alive`` applies. ``HEAD_TIMEOUT`` applies to a head that is
    incomplete, and to the rest of a body that was refused.
    """

    _timer: asyncio.TimerHandle | None = None
    _idle_since: float | None = None
    _is_refused = False
    _discarded = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start the timeout; if there are too many connections, close the one that is idle the longest."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._start_timer(HEAD_TIMEOUT)
        # Closed connections stay in the set until the loop's next iteration, and many are made in one.
        if len(self.connections) > MAX_CONNECTIONS:
            opened = [
                each
                for each in self.connections
                if isinstance(each, Connection) and not each.transport.is_closing()
            ]
            idle = [each for each in opened if each._idle_since is not None and each is not self]
            if len(opened) > MAX_CONNECTIONS and idle:
                min(idle, key=lambda each: each._idle_since or 0.0)._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received data, or discard that of a refused client."""
        if self._is_refused:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED:
                self._close()
            return
        super().data_received(data)
        if self._idle_since is not None and self._timer is None:  # the first part of the next head
            self._start_timer(HEAD_TIMEOUT)

    def handle_events(self) -> None:
        """Handle parsed events; a complete head ends the timeout."""
        super().handle_events()
        if self._is_in_progress and not self._is_refused:
            self._idle_since = None
            self._stop_timer()

    def on_response_complete(self) -> None:
        """Start to wait for the next request, or for the rest of a body that was not read."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing() and not self._is_refused:
            self._idle_since = self.loop.time()
            if self.conn.their_state is not h11.IDLE or self.conn.trailing_data[0]:
                self._start_timer(HEAD_TIMEOUT)

    def send_400_response(self, msg: str) -> None:
        """Respond to invalid HTTP with the documented error, and close the connection with a delay.

        uvicorn calls this while it handles the parser's error. Without the delay, a client that is still
        sending would get a reset connection instead of the response.
        """
        self._is_refused = True
        if self._is_in_progress:  # the error is in the body
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(self._refusal(sys.exc_info()[1]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._start_timer(LINGER_TIMEOUT)

    def shutdown(self) -> None:
        """Close the connection if it is idle or has a stream, else after its response."""
        super().shutdown()
        self._end_stream()

    def pause_writing(self) -> None:
        """Wait for a client that reads slowly; drop it if it does not read its stream."""
        super().pause_writing()
        if self._end_stream():
            self.transport.abort()

    def _end_stream(self) -> bool:
        """Disconnect a client that receives a stream, and return whether it did."""
        if not self._is_in_progress or not is_stream(cast("Scope", self.cycle.scope)):
            return False
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        self.transport.close()
        return True

    @property
    def _is_in_progress(self) -> bool:
        """Whether the response to a request is not complete."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation leaves out the initial None
        return cycle is not None and not cycle.response_complete

    def _refusal(self, error: BaseException | None) -> bytes:
        status = getattr(error, "error_status_hint", 400)
        status = status if status in _CODES else 400
        reason = re.sub(
            r"[:\s]*(bytearray\()?b?['\"].*", "", str(error), flags=re.DOTALL
        )  # without the data that was sent
        refusal = ApiError(f"The request is not valid HTTP: {reason}.", code=_CODES[status])
        if status == HeadersTooLarge.status:
            refusal = HeadersTooLarge()
        request_id = new_id("req")
        body = error_responses.body(refusal, request_id)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id.encode()),
            *SECURITY_HEADERS,
            (b"connection", b"close"),
        ]
        start = h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase.encode())
        events = (start, h11.Data(data=body), h11.EndOfMessage())
        return b"".join(self.conn.send(event) or b"" for event in events)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._stop_timer()
        self.transport.close()
