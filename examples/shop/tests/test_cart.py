from __future__ import annotations

from decimal import Decimal

import pytest
from shop.cart import Cart, CartError
from shop.catalogue import UnknownProduct


@pytest.mark.smoke
def test_a_new_cart_is_empty(cart):
    assert len(cart) == 0
    assert cart.lines == []


class TestAdding:
    @pytest.mark.smoke
    def test_the_same_product_makes_one_line(self, cart):
        cart.add("M-200")
        cart.add("M-200", 2)
        assert [(line.product.sku, line.quantity) for line in cart.lines] == [("M-200", 3)]

    def test_a_line_knows_its_net_price(self, cart):
        cart.add("B-101", 4)
        assert cart.lines[0].net == Decimal("74.00")

    @pytest.mark.parametrize("quantity", [0, -1, 21], ids=["none", "less than none", "wholesale"])
    def test_refuses_a_quantity_of(self, cart, quantity):
        with pytest.raises(CartError):
            cart.add("M-200", quantity)
        assert len(cart) == 0

    def test_refuses_an_unknown_product(self, cart):
        with pytest.raises(UnknownProduct):
            cart.add("X-999")


class TestRemoving:
    def test_takes_the_whole_line(self, cart):
        cart.add("M-200", 3)
        cart.remove("M-200")
        assert len(cart) == 0

    def test_refuses_what_is_not_there(self, cart):
        with pytest.raises(CartError, match="M-200 is not in the cart"):
            cart.remove("M-200")


def test_a_visitors_cart_is_merged_at_login(cart, catalogue):
    visitor = Cart(catalogue)
    visitor.add("M-200")
    cart.add("M-200")
    cart.add("P-300")
    cart.merge(visitor)
    assert {line.product.sku: line.quantity for line in cart.lines} == {"M-200": 2, "P-300": 1}
