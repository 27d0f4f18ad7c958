"""pytest-tms: live test reporting for pytest, with the test management system included.

The names below are the Python SDK. They load on first use, so that pytest can import
the plugin beside them without paying for the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_tms.client import TmsClient as TmsClient
    from pytest_tms.errors import TmsError as TmsError

__all__ = ["TmsClient", "TmsError"]


def __getattr__(name: str) -> Any:
    if name == "TmsClient":
        from pytest_tms.client import TmsClient

        return TmsClient
    if name == "TmsError":
        from pytest_tms.errors import TmsError

        return TmsError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
