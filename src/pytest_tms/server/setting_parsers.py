"""Parsers of the values of the server's settings.

A parser returns the value of a variable, given its name and its text. It raises ValueError if the text is not
allowed; the message is one sentence for the operator, which names the variable.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from pytest_tms.server.domain import rates
from pytest_tms.server.domain.link_patterns import LinkPatterns
from pytest_tms.server.domain.people import RoleMapping
from pytest_tms.server.domain.people import parse_roles as parse_role_mapping
from pytest_tms.server.domain.retention import Retention
from pytest_tms.server.domain.retention import parse_retention as parse_periods
from pytest_tms.server.domain.trusted_issuers import TrustedIssuers, check_issuer, read_trusted_issuers

REDIS_SCHEMES = ("redis", "rediss", "redis+unix")
OBJECT_STORE_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "file")
LOG_FORMATS = ("auto", "text", "json")
MIN_METRICS_TOKEN = 16
"""Characters of the shortest token for metrics."""


def as_is(_: str, text: str) -> str:
    """Return the text."""
    return text


@dataclass(frozen=True)
class WholeNumber:
    """Parser of a whole number from ``least`` to ``most``."""

    least: int
    most: int

    def __call__(self, variable: str, text: str) -> int:
        """Return the number.

        Raises:
            ValueError: The text is not a whole number in the range.
        """
        if not (text.isdecimal() and len(text) < 10 and self.least <= int(text) <= self.most):
            raise ValueError(f"{variable} is {text!r}: use a whole number from {self.least} to {self.most}")
        return int(text)


class PortNumber(WholeNumber):
    """Parser of a port; 0 stands for any free port."""

    def __init__(self) -> None:
        super().__init__(0, 65_535)

    def __call__(self, variable: str, text: str) -> int:
        """Return the port.

        Raises:
            ValueError: The text is not a port. The message explains the value that Kubernetes sets.
        """
        if text.startswith(("tcp://", "udp://")):
            raise ValueError(
                f"{variable} is {text!r}, which Kubernetes sets for a service named tms-server: set "
                f"enableServiceLinks: false in the spec of the pod, or set {variable} to the port yourself"
            )
        return super().__call__(variable, text)


def parse_flag(variable: str, text: str) -> bool:
    """Return whether the text is 1; only 1 and 0 are allowed."""
    if text not in ("0", "1"):
        raise ValueError(f"{variable} is {text!r}: use 1 for yes or 0 for no")
    return text == "1"


def parse_path(_: str, text: str) -> Path:
    """Return the text as a path."""
    return Path(text)


def parse_words(variable: str, text: str) -> tuple[str, ...]:
    """Return the words of a list with commas, at least one, without empty ones."""
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise ValueError(f"{variable} is {text!r}: write one or more names, separated by commas")
    return words


def parse_proxies(variable: str, text: str) -> str:
    """Return a list of addresses and subnets with commas; ``*`` stands for all."""
    for word in parse_words(variable, text):
        try:
            if word != "*":
                ipaddress.ip_network(word)
        except ValueError as error:
            raise ValueError(
                f"{variable} is {text!r}: {error}; use addresses and subnets separated by commas, such as "
                "10.0.0.5,10.1.0.0/16"
            ) from None
    return text


def parse_public_url(variable: str, text: str) -> str:
    """Return an http or https URL without user, query and fragment."""
    try:
        parsed = urlsplit(text)
        is_valid = parsed.scheme in ("http", "https") and bool(parsed.hostname) and parsed.port != 0
    except ValueError:
        is_valid = False
    has_others = any(each in text for each in "@?# ") or not text.isprintable()
    if text and (not is_valid or has_others):
        raise ValueError(
            f"{variable} is {text!r}: use the http or https URL under which users reach the server, such as "
            "https://tms.example.com"
        )
    return text


def parse_subnets(variable: str, text: str) -> tuple[str, ...]:
    """Return the subnets of a list with commas."""
    subnets = parse_words(variable, text)
    for subnet in subnets:
        try:
            ipaddress.ip_network(subnet)
        except ValueError as error:
            raise ValueError(
                f"{variable} is {text!r}: {error}; use subnets separated by commas, such as 10.1.0.0/16"
            ) from None
    return subnets


def parse_rate_limits(_: str, text: str) -> str:
    """Return the text after a check that ``rates.parse`` accepts it."""
    rates.parse(text)
    return text


def parse_redis_url(variable: str, text: str) -> str:
    """Return the URL of a Redis; the package for it must be installed."""
    if find_spec("redis") is None:
        raise ValueError(f'{variable} needs a package: pip install "pytest-tms[redis]"')
    try:
        is_valid = urlsplit(text).scheme in REDIS_SCHEMES and urlsplit(text).port != 0
    except ValueError:
        is_valid = False
    if not is_valid:  # the value may contain a password, so the message does not
        raise ValueError(f"{variable} is not a Redis URL: use redis://HOST:6379/0")
    return text


def parse_log_format(variable: str, text: str) -> str:
    """Return one of ``LOG_FORMATS``."""
    if text not in LOG_FORMATS:
        raise ValueError(f"{variable} is {text!r}: use {', '.join(LOG_FORMATS[:-1])} or {LOG_FORMATS[-1]}")
    return text


def parse_metrics_token(variable: str, text: str) -> str:
    """Return a token of at least ``MIN_METRICS_TOKEN`` characters."""
    if not (len(text) >= MIN_METRICS_TOKEN and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError(
            f"{variable} cannot be used: use at least {MIN_METRICS_TOKEN} ASCII characters without spaces, "
            "for example the output of `openssl rand -hex 32`"
        )
    return text


def parse_retention(variable: str, text: str) -> Retention:
    """Return how long results are kept."""
    try:
        return parse_periods(text)
    except ValueError as error:
        raise ValueError(f"{variable} is {text!r}: {error}") from None


def parse_link_patterns(variable: str, text: str) -> LinkPatterns:
    """Return the regular expressions of ids that pages link."""
    try:
        return LinkPatterns(text)
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None


def parse_trusted_issuers(variable: str, text: str) -> TrustedIssuers:
    """Return the rules in the file that the variable names."""
    try:
        return read_trusted_issuers(text)
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None


def parse_issuer(variable: str, text: str) -> str:
    """Return the https URL of an OpenID provider."""
    try:
        check_issuer(text)
    except ValueError as error:
        raise ValueError(f"{variable} {error}") from None
    return text


def parse_roles(variable: str, text: str) -> RoleMapping:
    """Return which values of a claim give which role."""
    try:
        return parse_role_mapping(text)
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None


def read_secret(path: str) -> str:
    """Return the secret in a file.

    Raises:
        ValueError: It cannot be read, or is empty.
    """
    try:
        secret = Path(path).read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ValueError(f"{path} cannot be read ({reason}): name a file with the secret alone") from None
    if not secret:
        raise ValueError(f"{path} is empty: write the secret to it")
    return secret


def parse_object_store_url(variable: str, text: str) -> str:
    """Return the URL of an object store."""
    # The value may contain a secret, as in an az:// URL, so the message does not have it.
    if urlsplit(text).scheme not in OBJECT_STORE_SCHEMES:
        raise ValueError(f"{variable} is not the URL of an object store: use s3://, gs:// or az://")
    return text
