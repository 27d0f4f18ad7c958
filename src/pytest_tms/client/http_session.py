"""How the client sends requests: its token, retries, timeouts, and errors without a response."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Protocol

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError

from pytest_tms.client.job_token import JobToken
from pytest_tms.client.responses import describe_failure, origin_of
from pytest_tms.client.retry_policy import new_retry
from pytest_tms.errors import Unauthorized, Unreachable


class UploadBody(Protocol):
    """A file to upload: bytes that can be read, and iterated as requests does."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""

    def __iter__(self) -> Iterator[bytes]: ...


class HttpSession:
    """Sends requests with the token of a client; ``TmsClient`` describes the parameters.

    ``last_response`` is the last response, None before the first.
    """

    def __init__(
        self, token: str | JobToken, retries: int, connect_timeout: float, read_timeout: float
    ) -> None:
        self.last_response: requests.Response | None = None
        self._token = token
        self._timeout = (connect_timeout, read_timeout)
        self._retry = new_retry(retries)
        self._session = _Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=self._retry))
        self._session.headers.update({"Accept": "application/json", "User-Agent": "pytest-tms"})
        # requests itself prefers its own two variables, if they are set.
        self._session.verify = os.environ.get("SSL_CERT_FILE") or True

    def close(self) -> None:
        """Close the connections; the session must not be used afterwards."""
        self._session.close()

    def send_authorized(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | UploadBody | None = None,
    ) -> requests.Response:
        """Send a request with the client's own token; once more if that of a CI job is refused.

        A body that cannot be read again is sent once.

        Raises:
            Unreachable: no response, or the URL, the token or the proxy cannot be used.
            IdTokenError: there is no ID token, or the TMS does not accept it.
        """
        text = self._token if isinstance(self._token, str) else self._token.text()
        rewind = _rewinding(content)
        response = self.send(method, url, _with_token(headers or {}, text), content)
        if response.status_code == Unauthorized.status and isinstance(self._token, JobToken) and rewind:
            renewed = _with_token(headers or {}, self._token.text(text))
            rewind()
            response = self.send(method, url, renewed, content)
        return response

    def send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | UploadBody | None
    ) -> requests.Response:
        """Send a request with these headers.

        Raises:
            Unreachable: no response, or the URL, the token or the proxy cannot be used.
        """
        try:
            response = self._exchange(method, url, headers, content)
        except requests.RequestException as error:
            if (reason := describe_failure(error)) is not None:
                raise Unreachable(f"{origin_of(url)} does not answer: {reason}.") from error
        except ValueError:
            pass
        except OSError as error:  # requests does not wrap this one
            raise Unreachable(f"{origin_of(url)} cannot be called: {error}.") from error
        else:
            self.last_response = response
            return response
        # Not chained: the text of the error may contain the token.
        raise Unreachable(f"{origin_of(url)} cannot be called: the URL or the token is malformed.") from None

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | UploadBody | None
    ) -> requests.Response:
        """Send a request and read the response. urllib3 retries up to its headers, this function its body."""
        retry = self._retry
        while True:
            try:
                return self._session.request(
                    method,
                    url,
                    headers=headers,
                    data=content,
                    auth=_keep_authorization if "Authorization" in headers else None,
                    timeout=self._timeout,
                )
            except ChunkedEncodingError as error:
                if not retry.total:
                    raise
                retry = retry.increment(method, url, error=error)
                retry.sleep()


def _with_token(headers: Mapping[str, str], token: str) -> Mapping[str, str]:
    return {**headers, "Authorization": f"Bearer {token}"} if token else headers


def _rewinding(content: bytes | UploadBody | None) -> Callable[[], object] | None:
    """Return a function after which a body can be sent again; None if it can be read only once."""
    if content is None or isinstance(content, bytes):
        return lambda: None
    seek, tell = getattr(content, "seek", None), getattr(content, "tell", None)
    if seek is None:
        return None
    try:
        return partial(seek, tell() if tell else 0)
    except OSError:  # a pipe
        return None


class _Session(requests.Session):
    """A session that follows no redirect."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


def _keep_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave a request as it is. Without an ``auth``, requests replaces the token by an entry of netrc."""
    return request
