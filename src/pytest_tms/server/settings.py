"""The server's settings, from ``TMS_SERVER_*`` variables; the options of ``tms serve`` set the same ones."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs

from pytest_tms import wire
from pytest_tms.server.domain import rates

REDIS_SCHEMES = ("redis", "rediss", "redis+unix")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How one server runs. ``database_url`` is SQLAlchemy's; empty means SQLite in ``data_dir``.

    ``keys`` are Fernet keys for secrets at rest, the newest first; empty means the key file in ``data_dir``.
    ``webhook_rate`` is deliveries a second to one webhook, 0 for no limit; ``progress_interval`` is seconds.
    ``shard_silence`` is the seconds after which a shard whose runner reports live is lost, 0 for never.
    ``token_grace`` is the seconds for which an execution's own token outlives it. ``tls_cert`` and
    ``tls_key`` are PEM files, ``trusted_proxies`` the addresses whose X-Forwarded headers are believed.
    ``keep_alive`` is the seconds for which a connection stays open between two requests.
    ``rate_limits`` is what ``model.rates.parse`` reads; ``redis_url`` is where replicas count together.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    data_dir: Path = Path()
    database_url: str = field(default="", repr=False)
    public_url: str = ""
    suites: tuple[str, ...] = wire.SUITES
    environments: tuple[str, ...] = wire.ENVIRONMENTS
    workers: int = 1
    keys: str = field(default="", repr=False)
    allow_insecure_webhooks: bool = False
    webhook_subnets: tuple[str, ...] = ()
    webhook_rate: int = 10
    progress_interval: int = 30
    shard_silence: int = 60
    token_grace: int = 86_400
    keep_alive: int = 75
    tls_cert: str = ""
    tls_key: str = ""
    trusted_proxies: str = "127.0.0.1,::1"
    rate_limits: str = "documented"
    redis_url: str = field(default="", repr=False)

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ, **given: Any) -> ServerSettings:
        """Read the environment; what is ``given`` and not None wins. Raises ValueError in a sentence."""
        values: dict[str, Any] = {
            "host": environ.get("TMS_SERVER_HOST"),
            "port": _number(environ, "TMS_SERVER_PORT", 65_535),
            "data_dir": environ.get("TMS_SERVER_DATA_DIR"),
            "database_url": environ.get("TMS_SERVER_DATABASE_URL"),
            "public_url": environ.get("TMS_SERVER_PUBLIC_URL"),
            "suites": _words(environ.get("TMS_SERVER_SUITES")),
            "environments": _words(environ.get("TMS_SERVER_ENVIRONMENTS")),
            "workers": _number(environ, "TMS_SERVER_WORKERS", 1000),
            "keys": environ.get("TMS_SERVER_KEYS"),
            "allow_insecure_webhooks": bool(_number(environ, "TMS_SERVER_ALLOW_INSECURE_WEBHOOKS", 1)),
            "webhook_subnets": _subnets(environ.get("TMS_SERVER_WEBHOOK_SUBNETS")),
            "webhook_rate": _number(environ, "TMS_SERVER_WEBHOOK_RATE", 100_000),
            "rate_limits": _rate_limits(environ.get("TMS_SERVER_RATE_LIMITS")),
            "redis_url": _redis_url(environ.get("TMS_SERVER_REDIS_URL")),
            "progress_interval": _number(environ, "TMS_SERVER_PROGRESS_INTERVAL", 86_400),
            "shard_silence": _number(environ, "TMS_SERVER_SHARD_SILENCE", 86_400),
            "token_grace": _number(environ, "TMS_SERVER_TOKEN_GRACE", 366 * 86_400),
            "keep_alive": _number(environ, "TMS_SERVER_KEEP_ALIVE", 86_400),
            "tls_cert": environ.get("TMS_SERVER_TLS_CERT"),
            "tls_key": environ.get("TMS_SERVER_TLS_KEY"),
            "trusted_proxies": environ.get("TMS_SERVER_TRUSTED_PROXIES"),
        }
        values.update({name: value for name, value in given.items() if value is not None})
        settings = cls(**{name: value for name, value in values.items() if value not in (None, "")})
        folder = Path(values["data_dir"] or platformdirs.user_data_path("pytest-tms")).expanduser().absolute()
        return replace(settings, data_dir=folder, public_url=settings.public_url.rstrip("/"))

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.data_dir / 'tms.sqlite3'}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        return is_loopback(self.host)

    @property
    def asks_for_login(self) -> bool:
        """Whether every page needs a login: others reach the server, by its address or through a proxy.

        A named proxy is one in front of this server; the default names none.
        """
        public = urlsplit(self.public_url).hostname or self.host
        is_proxied = self.trusted_proxies != ServerSettings.trusted_proxies
        return is_proxied or not (self.is_local and is_loopback(public))

    def prepare(self) -> None:
        """Make the data dir, readable by its owner alone. Raises OSError in a sentence."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.data_dir / "upgrade.lock").touch(mode=0o600)
        except OSError as error:
            raise OSError(
                f"the data dir {self.data_dir} cannot be used ({error.strerror}): choose another --data-dir"
            ) from None

    def environ(self) -> dict[str, str]:
        """These settings as variables, for uvicorn's worker processes."""
        return {
            "TMS_SERVER_HOST": self.host,
            "TMS_SERVER_PORT": str(self.port),
            "TMS_SERVER_DATA_DIR": str(self.data_dir),
            "TMS_SERVER_DATABASE_URL": self.database_url,
            "TMS_SERVER_PUBLIC_URL": self.public_url,
            "TMS_SERVER_SUITES": ",".join(self.suites),
            "TMS_SERVER_ENVIRONMENTS": ",".join(self.environments),
            "TMS_SERVER_KEYS": self.keys,
            "TMS_SERVER_ALLOW_INSECURE_WEBHOOKS": "1" if self.allow_insecure_webhooks else "0",
            "TMS_SERVER_WEBHOOK_SUBNETS": ",".join(self.webhook_subnets),
            "TMS_SERVER_WEBHOOK_RATE": str(self.webhook_rate),
            "TMS_SERVER_RATE_LIMITS": self.rate_limits,
            "TMS_SERVER_REDIS_URL": self.redis_url,
            "TMS_SERVER_PROGRESS_INTERVAL": str(self.progress_interval),
            "TMS_SERVER_SHARD_SILENCE": str(self.shard_silence),
            "TMS_SERVER_TOKEN_GRACE": str(self.token_grace),
            "TMS_SERVER_KEEP_ALIVE": str(self.keep_alive),
        }


def is_loopback(host: str) -> bool:
    """Return whether a host name or an address is that of this machine alone."""
    try:
        if host == "localhost" or host.endswith(".localhost"):
            return True
        address = ipaddress.ip_address(host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    except ValueError:
        return False


def _number(environ: Mapping[str, str], name: str, most: int) -> int | None:
    text = environ.get(name, "")
    if text and not (text.isdecimal() and len(text) < 10 and int(text) <= most):
        raise ValueError(f"{name} is {text!r}: write a whole number up to {most}")
    return int(text) if text else None


def _words(text: str | None) -> tuple[str, ...] | None:
    words = tuple(word.strip() for word in (text or "").split(",") if word.strip())
    return words or None


def _rate_limits(text: str | None) -> str | None:
    if text:
        rates.parse(text)
    return text


def _redis_url(text: str | None) -> str | None:
    if not text:
        return None
    if find_spec("redis") is None:
        raise ValueError('TMS_SERVER_REDIS_URL needs a package: pip install "pytest-tms[redis]"')
    try:
        is_good = urlsplit(text).scheme in REDIS_SCHEMES and urlsplit(text).port != 0
    except ValueError:
        is_good = False
    if not is_good:  # the text is not shown: it may hold a password
        raise ValueError("TMS_SERVER_REDIS_URL is no URL of Redis: write redis://HOST:6379/0")
    return text


def _subnets(text: str | None) -> tuple[str, ...] | None:
    words = _words(text)
    for word in words or ():
        try:
            ipaddress.ip_network(word)
        except ValueError as error:
            raise ValueError(f"TMS_SERVER_WEBHOOK_SUBNETS: {error}: write subnets like 10.1.0.0/16") from None
    return words
