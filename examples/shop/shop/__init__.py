"""A small web shop: what it sells, what a customer puts in the cart, what it costs, and who bought it."""
