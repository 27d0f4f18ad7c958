"""Every message of the API, one typed struct each: the contract that both halves share.

Names, shapes and defaults are those of the TMS integration document; what the document leaves
open is settled in docs/protocol.md. Fields are snake_case here and camelCase on the wire.
Durations are whole milliseconds, times are ISO 8601 strings (see ``timestamp`` and ``parse_time``).

Requests tolerate unknown fields: msgspec passes over them, and the server keeps them beside the
decoded struct. Answers tolerate missing ones, so that the client can talk to any documented server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tms.wire.about import *  # noqa: F403
    from pytest_tms.wire.base import *  # noqa: F403
    from pytest_tms.wire.events import *  # noqa: F403
    from pytest_tms.wire.executions import *  # noqa: F403
    from pytest_tms.wire.results import *  # noqa: F403
    from pytest_tms.wire.webhook_events import *  # noqa: F403
    from pytest_tms.wire.webhooks import *  # noqa: F403
else:  # type checkers would take every name for one that __getattr__ knows
    _MODULES = ("base", "results", "executions", "events", "webhooks", "webhook_events", "about")

    def __getattr__(name):
        """Return a message, and load the modules before it: a run of pytest needs the first few only."""
        for module in _MODULES:
            found = vars(import_module(f"pytest_tms.wire.{module}"))
            if name in found and not name.startswith("_"):
                globals()[name] = found[name]
                return found[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
