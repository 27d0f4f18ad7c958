"""URLs of the server's pages and calls."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from pytest_tms import wire


@dataclass(frozen=True)
class Urls:
    """The URLs below ``root``, the server's address as the caller reaches it."""

    root: str

    @property
    def api(self) -> str:
        """The base URL of the API."""
        return f"{self.root}/api"

    def report(self, execution_id: str) -> str:
        """Return the URL of an execution's report page."""
        return f"{self.root}/reports/{execution_id}"

    def logs(self, execution_id: str) -> str:
        """Return the URL of an execution's logs page."""
        return f"{self.root}/logs/{execution_id}"

    def artifacts(self, execution_id: str) -> str:
        """Return the URL of an execution's artifacts page."""
        return f"{self.root}/artifacts/{execution_id}"

    def shard(self, execution_id: str, shard_id: str) -> str:
        """Return the URL of the page about a shard."""
        return f"{self.root}/reports/{execution_id}/shard-{quote(shard_id, safe='')}"

    def links(self, execution_id: str) -> wire.Links:
        """Return the URLs of all pages about an execution."""
        return wire.Links(
            report_url=self.report(execution_id),
            logs_url=self.logs(execution_id),
            artifacts_url=self.artifacts(execution_id),
        )
