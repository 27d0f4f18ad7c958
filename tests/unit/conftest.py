"""Unit tests run on every operating system."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test of this folder."""
    item.add_marker(pytest.mark.portable)
