"""Messages about the server itself, and errors: GET /api, and every answer of status 4xx or 5xx."""

from __future__ import annotations

import msgspec

from pytest_tms.errors import Problem
from pytest_tms.wire.base import Answer


class TokenInfo(Answer, frozen=True, kw_only=True):
    """An API token without its text. No ``environments`` means all; null ``expires_at`` is never."""

    id: str = ""
    scopes: list[str] = []
    environments: list[str] = []
    expires_at: str | None = None


class ServiceInfo(Answer, frozen=True, kw_only=True):
    """The answer to GET on the base URL; ``token`` is the valid API token of the request, if it has one.

    ``suites`` and ``environments`` are those that the server allows, for requests with a valid token.
    """

    service: str = ""
    version: str = ""
    capabilities: list[str] = []
    token: TokenInfo | None = None
    suites: list[str] = []
    environments: list[str] = []


class ErrorBody(Answer, frozen=True, kw_only=True):
    """An error, with every invalid field.

    ``hint`` is an addition: a sentence that says who can allow the request and how. Most errors have none.
    """

    code: str = ""
    message: str = ""
    details: list[Problem] = []
    request_id: str = ""
    timestamp: str = ""
    hint: str | msgspec.UnsetType = msgspec.UNSET


class ErrorAnswer(Answer, frozen=True, kw_only=True):
    """The documented error answer, whatever the status."""

    error: ErrorBody
