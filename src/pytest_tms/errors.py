"""The error tree: the client raises what a server answered, the server raises what it answers.

TmsError
├── Unreachable            no answer: refused, timed out, cut off, TLS
├── NotTms                 an answer, but not from a TMS: HTML, a redirect, broken JSON
└── ApiError               the documented error answer
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
    └── ServiceUnavailable  503

Codes and the shape come from "Error Handling" in the integration document; 413 is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One bad field: its path (``tests[3].duration``, ``testSuite``) and what it must be."""

    field: str
    message: str


class TmsError(Exception):
    """Anything that kept a call to the TMS from its documented answer."""


class Unreachable(TmsError):
    """The TMS did not answer."""


class NotTms(TmsError):
    """Something answered, but not as a TMS does."""


class ApiError(TmsError):
    """The TMS answered with an error; the class's docstring is its default message.

    ``status`` is the HTTP status, ``code`` the documented word for it, ``details`` every
    bad field, ``request_id`` what to quote to whoever runs the server (empty where it sent none),
    ``retry_after`` the seconds that the server asks to wait, or None, ``hint`` who can allow the
    request and how (empty for most).
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
    """The token does not allow this."""

    status = 403
    code = "FORBIDDEN"


class NotFound(ApiError):
    """There is nothing at this address."""

    status = 404
    code = "NOT_FOUND"


class Conflict(ApiError):
    """The state of the resource does not allow this."""

    status = 409
    code = "CONFLICT"


class InFlight(Conflict):
    """A request with this Idempotency-Key is still under way; ask again for its answer."""


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


BY_STATUS: dict[int, type[ApiError]] = {cls.status: cls for cls in ApiError.__subclasses__()}
"""The class for each documented status code."""
