"""Every message of the API, one typed struct each: the contract that client and server share.

Names, shapes and defaults are those of the TMS integration document; what it does not specify is in
docs/protocol.md. Fields are snake_case here and camelCase on the wire. Durations are whole milliseconds,
times are ISO 8601 strings (see ``timestamp`` and ``parse_time``).

Requests tolerate unknown fields: msgspec ignores them, and the server keeps them beside the decoded struct.
Responses tolerate missing ones, so that the client works with any server that implements the document.

Modules that every test run loads import from the submodules: to define a message takes time.
"""

# ruff: noqa: F403  # this package consists of the names of its modules
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tms.wire.about import *
    from pytest_tms.wire.artifacts import *
    from pytest_tms.wire.base import *
    from pytest_tms.wire.cases import *
    from pytest_tms.wire.claims import *
    from pytest_tms.wire.events import *
    from pytest_tms.wire.executions import *
    from pytest_tms.wire.history import *
    from pytest_tms.wire.quarantine import *
    from pytest_tms.wire.results import *
    from pytest_tms.wire.timings import *
    from pytest_tms.wire.webhook_events import *
    from pytest_tms.wire.webhooks import *
else:  # type checkers would take every name for one that __getattr__ knows
    _MODULES = (
        "base",
        "results",
        "executions",
        "events",
        "webhooks",
        "webhook_events",
        "about",
        "artifacts",
        "cases",
        "claims",
        "history",
        "quarantine",
        "timings",
    )

    def __getattr__(name):
        """Return a message, and load the modules up to the one that defines it."""
        for module in _MODULES:
            found = vars(import_module(f"pytest_tms.wire.{module}"))
            if name in found and not name.startswith("_"):
                globals()[name] = found[name]
                return found[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
