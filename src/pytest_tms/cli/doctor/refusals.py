"""Settings of a run that a TMS would refuse, found before the run starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tms.wire import ServiceInfo, TokenInfo


def refusals(service: ServiceInfo, *, suite: str, environment: str, execution: str) -> list[str]:
    """Return a sentence for each setting that the server would refuse.

    ``service`` is the response to GET on the base URL; a list that it leaves empty is not checked. The suite
    and the environment are not checked if the run joins ``execution``, since it creates none.
    """
    found = []
    if not execution:
        for option, value, allowed, setting in (
            ("suite", suite, service.suites, "TMS_SERVER_SUITES"),
            ("environment", environment, service.environments, "TMS_SERVER_ENVIRONMENTS"),
        ):
            if allowed and value not in allowed:
                found.append(
                    f"the TMS refuses the {option} {value!r}: use {_one_of(allowed)} (--tms-{option}), or "
                    f"let its operator allow it with {setting}"
                )
    if service.token is not None:
        found += _token_refusals(service.token, environment, execution)
    return found


def _token_refusals(token: TokenInfo, environment: str, execution: str) -> list[str]:
    found = []
    needed = ["executions:write", *(["executions:read"] if execution else [])]
    missing = [scope for scope in needed if not {scope, "admin"} & set(token.scopes)]
    if missing:
        found.append(f"the token {token.id} lacks {' and '.join(missing)}: use a token that has it")
    if token.environments and not execution and environment not in token.environments:
        bound = " and ".join(token.environments)
        found.append(f"the token {token.id} is for {bound}, not {environment}: use another")
    return found


def _one_of(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
