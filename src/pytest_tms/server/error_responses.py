"""Error responses in the documented form: of the application, of the framework, and unexpected ones."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException

from pytest_tms import wire
from pytest_tms.errors import BY_STATUS, ApiError, InternalError, TooLarge
from pytest_tms.server.request_context import request_context

LOG = logging.getLogger("pytest_tms.server")


def body(error: ApiError, request_id: str) -> bytes:
    """Return the body of an error response."""
    return msgspec.json.encode(
        wire.ErrorResponse(
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


def api_error_response(request: Request[Any, Any, Any], error: ApiError) -> Response[bytes]:
    """Return the response to an error of the application."""
    return _response(request, error, error.status)


def http_error_response(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Return the response to an error of the framework: an unknown path, a wrong method, a large body."""
    status = error.status_code
    if status == 404:
        return _response(request, BY_STATUS[404](f"There is nothing at {request.scope['path'][:200]}."), 404)
    if status == 405:
        message = f"{request.method} is not possible here."
        return _response(
            request, ApiError(message, code="METHOD_NOT_ALLOWED"), 405, {"Allow": allowed(error)}
        )
    if status == TooLarge.status:
        message = "The request body is larger than 100 MB: split it into several requests."
        return _response(request, TooLarge(message), status)
    if status >= 500:
        return unexpected_error_response(request, error)
    kind = BY_STATUS.get(status, BY_STATUS[400])
    return _response(request, kind(f"{error.detail.rstrip('.')}."), kind.status)


def allowed(error: HTTPException) -> str:
    """Return the Allow header of a 405; HEAD is allowed wherever GET is."""
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    methods = {method.strip() for method in headers.get("allow", "GET").split(",")}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def unexpected_error_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Log an unexpected error with the id of the request, and return a response without details."""
    LOG.error("request %s failed", request_context(request.scope).request_id, exc_info=error)
    message = "The server failed: report the request id to its operator."
    return _response(request, InternalError(message), InternalError.status)


def _response(
    request: Request[Any, Any, Any], error: ApiError, status: int, headers: dict[str, str] | None = None
) -> Response[bytes]:
    headers = dict(headers or {})
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["Retry-After"] = str(round(error.retry_after))
    return Response(
        body(error, request_context(request.scope).request_id),
        status_code=status,
        headers=headers,
        media_type=MediaType.JSON,
    )
