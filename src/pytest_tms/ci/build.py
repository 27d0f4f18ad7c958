"""One job of a CI system."""

from __future__ import annotations

import msgspec


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """One CI job; a value that its provider does not report is empty.

    ``run_key`` identifies one run of the pipeline for all its jobs, ``attempt`` counts from 1, and ``index``
    from 0 within ``total`` parallel jobs. ``repository`` is its name, path or URL.
    """

    provider: str
    run_key: str = ""
    attempt: str = ""
    branch: str = ""
    commit: str = ""
    number: str = ""
    job: str = ""
    index: str = ""
    total: str = ""
    url: str = ""
    actor: str = ""
    pull_request: str = ""
    repository: str = ""

    def metadata(self) -> dict[str, str]:
        """Return the build as an execution's metadata: documented names, then additions; nothing empty."""
        named = {
            "branch": self.branch,
            "commit": self.commit,
            "buildNumber": self.number,
            "triggeredBy": self.actor,
            "pullRequest": self.pull_request,
            "ci": self.provider,
            "ciJob": self.job,
            "ciUrl": self.url,
            "attempt": self.attempt,
        }
        return {key: value for key, value in named.items() if value}
