"""The products that the shop sells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal


class UnknownProduct(LookupError):
    """Raised if there is no product with a number."""


@dataclass(frozen=True)
class Product:
    """A product. ``price`` is net, in euros."""

    sku: str
    name: str
    price: Decimal
    vat: Decimal = Decimal("0.19")
    tags: frozenset[str] = frozenset()


class Catalogue:
    """The products by number, with a search in names and tags."""

    def __init__(self, products: Iterable[Product]) -> None:
        self._products = {product.sku: product for product in products}

    def __len__(self) -> int:
        return len(self._products)

    def product(self, sku: str) -> Product:
        try:
            return self._products[sku]
        except KeyError:
            raise UnknownProduct(f"no product {sku}") from None

    def search(self, words: str) -> list[Product]:
        """Return the products whose name or tags contain every word, the cheapest first."""
        wanted = words.casefold().split()
        found = [product for product in self._products.values() if _matches(product, wanted)]
        return sorted(found, key=lambda product: (product.price, product.sku))


def _matches(product: Product, wanted: list[str]) -> bool:
    text = " ".join([product.name, *product.tags]).casefold()
    return bool(wanted) and all(word in text for word in wanted)
