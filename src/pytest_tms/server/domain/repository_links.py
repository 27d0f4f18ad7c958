"""Links from an execution to its repository and its build, by its metadata.

Every value is from a runner, so only URLs with the schemes http and https become links.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

MAX_URL = 2000
"""Characters of a URL that becomes a link."""

_SSH = re.compile(r"(?:ssh://)?[\w.-]+@(?P<host>[\w.-]+)(?::\d+/|[:/])(?P<path>[\w./~-]+)", re.ASCII)
_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}", re.ASCII)
_BUILDS = ("/-/pipelines/", "/-/jobs/", "/actions/runs/", "/pipelines/results/", "/addon/pipelines/")
"""What follows the repository in the URLs of builds."""


class Repository(NamedTuple):
    """A repository on the web; ``kind`` is that of its host, which determines the paths."""

    url: str
    kind: str

    def commit(self, sha: str) -> str:
        """Return the URL of a commit."""
        paths = {"gitlab": "/-/commit/", "bitbucket": "/commits/", "azure": "/commit/"}
        return f"{self.url}{paths.get(self.kind, '/commit/')}{quote(sha, safe='')}"

    def branch(self, name: str) -> str:
        """Return the URL of a branch."""
        paths = {
            "gitlab": "/-/tree/",
            "bitbucket": "/branch/",
            "azure": "?version=GB",
            "gitea": "/src/branch/",
        }
        return f"{self.url}{paths.get(self.kind, '/tree/')}{quote(name, safe='/')}"

    def pull_request(self, number: str) -> str:
        """Return the URL of a pull request or merge request."""
        paths = {
            "gitlab": "/-/merge_requests/",
            "bitbucket": "/pull-requests/",
            "azure": "/pullrequest/",
            "gitea": "/pulls/",
        }
        return f"{self.url}{paths.get(self.kind, '/pull/')}{quote(number, safe='')}"

    def line(self, sha: str, path: str, line: int | None) -> str:
        """Return the URL of a line of a file at a commit; ``path`` is relative to the repository's root."""
        file = quote(path.replace("\\", "/"), safe="/")
        commit = quote(sha, safe="")
        if self.kind == "bitbucket":
            return f"{self.url}/src/{commit}/{file}" + (f"#lines-{line}" if line else "")
        if self.kind == "azure":
            at = f"&line={line}&lineEnd={line + 1}&lineStartColumn=1&lineEndColumn=1" if line else ""
            return f"{self.url}?path=/{file}&version=GC{commit}{at}"
        prefix = {"gitlab": "/-/blob/", "gitea": "/src/commit/"}.get(self.kind, "/blob/")
        return f"{self.url}{prefix}{commit}/{file}" + (f"#L{line}" if line else "")


def repository_of(metadata: Mapping[str, Any]) -> Repository | None:
    """Return the repository of an execution: the one that its metadata name, else that of its build."""
    for name in ("repositoryUrl", "repository"):
        if (url := _repository_url(metadata.get(name))) is not None:
            return Repository(url, _kind(url))
    build = build_url(metadata)
    for part in _BUILDS:
        if build is not None and part in build:
            url = build.partition(part)[0].rstrip("/")
            return Repository(url, "gitlab" if part.startswith("/-/") else _kind(url))
    return None


def build_url(metadata: Mapping[str, Any]) -> str | None:
    """Return the URL of an execution's build in its CI system."""
    for name in ("ciUrl", "buildUrl"):
        if (url := web_url(metadata.get(name))) is not None:
            return url
    return None


def commit_url(metadata: Mapping[str, Any]) -> str | None:
    """Return the URL of an execution's commit, if its repository is known."""
    commit, repository = metadata.get("commit"), repository_of(metadata)
    if repository is None or not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        return None
    return repository.commit(commit)


def branch_url(metadata: Mapping[str, Any]) -> str | None:
    """Return the URL of an execution's branch, if its repository is known."""
    branch, repository = metadata.get("branch"), repository_of(metadata)
    if repository is None or not isinstance(branch, str) or not 0 < len(branch) <= MAX_URL:
        return None
    return repository.branch(branch)


def pull_request_url(metadata: Mapping[str, Any]) -> str | None:
    """Return the URL of an execution's pull request: its own if it is one, else by number."""
    number, repository = metadata.get("pullRequest"), repository_of(metadata)
    if (url := web_url(number)) is not None:
        return url
    text = str(number) if isinstance(number, (str, int)) and not isinstance(number, bool) else ""
    if repository is None or not (text.isascii() and text.isdecimal()) or len(text) > 12:
        return None
    return repository.pull_request(text)


def web_url(value: object) -> str | None:
    """Return ``value`` if it is an absolute http or https URL without credentials, else None."""
    if not isinstance(value, str) or len(value) > MAX_URL or not value.isprintable() or " " in value:
        return None
    try:
        parts = urlsplit(value)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return None
    return value if is_web and "\\" not in value else None


def _repository_url(value: object) -> str | None:
    if not isinstance(value, str) or len(value) > MAX_URL:
        return None
    text = value.strip()
    if found := _SSH.fullmatch(text):
        text = f"https://{found['host']}/{found['path'].lstrip('/')}"
    url = web_url(text)
    if url is None or urlsplit(url).query or urlsplit(url).fragment:
        return None
    return url.rstrip("/").removesuffix(".git")


def _kind(url: str) -> str:
    host = urlsplit(url).hostname or ""
    for word in ("gitlab", "bitbucket", "gitea", "codeberg", "forgejo"):
        if word in host:
            return "gitea" if word in ("codeberg", "forgejo") else word
    if host == "dev.azure.com" or host.endswith(".visualstudio.com"):
        return "azure"
    return "github"
