"""The pages of the shop, as HTML."""

from __future__ import annotations

from html import escape

from shop.cart import Cart
from shop.prices import quote

STYLE = "body { font: 16px sans-serif; margin: 2em } td { padding: .3em 1em } .total { font-weight: bold }"


def cart_page(cart: Cart) -> str:
    """Return the page of a cart."""
    rows = "".join(
        f"<tr><td>{escape(line.product.name)}</td><td>{line.quantity}</td><td>{line.net} EUR</td></tr>"
        for line in cart.lines
    )
    total = f'<p class="total">{quote(cart.lines).goods} EUR</p>'  # without discount, VAT and postage
    return (
        f"<!doctype html><html lang=en><title>Cart ({len(cart)})</title><style>{STYLE}</style>"
        f"<h1>Your cart</h1><table>{rows}</table>{total}"
    )
