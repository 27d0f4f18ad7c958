"""Tests: ``unit`` and ``integration`` mirror ``src``, ``contract`` follows the API document, ``e2e`` the user."""

import pytest

pytest.register_assert_rewrite("tests.helpers")
