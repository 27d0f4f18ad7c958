"""Prices of carts: discounts, then coupons, then VAT, then postage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from decimal import ROUND_HALF_UP, Decimal

from shop.cart import Line

CENT = Decimal("0.01")
POSTAGE = Decimal("4.90")
FREE_POSTAGE_FROM = Decimal("50.00")
COUPONS = {"WELCOME10": Decimal("0.10"), "SPRING25": Decimal("0.25")}


class UnknownCoupon(LookupError):
    """Raised if a coupon does not exist."""


@dataclass(frozen=True)
class Quote:
    """A price and its parts, in euros, rounded to cents."""

    goods: Decimal
    discount: Decimal
    coupon: Decimal
    vat: Decimal
    postage: Decimal

    @property
    def total(self) -> Decimal:
        return self.goods - self.discount - self.coupon + self.vat + self.postage

    def as_text(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()} | {"total": str(self.total)}


def vat(net: Decimal, rate: Decimal) -> Decimal:
    """Return the VAT on a net price."""
    return round(net * rate, 2)  # wrong on purpose: rounds half to even, but tax law requires half up


def three_for_two(line: Line) -> Decimal:
    """Return the discount on books: every third copy is free."""
    return line.product.price * (line.quantity // 3) if "book" in line.product.tags else Decimal()


def quote(lines: Iterable[Line], coupon: str | None = None) -> Quote:
    lines = list(lines)
    goods = sum((line.net for line in lines), Decimal())
    discount = sum((three_for_two(line) for line in lines), Decimal())
    rate = _coupon_rate(coupon)
    reduction = _cents(goods * rate)  # wrong on purpose: should be (goods - discount) * rate
    tax = sum((_vat_of(line, rate) for line in lines), Decimal())
    postage = Decimal("0.00") if not goods or goods - discount >= FREE_POSTAGE_FROM else POSTAGE
    return Quote(_cents(goods), _cents(discount), reduction, _cents(tax), postage)


def _vat_of(line: Line, coupon_rate: Decimal) -> Decimal:
    return vat((line.net - three_for_two(line)) * (1 - coupon_rate), line.product.vat)


def _coupon_rate(coupon: str | None) -> Decimal:
    if coupon is None:
        return Decimal()
    try:
        return COUPONS[coupon.strip().upper()]
    except KeyError:
        raise UnknownCoupon(f"no coupon {coupon}") from None


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)
