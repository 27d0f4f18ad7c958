"""Messages about the server, tokens and errors: GET /api, POST /auth/token, and every error response."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pytest_tms.errors import Problem
from pytest_tms.wire.base import ClientMessage, ServerMessage

IdToken = Annotated[str, msgspec.Meta(min_length=1, max_length=16_384)]


class TokenInfo(ServerMessage, frozen=True, kw_only=True):
    """An API token without its value. Empty ``environments`` are all; null ``expires_at`` is never."""

    id: str = ""
    scopes: list[str] = []
    environments: list[str] = []
    expires_at: str | None = None


class ServiceInfo(ServerMessage, frozen=True, kw_only=True):
    """The response to GET on the base URL; ``token`` is the valid API token of the request, if it has one.

    ``suites`` and ``environments`` are those that the server allows, for requests with a valid token.
    """

    service: str = ""
    version: str = ""
    capabilities: list[str] = []
    token: TokenInfo | None = None
    suites: list[str] = []
    environments: list[str] = []


class TokenRequest(ClientMessage, frozen=True, kw_only=True):
    """The request of POST /auth/token: an ID token of a CI job, which the server exchanges for a token."""

    id_token: IdToken


class IssuedToken(ServerMessage, frozen=True, kw_only=True):
    """The response to POST /auth/token: an API token with its value, and what it permits.

    Empty ``environments`` are all. ``expires_in`` is the number of seconds for which it is valid.
    """

    token: str = ""
    id: str = ""
    name: str = ""
    scopes: list[str] = []
    environments: list[str] = []
    expires_in: int = 0


class ErrorBody(ServerMessage, frozen=True, kw_only=True):
    """An error, with every invalid field.

    ``hint`` is an addition: a sentence with the setting by which an operator can allow the request; it is
    absent in most errors.
    """

    code: str = ""
    message: str = ""
    details: list[Problem] = []
    request_id: str = ""
    timestamp: str = ""
    hint: str | msgspec.UnsetType = msgspec.UNSET


class ErrorResponse(ServerMessage, frozen=True, kw_only=True):
    """The documented body of an error response, for every status."""

    error: ErrorBody
