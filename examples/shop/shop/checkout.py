"""From the cart to the receipt: reserve the goods, take the money, place the order."""

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
    """The purchase did not happen, and nothing was charged."""


class OutOfStock(CheckoutError):
    """The warehouse has too few."""


class PaymentDeclined(CheckoutError):
    """The customer's bank said no."""


class Payments(Protocol):
    """Whoever takes the money."""

    def charge(self, account: str, amount: Decimal) -> str:
        """Take ``amount`` and return the transaction's number, or raise PaymentDeclined."""


class Warehouse:
    """How many of each product there are; what is reserved is gone for everyone else."""

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
    """What the customer gets in the end."""

    order: Order
    price: Quote
    transaction: str


class Checkout:
    """Turns carts into receipts: a purchase happens as a whole or not at all."""

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
