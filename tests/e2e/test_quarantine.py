"""A person puts a test into quarantine and removes it, in a real browser, by keyboard and without scripts."""

from __future__ import annotations

import uuid
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.helpers.api import Api, result

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
UNTIL = str(date.today() + timedelta(days=9))


@pytest.mark.parametrize("has_scripts", [True, False])
def test_a_test_is_put_into_quarantine_on_the_page_and_removed_on_that_of_the_test(
    sqlite_api: Api,
    browser: Browser,
    has_scripts: bool,
) -> None:
    name = uuid.uuid4().hex[:8]
    execution = sqlite_api.create(metadata={"project": name, "branch": name})
    node_id = f"tests/test_{name}.py::test_flaky"
    failed = {**result("test_flaky", "failed", error="wrong"), "nodeId": node_id}
    sqlite_api.submit(execution, tests=[failed])
    context = browser.new_context(java_script_enabled=has_scripts)
    tab = context.new_page()
    tab.goto(f"{sqlite_api.root}/")
    tab.get_by_role("link", name="Quarantine").click()
    tab.get_by_text("Put a test into quarantine").click()
    tab.get_by_label("Node ID of the test").fill(f"{node_id}-typo")
    tab.get_by_role("combobox", name="Project").fill(name)
    tab.get_by_label("Reason").fill("waits for SHOP-12")
    tab.get_by_label("Owner").fill("ada")
    tab.get_by_label("Until").fill(UNTIL)
    tab.get_by_role("button", name="Put into quarantine").click()
    assert "Test: must be the node id of a test" in tab.get_by_role("alert").inner_text()
    assert tab.get_by_label("Reason").input_value() == "waits for SHOP-12"
    tab.get_by_label("Node ID of the test").fill(node_id)
    tab.get_by_label("Owner").press("Enter")
    row = tab.get_by_role("row").filter(has_text=node_id)
    row.wait_for()
    assert UNTIL in row.inner_text()
    row.get_by_role("link").click()
    tab.get_by_text(f"In quarantine until {UNTIL}: waits for SHOP-12 (owner: ada)").wait_for()
    tab.get_by_text("Remove", exact=False).first.click()
    tab.get_by_role("button", name="Count its failures again").click()
    tab.get_by_text("Put into quarantine").first.click()
    tab.get_by_label("Reason").fill("again")
    tab.get_by_label("Owner").fill("bob")
    tab.get_by_label("Until").fill(UNTIL)
    tab.get_by_role("button", name="Put into quarantine").click()
    tab.get_by_text("again (owner: bob)").wait_for()
    context.close()
