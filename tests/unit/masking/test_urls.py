"""URLs without credentials."""

from __future__ import annotations

import pytest

from pytest_tms.masking.urls import without_credentials


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://tms.example/api", "https://tms.example/api"),
        ("https://me:secret@tms.example:8443/api", "https://tms.example:8443/api"),
        ("https://me:p@ss@tms.example/a@b", "https://tms.example/a@b"),
        ("local", "local"),
        ("", ""),
    ],
)
def test_user_and_password_are_removed(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
