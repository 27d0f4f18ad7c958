"""Secrets in the variables of an environment."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping

from pytest_tms.masking.spellings import SHORTEST

SECRET_NAME = re.compile(
    r"token(?!i[sz])|secret|passw(or)?d|passphrase|credential|bearer|jwt|(^|_)(auth|pwd|pat|pass)($|_)"
    r"|(api|access|private|secret|session|signing|encryption|account|storage|master|deploy|license|hmac|ssh)_?key",
    re.IGNORECASE,
)
"""The name of a variable that holds a secret."""

PLAIN_NAME = re.compile(
    r"(^|_)(file|path|dir|directory|sock|socket|ur[li]|endpoint|host|port|ttl|ms|sec|secs|seconds|minutes"
    r"|hours|days|expir\w*|timeout|lifetime|max_?age|length|len|size|count|limit|type|name|user|username|enabled"
    r"|alg|algorithm|issuer|audience|scopes?|policy|version|method|mode|region|provider|rotation|interval)$",
    re.IGNORECASE,
)
"""The end of the name of a variable that is about a secret and does not hold it."""

NOT_SECRET = re.compile(
    r"[+-]?\d{0,7}(\.\d*)?|\*+|true|false|yes|no|on|off|none|null|nil|undefined|unset|enabled|disabled|default"
    r"|required|optional|always|never",
    re.IGNORECASE,
)
"""Values that are not secrets, regardless of the name: short numbers, booleans and words of configuration."""

PATH = re.compile(
    r"(~|\.{1,2}|[A-Za-z]:)?[/\\](([a-z]+[/\\])+[a-z]*|(?=.*[._~-])[\w.~@ -]+[/\\][\w.~@ /\\-]*)"
)
"""A path of two parts or more; base64 that begins with a slash is not one, unless it is all lower case."""

USERINFO = re.compile(r"[a-z][a-z0-9+.-]*://([^:@/?#\s]*)(?::([^\s/?#]*))?@", re.IGNORECASE)
PAIR = re.compile(
    r"(?:password|passwd|pwd|secret|token|api_?key|account_?key|shared_?access_?key|sig|signature)=([^;&\s\"']+)",
    re.IGNORECASE,
)
"""A secret in a connection string, or in the query of a URL."""
LONG_USER = 20
"""The least number of characters of a user in a URL without password that is a token."""


def secrets_in(environ: Mapping[str, str]) -> list[str]:
    """Return the secrets in an environment: values of variables with such names, and passwords in URLs."""
    found: dict[str, None] = {}
    for name, value in environ.items():
        bare = _unquoted(value)
        # PWD is the shell's working directory.
        if name != "PWD" and SECRET_NAME.search(name) and not PLAIN_NAME.search(name):
            found[bare] = None
        if "://" in value:
            for user, password in USERINFO.findall(value):
                for part in (password, user if len(user) >= LONG_USER else ""):
                    found.update({part: None, urllib.parse.unquote(part): None})
        if "=" in value:
            for part in PAIR.findall(value):
                found.update({part: None, urllib.parse.unquote(part): None})
    return [value for value in found if len(value) >= SHORTEST and not _is_plain(value)]


def _unquoted(value: str) -> str:
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1].strip()
    return value


def _is_plain(value: str) -> bool:
    return bool(NOT_SECRET.fullmatch(value) or PATH.fullmatch(value))
