"""A small web shop: catalogue, cart, prices, accounts and checkout."""
