"""Fixtures: a shop with a few products, a slow warehouse and payments in memory."""

from __future__ import annotations

import asyncio
import inspect
import time
from datetime import date
from decimal import Decimal

import pytest
from shop.accounts import Account, Accounts
from shop.cart import Cart
from shop.catalogue import Catalogue, Product
from shop.checkout import Checkout, PaymentDeclined, Warehouse

PRODUCTS = [
    Product("B-100", "The Testing Handbook", Decimal("24.00"), Decimal("0.07"), frozenset({"book"})),
    Product("B-101", "Fixtures by Example", Decimal("18.50"), Decimal("0.07"), frozenset({"book"})),
    Product("M-200", "Enamel mug, blue", Decimal("9.90"), tags=frozenset({"kitchen", "gift"})),
    Product("M-201", "Enamel mug, white", Decimal("9.50"), tags=frozenset({"kitchen"})),
    Product("P-300", "Poster: red, green, refactor", Decimal("14.00"), tags=frozenset({"gift"})),
]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run tests that are coroutines, without a plugin. With pytest-asyncio, remove this function."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def attach(request):
    """Attach a file to the test's report; without pytest-tms, do nothing."""
    if request.config.pluginmanager.hasplugin("tms"):
        return request.getfixturevalue("tms").attach
    return lambda content, name="", kind=None: None


class PacedWarehouse(Warehouse):
    """A warehouse with the latency of a real one."""

    latency = 0.06

    def reserve(self, sku: str, quantity: int) -> None:
        time.sleep(self.latency)
        super().reserve(sku, quantity)


class Bank:
    """Payments in memory. Payments of the accounts in ``poor`` are declined."""

    def __init__(self) -> None:
        self.booked: list[tuple[str, Decimal]] = []
        self.poor: set[str] = set()

    def charge(self, account: str, amount: Decimal) -> str:
        if account in self.poor:
            raise PaymentDeclined(f"{account} cannot pay {amount} EUR")
        self.booked.append((account, amount))
        return f"T-{len(self.booked):04}"


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return Catalogue(PRODUCTS)


@pytest.fixture
def cart(catalogue: Catalogue) -> Cart:
    return Cart(catalogue)


@pytest.fixture
def accounts() -> Accounts:
    return Accounts()


@pytest.fixture
def ada(accounts: Accounts) -> Account:
    return accounts.register("ada@example.org", "analytical engine")


@pytest.fixture
def warehouse() -> Warehouse:
    return PacedWarehouse({product.sku: 10 for product in PRODUCTS})


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture
def checkout(warehouse: Warehouse, bank: Bank) -> Checkout:
    return Checkout(warehouse, bank)


@pytest.fixture
def today() -> date:
    return date(2025, 8, 4)


@pytest.fixture
def payment_sandbox():
    print("connecting to the payment provider's sandbox")
    raise ConnectionError("sandbox.payments.example:443 refused the connection")
