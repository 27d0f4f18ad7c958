from __future__ import annotations

from decimal import Decimal

import pytest
from shop.prices import UnknownCoupon, quote, vat


class TestVat:
    @pytest.mark.parametrize(
        ("net", "rate", "expected"),
        [
            pytest.param("100.00", "0.19", "19.00", id="standard"),
            pytest.param("24.00", "0.07", "1.68", id="books"),
            pytest.param("1.50", "0.07", "0.11", id="half a cent"),
        ],
    )
    def test_on(self, net, rate, expected):
        assert vat(Decimal(net), Decimal(rate)) == Decimal(expected)


class TestDiscounts:
    @pytest.mark.parametrize(("books", "discount"), [(3, "24.00"), (7, "48.00")], ids=["three", "seven"])
    def test_every_third_book_is_free(self, cart, books, discount):
        cart.add("B-100", books)
        assert quote(cart.lines).discount == Decimal(discount)

    def test_mugs_have_no_discount(self, cart):
        cart.add("M-200", 3)
        assert quote(cart.lines).discount == 0

    @pytest.mark.smoke
    def test_a_coupon_lowers_the_price(self, cart):
        cart.add("P-300")
        assert quote(cart.lines, "welcome10").coupon == Decimal("1.40")

    def test_a_coupon_counts_after_the_discount(self, cart):
        cart.add("B-100", 3)
        price = quote(cart.lines, "SPRING25")
        print("quoted", price.total, "EUR for", [(line.product.name, line.quantity) for line in cart.lines])
        assert price.as_text() == {
            "goods": "72.00",
            "discount": "24.00",
            "coupon": "12.00",
            "vat": "2.52",
            "postage": "4.90",
            "total": "43.42",
        }

    def test_an_unknown_coupon_is_refused(self, cart):
        cart.add("P-300")
        with pytest.raises(UnknownCoupon, match="no coupon SUMMER"):
            quote(cart.lines, "SUMMER")

    @pytest.mark.xfail(reason="SHOP-212: two coupons at once are not built yet", raises=AttributeError)
    def test_two_coupons_add_up(self, cart):
        cart.add("P-300")
        assert quote(cart.lines, ["WELCOME10", "SPRING25"]).coupon == Decimal("4.90")


class TestPostage:
    def test_is_added_to_a_small_order(self, cart):
        cart.add("M-201")
        assert quote(cart.lines).postage == Decimal("4.90")

    def test_is_free_from_fifty_euros(self, cart):
        cart.add("P-300", 4)
        assert quote(cart.lines).postage == 0
