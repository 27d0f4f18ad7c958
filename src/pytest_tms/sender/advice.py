"""Errors of a delivery as sentences for the user: what is wrong, and what to do next."""

from __future__ import annotations

from pytest_tms.errors import Forbidden, NotFound, Unauthorized, Unprocessable


def advise(error: Exception) -> str:
    """Return an error of a run's delivery as one sentence that also names the next step."""
    text = str(error).rstrip(".")
    if isinstance(error, Unauthorized):
        return f"{text}: set TMS_API_TOKEN to a valid token"
    if isinstance(error, Forbidden) and ": use a token" not in text:  # the TMS has not said which one
        return f"{text}: use a token with the scope executions:write"
    if isinstance(error, NotFound):
        return f"{text}: check --tms-url (it ends in /api) and --tms-execution"
    if isinstance(error, Unprocessable) and error.hint:
        return f"{text}; check --tms-suite and --tms-environment"
    if isinstance(error, Unprocessable):
        return (
            f"{text}: check --tms-suite and --tms-environment; the operator of the TMS allows others with "
            "TMS_SERVER_SUITES and TMS_SERVER_ENVIRONMENTS"
        )
    return text


def advise_quarantine(error: Exception) -> str:
    """Return why the tests in quarantine are not known as one sentence that also names the next step."""
    text = str(error).rstrip(".")
    step = ": use a token with the scope executions:read" if isinstance(error, Forbidden) else ""
    return f"the tests in quarantine could not be read: {text}{step}"


def advise_replay(error: Exception) -> str:
    """Return an error of a journal that was kept as one sentence that also names the next step."""
    if isinstance(error, Unprocessable):
        return f"{str(error).rstrip('.')}: tms replay --suite and --environment send it under others"
    return advise(error)
