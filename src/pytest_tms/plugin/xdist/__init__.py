"""Sharding, and the workers of pytest-xdist as their controller sees them."""
