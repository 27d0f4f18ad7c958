"""What a customer is about to buy."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from shop.catalogue import Catalogue, Product

MOST_OF_ONE = 20
"""More than this of one product is a wholesale order, and not for the web shop."""


class CartError(ValueError):
    """The cart cannot take this."""


@dataclass(frozen=True)
class Line:
    """One product and how many of it."""

    product: Product
    quantity: int

    @property
    def net(self) -> Decimal:
        return self.product.price * self.quantity


class Cart:
    """Lines in the order in which their products were first added."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._quantities: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(self._quantities.values())

    def add(self, sku: str, quantity: int = 1) -> None:
        self._catalogue.product(sku)
        if quantity < 1:
            raise CartError(f"cannot add {quantity} of {sku}")
        if (total := self._quantities.get(sku, 0) + quantity) > MOST_OF_ONE:
            raise CartError(f"at most {MOST_OF_ONE} of one product, not {total}")
        self._quantities[sku] = total

    def remove(self, sku: str) -> None:
        if self._quantities.pop(sku, None) is None:
            raise CartError(f"{sku} is not in the cart")

    def merge(self, other: Cart) -> None:
        """Take over what a visitor collected before logging in."""
        for sku, quantity in other._quantities.items():
            self.add(sku, quantity)

    @property
    def lines(self) -> list[Line]:
        return [Line(self._catalogue.product(sku), quantity) for sku, quantity in self._quantities.items()]
