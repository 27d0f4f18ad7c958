"""pytest-tms: live test reporting for pytest, with the test management system included.

``TmsClient``, ``JobToken`` and ``TmsError``, with the modules ``wire``, ``signing`` and ``errors``, are the
Python SDK. For annotations, ``Tms`` is the type of the ``tms`` fixture and ``Summary`` the type of the
argument of the hook ``pytest_tms_finished``.

The names load on first use, so that a run that imports only the plugin does not load the client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tms.client import JobToken as JobToken
    from pytest_tms.client import TmsClient as TmsClient
    from pytest_tms.errors import TmsError as TmsError
    from pytest_tms.plugin.results.fixture import Tms as Tms
    from pytest_tms.plugin.session.summary import Summary as Summary
else:  # type checkers would take every name for one that __getattr__ knows

    def __getattr__(name):
        modules = {
            "JobToken": "client",
            "Summary": "plugin.session.summary",
            "Tms": "plugin.results.fixture",
            "TmsClient": "client",
            "TmsError": "errors",
        }
        if name not in modules:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{modules[name]}"), name)


__all__ = ["JobToken", "Summary", "Tms", "TmsClient", "TmsError"]
