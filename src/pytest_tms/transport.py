"""How a request reaches the TMS: an open connection, retries, the environment's proxy and certificates."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager, exceptions
from urllib3.util import Retry, Timeout, make_headers, parse_url

from pytest_tms.errors import InFlight

RETRIED = (429, 500, 502, 503, 504)
"""Statuses worth another attempt, by "Retry Logic" in the integration document."""
LONGEST_WAIT = 60
"""Seconds that one wait between two attempts may last."""
AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name a file, or a folder, of trusted certificates; the first that is set counts."""


class Transport:
    """Sends one request at a time, and follows no redirect.

    The variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are heeded as curl does. Certificates are
    checked against ``AUTHORITIES``, else against certifi's.
    """

    def __init__(self, retries: int, connect_timeout: float, read_timeout: float) -> None:
        self._retries = retry_policy(retries)
        self._timeout = Timeout(connect=connect_timeout, read=read_timeout)
        self._pools: dict[tuple[str, str], PoolManager] = {}

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> BaseHTTPResponse:
        """The answer, read whole. Raises urllib3's HTTPError where none came, ValueError for a bad URL."""
        pool = self._pool(url)
        return pool.urlopen(
            method,
            url,
            redirect=False,
            body=body,
            headers=headers,
            retries=self._retries,
            timeout=self._timeout,
        )

    def close(self) -> None:
        """Close the connection."""
        for pool in self._pools.values():
            pool.clear()

    def _pool(self, url: str) -> PoolManager:
        scheme = url.partition("://")[0].lower()
        if scheme not in ("http", "https"):
            raise ValueError(f"{scheme}:// is neither http:// nor https://")
        key = (scheme, proxy_of(url))
        if key not in self._pools:
            self._pools[key] = _connections(key[1], _authorities() if scheme == "https" else {})
        return self._pools[key]


class _Retry(Retry):
    """urllib3's policy, but for a server that asks to wait long: its answer is for the caller to see."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        in_flight = status_code == InFlight.status and has_retry_after
        return in_flight or super().is_retry(method, status_code, has_retry_after)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> _Retry:
        if response is not None and (self.get_retry_after(response) or 0) > LONGEST_WAIT:
            raise exceptions.MaxRetryError(_pool, url or "")
        return super().increment(method, url, response, error, _pool, _stacktrace)


def retry_policy(retries: int) -> Retry:
    """When to try a call again: the documented statuses and broken connections, on every method."""
    return _Retry(
        total=retries,
        redirect=0,
        allowed_methods=None,
        status_forcelist=RETRIED,
        backoff_factor=0.5,
        backoff_jitter=0.25,
        backoff_max=LONGEST_WAIT,
        raise_on_status=False,
    )


def proxy_of(url: str) -> str:
    """The proxy that the environment names for ``url``, or an empty text. Raises ValueError for a bad URL."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib.request import getproxies_environment, proxy_bypass

    proxies = getproxies_environment()
    where = parse_url(url)
    host = (where.host or "").strip("[]")
    proxy: str = proxies.get(where.scheme or "http") or proxies.get("all") or ""
    if proxy_bypass(where.netloc or host) or _is_within(host, proxies.get("no", "")):
        return ""
    return proxy if "://" in proxy or not proxy else f"http://{proxy}"


def _is_within(host: str, networks: str) -> bool:
    """Whether a host is an address of one of the networks that NO_PROXY lists, as 10.0.0.0/8."""
    for network in networks.split(","):
        try:
            if "/" in network and ipaddress.ip_address(host) in ipaddress.ip_network(network.strip(), False):
                return True
        except ValueError:
            continue
    return False


def _connections(proxy: str, authorities: dict[str, Any]) -> PoolManager:
    if not proxy:
        return PoolManager(**authorities)
    login = parse_url(proxy).auth
    headers = make_headers(proxy_basic_auth=unquote(login)) if login else None
    try:
        return ProxyManager(proxy, proxy_headers=headers, **authorities)
    except exceptions.ProxySchemeUnknown as error:
        raise exceptions.ProxyError(
            "the environment's proxy is neither http:// nor https://", error
        ) from None


def _authorities() -> dict[str, Any]:
    path = next((os.environ[name] for name in AUTHORITIES if os.environ.get(name)), "")
    if not path:
        import certifi

        path = certifi.where()
    return {"cert_reqs": "CERT_REQUIRED", "ca_cert_dir" if Path(path).is_dir() else "ca_certs": path}
