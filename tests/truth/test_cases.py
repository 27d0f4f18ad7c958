"""Every case, alone and over workers: stored as written down, and as JUnit XML and the report log have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Tms
from tests.truth import harness
from tests.truth.cases import ALL
from tests.truth.harness import Case


def runs() -> list[object]:
    return [
        pytest.param(
            case,
            mode,
            id=f"{case.name}-{mode}",
            marks=() if case.environment == "main" else pytest.mark.plugins,
        )
        for case in ALL
        for mode in case.modes
    ]


@pytest.mark.parametrize(("case", "mode"), runs())
def test_each_outcome_is_stored_exactly_once(case: Case, mode: str, tms: Tms, tmp_path: Path) -> None:
    expected = harness.fields(case, mode)
    ran = harness.run_case(tms, tmp_path, case, mode)
    harness.check(ran, expected)
