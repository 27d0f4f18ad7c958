"""The checkout: reserve the products, charge the customer, place the order."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import count
from typing import Protocol

from shop.accounts import Account, Order
from shop.cart import Cart
from shop.prices import Quote, quote

log = logging.getLogger("shop.checkout")


class CheckoutError(RuntimeError):
    """Raised if a purchase fails. Nothing was charged."""


class OutOfStock(CheckoutError):
    """Raised if the warehouse has too few of a product."""


class PaymentDeclined(CheckoutError):
    """Raised if the customer's bank declines the payment."""


class Payments(Protocol):
    """A payment provider."""

    def charge(self, account: str, amount: Decimal) -> str:
        """Charge ``amount`` and return the number of the transaction. Raises PaymentDeclined."""


class Warehouse:
    """The stock of each product, without what is reserved."""

    def __init__(self, stock: dict[str, int]) -> None:
        self._stock = dict(stock)

    def available(self, sku: str) -> int:
        return self._stock.get(sku, 0)

    def reserve(self, sku: str, quantity: int) -> None:
        if (there := self.available(sku)) < quantity:
            raise OutOfStock(f"{quantity} of {sku} wanted, {there} there")
        self._stock[sku] = there - quantity

    def release(self, sku: str, quantity: int) -> None:
        self._stock[sku] = self.available(sku) + quantity


@dataclass(frozen=True)
class Receipt:
    """The result of a purchase."""

    order: Order
    price: Quote
    transaction: str


class Checkout:
    """Completes purchases: a purchase succeeds as a whole or changes nothing."""

    def __init__(self, warehouse: Warehouse, payments: Payments) -> None:
        self._warehouse = warehouse
        self._payments = payments
        self._numbers = count(1)

    def buy(self, account: Account, cart: Cart, *, coupon: str | None = None, today: date) -> Receipt:
        if not len(cart):
            raise CheckoutError("the cart is empty")
        price = quote(cart.lines, coupon)
        reserved: list[tuple[str, int]] = []
        try:
            for line in cart.lines:
                self._warehouse.reserve(line.product.sku, line.quantity)
                reserved.append((line.product.sku, line.quantity))
            transaction = self._payments.charge(account.email, price.total)
        except CheckoutError:
            for sku, quantity in reserved:
                self._warehouse.release(sku, quantity)
            log.warning("gave back %d reservation(s) of %s", len(reserved), account.email)
            raise
        order = Order(f"W-{next(self._numbers)}", today)
        account.orders.append(order)
        log.info("order %s: %s EUR, transaction %s", order.number, price.total, transaction)
        return Receipt(order, price, transaction)
