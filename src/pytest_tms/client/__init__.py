"""The Python SDK: the API's calls, and the client that makes them.

``TmsClient`` loads on first use, because the server imports ``calls`` and needs no HTTP client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_tms.client.client import TmsClient as TmsClient
    from pytest_tms.client.job_token import JobToken as JobToken

__all__ = ["JobToken", "TmsClient"]


def __getattr__(name: str) -> Any:
    if name == "TmsClient":
        from pytest_tms.client.client import TmsClient

        return TmsClient
    if name == "JobToken":
        from pytest_tms.client.job_token import JobToken

        return JobToken
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
