"""Rules by which ID tokens of CI jobs are exchanged for API tokens, in a TOML file of the operator.

Each ``[[rule]]`` names an issuer and claims. The first rule that a token matches decides what its job may do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pytest_tms.server.domain.api_tokens import SCOPES
from pytest_tms.server.domain.durations import parse_duration
from pytest_tms.server.domain.hosts import is_loopback

DEFAULT_SCOPES = ("executions:read", "executions:write")
MAX_VALIDITY = 24 * 3600 * 1000
"""Milliseconds for which the token of a job is valid, at most."""
DEFAULT_VALIDITY = "6h"
MAX_FILE = 1_000_000
"""Bytes of the largest file with rules."""

SHARED_ISSUERS: Mapping[str, Mapping[str, str]] = {
    "https://token.actions.githubusercontent.com": {
        "repository": "/",
        "repository_id": "",
        "repository_owner": "",
        "repository_owner_id": "",
        "enterprise": "",
        "enterprise_id": "",
        "job_workflow_ref": "/",
        "sub": "/",
    },
    "https://gitlab.com": {
        "project_path": "/",
        "project_id": "",
        "namespace_path": "/",
        "namespace_id": "",
        "sub": "/",
    },
    "https://agent.buildkite.com": {
        "organization_slug": "",
        "organization_id": "",
        "pipeline_id": "",
        "sub": ":pipeline:",
    },
}
"""The claims that name the owner of a job, by the issuers whose tokens everybody can get.

A rule needs one of them. A wildcard in it is allowed only after the text that ends the owner's name; where
that is empty, there is none.
"""

Value = str | int | bool | list[str | int]


class _WrittenRule(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A rule as the file has it."""

    issuer: str
    claims: dict[str, Value] = {}
    audience: str | list[str] = []
    scopes: list[str] = msgspec.field(default_factory=lambda: list(DEFAULT_SCOPES))
    environments: list[str] = []
    expires: str = DEFAULT_VALIDITY


class _WrittenRules(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    rule: list[_WrittenRule]


@dataclass(frozen=True, kw_only=True)
class TrustRule:
    """A rule: tokens of ``issuer`` for one of ``audiences`` that have all ``claims`` give ``scopes``.

    Each claim has patterns, one of which its value must match; ``*`` stands for any text. Empty
    ``environments`` are all. ``validity`` is the milliseconds for which the API token is valid.
    """

    issuer: str
    audiences: tuple[str, ...]
    claims: Mapping[str, tuple[str, ...]]
    scopes: tuple[str, ...]
    environments: tuple[str, ...]
    validity: int

    def mismatches(self, claims: Mapping[str, Any]) -> list[str]:
        """Return the names of the claims that a token lacks or has with another value; none if it matches."""
        audience = claims.get("aud")
        sent = [audience] if isinstance(audience, str) else audience
        is_for_us = isinstance(sent, list) and bool(sent) and all(each in self.audiences for each in sent)
        return ([] if is_for_us else ["aud"]) + [
            name
            for name, patterns in self.claims.items()
            if not any(_matches(pattern, text) for text in _texts(claims.get(name)) for pattern in patterns)
        ]


@dataclass(frozen=True)
class TrustedIssuers:
    """The rules of one file, in its order; its text is the path of the file."""

    path: str = ""
    rules: tuple[TrustRule, ...] = ()

    def __str__(self) -> str:
        return self.path

    @property
    def issuers(self) -> tuple[str, ...]:
        """The trusted issuers, each once."""
        return tuple(dict.fromkeys(rule.issuer for rule in self.rules))

    def of(self, issuer: str) -> tuple[TrustRule, ...]:
        """Return the rules of an issuer, none if it is not trusted."""
        return tuple(rule for rule in self.rules if rule.issuer == issuer)

    def completed(self, public_url: str) -> TrustedIssuers:
        """Return the rules with the origin of ``public_url`` as the audience of those that name none.

        Without a URL they have none, and match nothing.
        """
        parts = urlsplit(public_url)
        origin = (f"{parts.scheme}://{parts.netloc}",) if parts.netloc else ()
        rules = (replace(rule, audiences=rule.audiences or origin) for rule in self.rules)
        return replace(self, rules=tuple(rules))

    def check(self, environments: Sequence[str]) -> None:
        """Check that each rule can match and gives access to environments of the server.

        Raises:
            ValueError: A rule has no audience, or an environment that is not one of ``environments``.
        """
        for number, rule in enumerate(self.rules, 1):
            if not rule.audiences:
                raise ValueError(
                    f"rule {number} of {self.path} names no audience: write the URL by which CI jobs reach "
                    "this server, without /api, or set TMS_SERVER_PUBLIC_URL"
                )
            if unknown := sorted(set(rule.environments) - set(environments)):
                raise ValueError(
                    f"rule {number} of {self.path} has the environment {unknown[0]!r}: use one of "
                    f"{', '.join(environments)}, or add it to TMS_SERVER_ENVIRONMENTS"
                )


def read_trusted_issuers(path: str) -> TrustedIssuers:
    """Return the rules in a file.

    Raises:
        ValueError: The file cannot be read, or a rule is not valid or trusts everybody. The message says what
            to write.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): name a readable TOML file") from None
    if len(content) > MAX_FILE:
        raise ValueError(f"{path} has more than {MAX_FILE:,} bytes: remove rules")
    try:
        written = msgspec.toml.decode(content, type=_WrittenRules)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} does not have rules: {error}; each begins with [[rule]]") from None
    if not written.rule:
        raise ValueError(f"{path} has no rule: write at least one [[rule]]")
    rules = []
    for number, each in enumerate(written.rule, 1):
        try:
            rules.append(_rule(each))
        except ValueError as error:
            raise ValueError(f"rule {number} of {path} {error}") from None
    return TrustedIssuers(path, tuple(rules))


def check_issuer(url: str) -> None:
    """Check the URL of an issuer: https, or http on this machine for tests.

    Raises:
        ValueError: It is another one. The message is the end of a sentence.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    is_plain = url.isascii() and url.isprintable() and " " not in url and not (parts.query or parts.fragment)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    if not (is_plain and is_safe and host) or parts.username is not None:
        raise ValueError(
            f"has the issuer {url[:200]!r}: use an https URL without query, such as "
            "https://token.actions.githubusercontent.com"
        )


def _rule(written: _WrittenRule) -> TrustRule:
    check_issuer(written.issuer)
    claims = {name: tuple(_texts(value)) for name, value in written.claims.items()}
    _check_claims(written.issuer, claims)
    audiences = (written.audience,) if isinstance(written.audience, str) else tuple(written.audience)
    if "" in audiences:
        raise ValueError("has an empty audience: write the URL of this server")
    for scope in written.scopes:
        if scope not in SCOPES or scope == "admin":
            allowed = ", ".join(each for each in SCOPES if each != "admin")
            raise ValueError(f"has the scope {scope!r}: use {allowed}")
    if not written.scopes:
        raise ValueError("has no scopes: leave scopes out for executions:read and executions:write")
    try:
        validity = parse_duration(written.expires)
    except ValueError as error:
        raise ValueError(f"has expires = {written.expires!r}: {error}") from None
    if validity > MAX_VALIDITY:
        raise ValueError(f"has expires = {written.expires!r}: use at most 24h")
    return TrustRule(
        issuer=written.issuer,
        audiences=audiences,
        claims=claims,
        scopes=tuple(written.scopes),
        environments=tuple(written.environments),
        validity=validity,
    )


def _check_claims(issuer: str, claims: Mapping[str, tuple[str, ...]]) -> None:
    """Check that claims restrict whose jobs are trusted.

    Raises:
        ValueError: They do not. The message is the end of a sentence.
    """
    if not claims:
        raise ValueError(
            f"names no claims, so it would trust every job of {issuer}: write "
            'claims = { repository = "OWNER/NAME" } or similar'
        )
    for name, patterns in claims.items():
        if not patterns or "" in patterns:
            raise ValueError(f"has no value for the claim {name}: write a text that is not empty")
    if all(any(set(pattern) <= {"*"} for pattern in patterns) for patterns in claims.values()):
        raise ValueError(f"allows every value of {', '.join(claims)}: write at least one without a wildcard")
    owners = SHARED_ISSUERS.get(issuer.rstrip("/"))
    if owners is not None and not any(
        name in claims and all(_names_owner(pattern, end) for pattern in claims[name])
        for name, end in owners.items()
    ):
        raise ValueError(
            f"does not name whose jobs of {issuer} it trusts, so jobs of others could match: add one of "
            f"{', '.join(owners)}, with a wildcard at most after the owner"
        )


def _names_owner(pattern: str, end: str) -> bool:
    """Return whether a pattern has no wildcard before the text that ends the name of the owner."""
    return "*" not in pattern or bool(end and end in pattern.partition("*")[0])


def _texts(value: object) -> Iterator[str]:
    """Yield the values of a claim as texts: true and false as in JSON."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, bool):
            yield str(each).lower()
        elif isinstance(each, (str, int)):
            yield str(each)


def _matches(pattern: str, text: str) -> bool:
    """Return whether a text matches a pattern, in linear time: the text comes from outside."""
    first, *parts = pattern.split("*")
    if not parts:
        return text == first
    position, end = len(first), len(text) - len(parts[-1])
    if not (text.startswith(first) and text.endswith(parts[-1]) and position <= end):
        return False
    for part in parts[:-1]:
        found = text.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def describe_mismatches(rules: Collection[TrustRule], claims: Mapping[str, Any]) -> str:
    """Return which claims do not match, by the rule that is closest: names only, never a value of a rule."""
    found = sorted((rule.mismatches(claims) for rule in rules), key=len)
    return " and ".join(found[0])
