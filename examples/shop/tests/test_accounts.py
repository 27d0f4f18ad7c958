from __future__ import annotations

from datetime import date

import pytest
from shop.accounts import AccountError, Order


@pytest.mark.smoke
def test_a_customer_logs_in_with_the_password(accounts, ada):
    assert accounts.log_in("Ada@Example.org ", "analytical engine") is ada


@pytest.mark.parametrize(
    ("email", "password"),
    [("nobody", "long enough to pass"), ("bob@example.org", "short")],
    ids=["no domain", "short password"],
)
def test_registration_refuses(accounts, email, password):
    with pytest.raises(AccountError):
        accounts.register(email, password)


def test_an_address_is_registered_once(accounts, ada):
    with pytest.raises(AccountError, match="is taken"):
        accounts.register("ADA@example.org", "another long one")


def test_the_password_is_not_kept(ada):
    assert b"analytical" not in ada.password_hash


@pytest.mark.slow
def test_the_third_failure_locks_the_account(accounts, ada):
    for _ in range(3):
        with pytest.raises(AccountError, match="wrong e-mail address or password"):
            accounts.log_in(ada.email, "difference engine")
    with pytest.raises(AccountError, match="too many failures"):
        accounts.log_in(ada.email, "analytical engine")


def test_the_newest_order_stands_first(ada):
    ada.orders += [Order(f"W-{day}", date(2025, 8, day)) for day in range(8, 12)]
    assert ada.history() == ["W-11", "W-10", "W-9", "W-8"]
