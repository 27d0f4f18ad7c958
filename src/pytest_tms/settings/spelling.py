"""Names of variables and ini values that look like settings and are none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_tms.settings.table import table


def misspelt(environ: Iterable[str], ini: Iterable[str] = ()) -> list[str]:
    """Return a sentence for each name of a variable or ini value that resembles a setting."""
    return [
        f"{name} is not a setting: did you mean {suggestion}?"
        for name, suggestion in _uncandidates(environ, ini).items()
        if suggestion
    ]


def unused(environ: Iterable[str], ini: Iterable[str] = ()) -> list[str]:
    """Return a sentence for each name with the prefix of settings that resembles none."""
    return [
        f"{name} is not a setting of pytest-tms: `tms doctor -v` lists all settings"
        for name, suggestion in _uncandidates(environ, ini).items()
        if not suggestion
    ]


OTHER_VARIABLES = ("TMS_API_TOKEN", "TMS_API_TOKEN_FILE", "TMS_WEBHOOK_TOKEN", "TMS_WEBHOOK_SECRET")
"""Variables that are settings and have no entry in the table."""
NEVER_SUGGESTED = ("TMS_ID_TOKEN", "TMS_ID_TOKEN_FILE")
"""Further ones, which workflows set: who writes TMS_TOKEN by hand means an API token."""


def _uncandidates(environ: Iterable[str], ini: Iterable[str]) -> dict[str, str]:
    """Return each name that is not a setting, with the setting that it resembles or an empty text."""
    variables = {name: name for name in OTHER_VARIABLES}
    values: dict[str, str] = {}
    for _, entry in table():
        variables |= {entry.env: entry.env} if entry.env else {}
        values |= {entry.ini: entry.ini} if entry.ini else {}
    # A setting that exists in one of the two alone may have been written in the other.
    in_file = {name.upper(): f"{name} in pytest's configuration file" for name in values}
    in_environ = {name.lower(): name for name in variables}
    found = {
        name: _suggestion(name.upper(), {**in_file, **variables})
        for name in environ
        if name.upper().startswith("TMS_")
        and not name.startswith("TMS_SERVER_")
        and name not in (*variables, *NEVER_SUGGESTED)
    }
    return found | {
        name: _suggestion(name, {**in_environ, **values})
        for name in ini
        if name.startswith("tms_") and name not in values
    }


def _suggestion(name: str, candidates: Mapping[str, str]) -> str:
    from difflib import SequenceMatcher

    def likeness(other: str) -> float:
        """Return a measure of equal letters and words; a word too many counts less than another word."""
        mine, others = set(name.split("_")[1:]), set(other.split("_")[1:])
        ratio = SequenceMatcher(None, name, other).ratio()
        return ratio + len(mine & others) / len(mine | others) + others.issubset(mine) / 4

    if len(name) > len("TMS_X"):
        for other in candidates:
            if other.startswith(name):
                return candidates[other]
    best = max(candidates, key=likeness)
    return candidates[best] if likeness(best) >= 0.8 else ""
