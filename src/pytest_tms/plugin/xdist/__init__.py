"""Sharding, and the workers of pytest-xdist."""
