"""The cart: products that a customer is going to buy."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from shop.catalogue import Catalogue, Product

MOST_OF_ONE = 20
"""Maximum quantity of one product in a cart."""


class CartError(ValueError):
    """Raised if a product cannot be added or removed."""


@dataclass(frozen=True)
class Line:
    """A product and its quantity."""

    product: Product
    quantity: int

    @property
    def net(self) -> Decimal:
        return self.product.price * self.quantity


class Cart:
    """The products of one customer, in the order in which they were first added."""

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
        """Add the products of another cart, for example that of a visitor who logs in."""
        for sku, quantity in other._quantities.items():
            self.add(sku, quantity)

    @property
    def lines(self) -> list[Line]:
        return [Line(self._catalogue.product(sku), quantity) for sku, quantity in self._quantities.items()]
