"""What a response of the TMS means: the message that it contains, or an error; and why there is none."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import TypeVar

import msgspec
import requests
import urllib3.exceptions
from requests.exceptions import ContentDecodingError, InvalidProxyURL, InvalidSchema

from pytest_tms import wire
from pytest_tms.client import calls
from pytest_tms.client.retry_policy import retry_after
from pytest_tms.errors import BY_STATUS, ApiError, InFlight, InternalError, NotTms

T = TypeVar("T")


def error_of(response: requests.Response, origin: str) -> NotTms | ApiError:
    """Return the error that an unexpected response of ``origin`` means."""
    if response.status_code >= 400:
        return _api_error(response, origin)
    return NotTms(f"{origin} redirects elsewhere ({response.status_code}): check the base URL.")


def decode(response: requests.Response, origin: str, gives: type[T]) -> T:
    """Return the message of type ``gives`` that a response of ``origin`` contains.

    Raises:
        NotTms: the response is not that of a TMS.
        ApiError: the response is an error.
    """
    if response.status_code >= 300:
        raise error_of(response, origin)
    try:
        return calls.decoder(gives).decode(response.content or b"{}")
    except msgspec.MsgspecError as error:
        kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
        raise NotTms(
            f"{origin} answered {response.status_code} with {kind}, not as a TMS does: "
            f"check that the base URL includes /api."
        ) from error


def _api_error(response: requests.Response, origin: str) -> ApiError:
    kind = BY_STATUS.get(response.status_code)
    if kind is None:
        kind = BY_STATUS[400] if response.status_code < 500 else InternalError
    wait = retry_after(response.headers)
    if kind.status == InFlight.status and wait is not None:
        kind = InFlight
    try:
        body = calls.decoder(wire.ErrorResponse).decode(response.content).error
    except msgspec.MsgspecError:
        body = wire.ErrorBody(message=f"{origin} answered {response.status_code} {response.reason}.")
    return kind(
        body.message,
        details=body.details,
        hint=body.hint if isinstance(body.hint, str) else "",
        request_id=body.request_id or response.headers.get("X-Request-Id", ""),
        code=body.code,
        retry_after=wait,
    )


def describe_failure(error: requests.RequestException) -> str | None:
    """Return why there is no response, as the end of a sentence; None if the request itself is malformed."""
    causes = list(_causes(error))

    def has(kind: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
        return any(isinstance(cause, kind) for cause in causes)

    if isinstance(error, InvalidSchema) and "SOCKS" in str(error):
        return "a SOCKS proxy needs pip install 'requests[socks]'"
    if isinstance(error, InvalidProxyURL) or has(urllib3.exceptions.ProxySchemeUnknown):
        return "the URL of the proxy in the environment is malformed"
    if isinstance(error, ValueError):
        return None
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"the TLS handshake failed: {cause.reason or cause}"
    last = next((cause for cause in reversed(causes) if isinstance(cause, OSError)), error)
    system = getattr(last, "strerror", None) or str(last)
    if has(urllib3.exceptions.ProxyError):
        return f"the proxy failed: {system}"
    if has(socket.gaierror):
        return "the name does not resolve"
    if has(ConnectionRefusedError):
        return "the connection is refused"
    if has(urllib3.exceptions.NewConnectionError):
        return f"the connection failed: {system}"
    if has(urllib3.exceptions.TimeoutError):
        return "it timed out"
    if isinstance(error, ContentDecodingError):
        return "its response cannot be decompressed"
    return "the connection was cut off"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it wraps, the innermost last."""
    while error is not None:
        yield error
        wrapped = (each for each in error.args if isinstance(each, BaseException))
        error = error.__cause__ or error.__context__ or next(wrapped, None)


def origin_of(url: str) -> str:
    """Return the scheme, host and port of a URL, which are safe to show: no credentials, no query."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}" if rest else url
