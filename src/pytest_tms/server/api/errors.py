"""Errors out: whatever happens, the documented shape."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException

from pytest_tms import wire
from pytest_tms.errors import BY_STATUS, ApiError, InternalError, TooLarge

LOG = logging.getLogger("pytest_tms.server")


def request_id(request: Request[Any, Any, Any]) -> str:
    """The id that this request was given at the door."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def body(error: ApiError, request_id: str) -> bytes:
    """An error as its documented answer."""
    return msgspec.json.encode(
        wire.ErrorAnswer(
            error=wire.ErrorBody(
                code=error.code,
                message=error.message,
                details=list(error.details),
                request_id=request_id,
                timestamp=wire.timestamp(),
                hint=error.hint or msgspec.UNSET,
            )
        )
    )


def answer_api_error(request: Request[Any, Any, Any], error: ApiError) -> Response[bytes]:
    """What our own code raised."""
    return _answer(request, error, error.status)


def answer_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework raised: an unknown path, a wrong method, a body over the limit."""
    status = error.status_code
    if status == 404:
        return _answer(request, BY_STATUS[404](f"There is nothing at {request.scope['path'][:200]}."), 404)
    if status == 405:
        said = f"{request.method} is not possible here."
        return _answer(request, ApiError(said, code="METHOD_NOT_ALLOWED"), 405, {"Allow": allowed(error)})
    if status == TooLarge.status:
        said = "The request body is larger than 100 MB: submit less at once."
        return _answer(request, TooLarge(said), status)
    if status >= 500:
        return answer_unexpected(request, error)
    kind = BY_STATUS.get(status, BY_STATUS[400])
    return _answer(request, kind(f"{error.detail.rstrip('.')}."), kind.status)


def allowed(error: HTTPException) -> str:
    """Return the field Allow of a 405; a HEAD is possible wherever a GET is."""
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    methods = {method.strip() for method in headers.get("allow", "GET").split(",")}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def answer_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What should not have happened: logged with the request's id, told without details."""
    LOG.error("request %s failed", request_id(request), exc_info=error)
    said = "The server failed; quote the request id to whoever runs it."
    return _answer(request, InternalError(said), InternalError.status)


def _answer(
    request: Request[Any, Any, Any], error: ApiError, status: int, headers: dict[str, str] | None = None
) -> Response[bytes]:
    headers = dict(headers or {})
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["Retry-After"] = str(round(error.retry_after))
    return Response(
        body(error, request_id(request)), status_code=status, headers=headers, media_type=MediaType.JSON
    )
