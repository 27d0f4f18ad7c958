"""Exceptions of the API: the server raises them, and the client raises the same from the server's response.

TmsError
├── Unreachable            no response: name resolution, refused connection, timeout, TLS, proxy
├── NotTms                 a response that is not from a TMS: HTML, a redirect, broken JSON
├── IdTokenError           a CI job has no ID token, or the TMS does not exchange it for an API token
└── ApiError               the documented error response
    ├── BadRequest          400
    ├── Unauthorized        401
    ├── Forbidden           403
    ├── NotFound            404
    ├── Conflict            409
    │   └── InFlight            409 with Retry-After
    ├── TooLarge            413
    ├── Unprocessable       422
    ├── RateLimited         429
    ├── InternalError       500
    ├── ServiceUnavailable  503
    └── QuotaExceeded       507

The codes are those of "Error Handling" in the API document; 413 and 507 are additions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """An invalid field: its path (``tests[3].duration``, ``testSuite``) and the values that are allowed."""

    field: str
    message: str


class TmsError(Exception):
    """A call to the TMS failed."""


class Unreachable(TmsError):
    """There is no response from the TMS."""


class NotTms(TmsError):
    """The response is not that of a TMS."""


class IdTokenError(TmsError):
    """A CI job has no ID token, or the TMS does not exchange it for an API token."""


class ApiError(TmsError):
    """The TMS responded with an error.

    ``status`` is the HTTP status and ``code`` its documented code. ``message`` is the server's; by default,
    the first line of the class's docstring. ``details`` lists all invalid fields. ``request_id`` identifies
    the request in the server's log, empty if the server sent none. ``retry_after`` is the number of seconds
    that the server asks to wait, or None. ``hint`` says who can allow the request and how, empty for most.
    """

    status: ClassVar[int] = 500
    code: str = "INTERNAL_ERROR"

    def __init__(
        self,
        message: str = "",
        *,
        details: Sequence[Problem] = (),
        request_id: str = "",
        code: str = "",
        retry_after: float | None = None,
        hint: str = "",
    ) -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.details = tuple(details)
        self.request_id = request_id
        self.code = code or type(self).code
        self.retry_after = retry_after
        self.hint = hint
        super().__init__(self.message)

    def __str__(self) -> str:
        fields = "; ".join(f"{problem.field}: {problem.message}" for problem in self.details)
        text = f"{self.message} ({fields})" if fields else self.message
        return f"{text.rstrip('.')}. {self.hint}" if self.hint else text


class BadRequest(ApiError):
    """The request is not well-formed."""

    status = 400
    code = "BAD_REQUEST"


class Unauthorized(ApiError):
    """The API token is missing, unknown or expired."""

    status = 401
    code = "UNAUTHORIZED"


class Forbidden(ApiError):
    """The token does not permit this request."""

    status = 403
    code = "FORBIDDEN"


class NotFound(ApiError):
    """The resource does not exist."""

    status = 404
    code = "NOT_FOUND"


class Conflict(ApiError):
    """The state of the resource does not allow this request."""

    status = 409
    code = "CONFLICT"


class InFlight(Conflict):
    """A request with this Idempotency-Key is still in progress; send it again to get its response."""


class TooLarge(ApiError):
    """The request body is too large."""

    status = 413
    code = "PAYLOAD_TOO_LARGE"


class Unprocessable(ApiError):
    """Request validation failed"""

    status = 422
    code = "VALIDATION_ERROR"


class RateLimited(ApiError):
    """Too many requests."""

    status = 429
    code = "RATE_LIMITED"


class InternalError(ApiError):
    """The server failed."""

    status = 500
    code = "INTERNAL_ERROR"


class ServiceUnavailable(ApiError):
    """The server is not ready; try again later."""

    status = 503
    code = "SERVICE_UNAVAILABLE"


class QuotaExceeded(ApiError):
    """The storage for files is full."""

    status = 507
    code = "QUOTA_EXCEEDED"


BY_STATUS: dict[int, type[ApiError]] = {cls.status: cls for cls in ApiError.__subclasses__()}
"""The class of each documented status."""
