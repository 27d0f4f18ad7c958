"""The pages about security: what they name exists, and the output that they show is that of the program."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
CHECKLIST = (REPOSITORY / "docs" / "security-checklist.md").read_text(encoding="utf-8")
PROGRAM = REPOSITORY / "examples" / "security" / "check_server.py"


def test_each_place_that_the_checklist_names_exists() -> None:
    places = re.findall(r"`((?:src|tests|examples)/[\w./]+)`", CHECKLIST)
    assert len(places) > 25
    assert [place for place in places if not (REPOSITORY / place).exists()] == []


def test_the_checklist_shows_the_checks_of_the_program() -> None:
    shown = re.findall(r"^(?:ok {6}|skipped ) ([^:\n]+)", CHECKLIST, re.MULTILINE)
    program = runpy.run_path(str(PROGRAM))
    assert shown == list(program["checks"](program["Site"]("https://tms.example.com"), ""))


@pytest.mark.parametrize("page", ["threat-model.md", "security-checklist.md"])
def test_each_setting_that_a_page_names_exists(page: str) -> None:
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    known = "".join(
        (REPOSITORY / "docs" / name).read_text(encoding="utf-8")
        for name in ("settings.md", "server-settings.md")
    )
    named = set(re.findall(r"\bTMS_[A-Z_]+\b", text))
    assert named
    assert [name for name in named if name not in known] == []
