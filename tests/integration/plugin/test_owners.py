"""Owners of tests by their markers and by CODEOWNERS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import reported_runs
from tests.helpers.processes import TmsServer

FILES = {
    ".github/CODEOWNERS": "* @everyone\n/tests/pay/ @payments @ada\n/tests/free/\n",
    "tests/pay/test_card.py": """
import pytest

def test_card(): assert 0, "declined"

@pytest.mark.tms(owner="Ada")
def test_refund(): pass

@pytest.mark.parametrize("n", [1])
class TestCoupons:
    def test_coupon(self, n): pass
""",
    "tests/pay/test_marked.py": """
import pytest
pytestmark = pytest.mark.tms(owner="Bob")

def test_voucher(): pass
""",
    "tests/free/test_free.py": "def test_free(): pass",
    "tests/test_any.py": "def test_any(): pass",
    "tests/pay/test_broken.py": "import no_such_module",
}


@pytest.mark.parametrize("mode", reported_runs.MODES)
def test_a_test_has_the_owner_of_its_file_unless_a_marker_names_one(
    mode: str, tms: TmsServer, tmp_path: Path
) -> None:
    ran = reported_runs.run(
        tms, tmp_path, FILES, *reported_runs.MODES[mode], "--continue-on-collection-errors"
    )
    assert {each["nodeId"].removeprefix("tests/"): each.get("owner") for each in ran.stored} == {
        "pay/test_card.py::test_card": "@payments",
        "pay/test_card.py::test_refund": "Ada",
        "pay/test_card.py::TestCoupons::test_coupon[1]": "@payments",
        "pay/test_marked.py::test_voucher": "Bob",
        "free/test_free.py::test_free": None,
        "test_any.py::test_any": "@everyone",
        "pay/test_broken.py": "@payments",
    }
