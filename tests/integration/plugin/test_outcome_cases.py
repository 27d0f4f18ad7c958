"""Every case, alone and over workers: stored as written down, and as JUnit XML and the report log have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import reported_runs
from tests.helpers.processes import TmsServer
from tests.helpers.reported_runs import Case
from tests.integration.plugin.outcome_cases import ALL


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


@pytest.mark.slow
@pytest.mark.parametrize(("case", "mode"), runs())
def test_each_outcome_is_stored_exactly_once(case: Case, mode: str, tms: TmsServer, tmp_path: Path) -> None:
    expected = reported_runs.fields(case, mode)
    ran = reported_runs.run_case(tms, tmp_path, case, mode)
    reported_runs.check(ran, expected)
