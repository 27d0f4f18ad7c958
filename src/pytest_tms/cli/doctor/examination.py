"""The checks of `tms doctor` in their order: the settings, then the TMS, then the clocks."""

from __future__ import annotations

from typing import Any

from pytest_tms.cli.doctor.findings import (
    Findings,
    NotReporting,
    describe_clock,
    mask_credentials,
    printable,
)
from pytest_tms.cli.doctor.service import examine_service
from pytest_tms.cli.doctor.settings import read_settings
from pytest_tms.masking.masker import Masker

MAX_CLOCK_SKEW = 30
"""Seconds by which the clocks may differ."""


def examine(arguments: tuple[str, ...], findings: Findings) -> str:
    """Fill ``findings`` and return the words of the verdict after "Reporting".

    ``arguments`` are options of pytest.

    Raises:
        NotReporting: the run cannot report.
    """
    found = read_settings(arguments)
    masker = Masker(found.get("secrets", ()))

    def masked(text: str) -> str:
        return mask_credentials(masker.text(printable(text)))

    findings.rootdir = printable(found["rootdir"])
    for name, value, source in found["settings"]:
        text = "********" if name == "tms_mask" and value else _text(value)
        findings.settings.append({"name": name, "value": masked(text), "source": source})
    for name, is_set, source in found.get("tokens", ()):
        findings.settings.append(
            {"name": name.lower(), "value": "********" if is_set else "", "source": source}
        )
    findings.problems += map(masked, found.get("problems", ()))
    findings.notes += found.get("notes", ())
    if found["problem"]:
        raise NotReporting(masked(found["problem"]))
    if found["off"]:
        findings.problems.insert(0, f"reporting is off: {found['off']}")
        return f"is off: {found['off']}"
    if "offline" in found:
        return f"works: offline, results are written to {masked(found['offline'])} and sent by `tms replay`"
    problem = examine_service(found, findings)
    findings.problems[:] = map(masked, findings.problems)
    if problem:
        raise NotReporting(masked(problem))
    if findings.clock_skew is not None and abs(findings.clock_skew) > MAX_CLOCK_SKEW:
        findings.problems.append(
            f"{describe_clock(findings.clock_skew)}: set it, or times in reports are wrong"
        )
    target = f"suite {found['suite']}, environment {found['environment']}"
    if found["execution"]:
        target = f"execution {found['execution']}"
    elif found["run_key"]:
        target += f", shared by the jobs with the run key {found['run_key']}"
    if found["split"] == "queue":
        obstacle = _queue_obstacle(found, findings)
        if obstacle:
            findings.notes.append(f"--tms-split queue has no effect: {obstacle}")
        else:
            target += ", tests from its queue"
    return f"works: results go to {masked(found['url'])} ({masked(target)})"


def _queue_obstacle(found: dict[str, Any], findings: Findings) -> str:
    """Return why a run does not take its tests from a queue; empty if it does."""
    if not found["shard"]:
        return "no shard is named; set --tms-shard, TMS_SHARD or tms_shard"
    if not (found["execution"] or found["run_key"]):
        return "the shards do not share an execution; give them the same --tms-run-key"
    if "claims" not in findings.capabilities:
        return "this TMS has no queue (no capability claims)"
    return ""


def _text(value: Any) -> str:
    """Return the value of a setting as text."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value == 0:  # the value of a number that is not set
        return ""
    return " ".join(value) if isinstance(value, list) else str(value)
