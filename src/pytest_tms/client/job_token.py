"""The API token of a CI job, which it gets for its ID token."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pytest_tms import wire
from pytest_tms.client.responses import origin_of
from pytest_tms.errors import Forbidden, IdTokenError, NotFound, TmsError, Unauthorized

MARGIN = 300.0
"""Seconds before its end from which on a token is replaced; at most a quarter of its validity."""
RENEWAL_INTERVAL = 30.0
"""Seconds after a renewal that failed, while the token is still valid."""


class JobToken:
    """An API token for ``TmsClient``, exchanged for an ID token before the first call and before it expires.

    ``fetch`` returns an ID token for an audience, which is the origin of ``base_url``; ``name`` describes in
    sentences where it comes from. ``on_issued`` is called with the text of each API token, for example to
    mask it. ``retries`` are those of the exchange. Clients on several threads may share it.
    """

    def __init__(
        self,
        base_url: str,
        fetch: Callable[[str], str],
        *,
        name: str = "this job",
        on_issued: Callable[[str], object] = lambda _: None,
        retries: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url = base_url
        self._fetch = fetch
        self._name = name
        self._on_issued = on_issued
        self._retries = retries
        self._clock = clock
        self._lock = threading.Lock()
        self._issued: wire.IssuedToken | None = None
        self._ends_at = 0.0
        self._renew_at = 0.0

    def __repr__(self) -> str:
        return f"JobToken({self._base_url!r}, name={self._name!r})"

    def text(self, refused: str = "") -> str:
        """Return the text of a valid API token.

        ``refused`` is the text of one that the server has refused, which is replaced.

        Raises:
            IdTokenError: there is no ID token, or the server does not accept it.
            TmsError: the server cannot be reached, or fails.
        """
        with self._lock:
            issued = self._issued
            if issued is not None and issued.token != refused and self._clock() < self._renew_at:
                return issued.token
            try:
                self._issued = issued = self._exchange()
            except TmsError:
                if issued is None or issued.token == refused or self._clock() >= self._ends_at:
                    raise
                self._renew_at = self._clock() + RENEWAL_INTERVAL
            else:
                now = self._clock()
                self._ends_at = now + issued.expires_in
                self._renew_at = self._ends_at - min(MARGIN, issued.expires_in / 4)
                self._on_issued(issued.token)
            return issued.token

    def _exchange(self) -> wire.IssuedToken:
        from pytest_tms.client.client import TmsClient

        id_token = self._fetch(origin_of(self._base_url))
        try:
            with TmsClient(self._base_url, retries=self._retries) as client:
                issued = client.exchange_id_token(id_token)
        except NotFound:
            raise IdTokenError(
                f"There is no API token, and {origin_of(self._base_url)} does not exchange ID tokens: "
                "set TMS_API_TOKEN."
            ) from None
        except (Unauthorized, Forbidden) as error:
            hint = error.hint or "Check the ID token of the job, or set TMS_API_TOKEN."
            raise IdTokenError(
                f"The TMS refuses the ID token of {self._name}: {error.message} {hint}"
            ) from None
        if not issued.token:
            raise IdTokenError("The response to the exchange of the ID token has no API token.")
        return issued
