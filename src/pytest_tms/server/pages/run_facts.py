"""The context of a run: what was tested, where, by whom, and links to its build and repository."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlencode

from pytest_tms.server.domain import repository_links
from pytest_tms.server.domain.builds import DEFAULT_PROJECT, build_fields
from pytest_tms.server.domain.executions import Execution
from pytest_tms.server.domain.repository_links import web_url

PROVIDERS = {
    "github": "GitHub Actions",
    "gitlab": "GitLab CI",
    "circleci": "CircleCI",
    "azure": "Azure Pipelines",
    "bitbucket": "Bitbucket Pipelines",
    "jenkins": "Jenkins",
    "buildkite": "Buildkite",
    "teamcity": "TeamCity",
    "travis": "Travis CI",
    "drone": "Drone",
    "woodpecker": "Woodpecker",
}
"""Names of CI systems as they write them, by the names under which they are detected."""
MAX_SHA = 10
"""Characters of a commit that are shown."""


class Fact(NamedTuple):
    """One fact; ``url`` is empty if it is not a link, ``glyph`` is drawn before it."""

    name: str
    text: str
    url: str = ""
    glyph: str = ""
    title: str = ""


def project_name(execution: Execution) -> str:
    """Return the name of a run's project, empty if it is the one of runs that name none."""
    name = build_fields(execution.metadata).project
    return "" if name == DEFAULT_PROJECT else name


def crumbs(execution: Execution) -> list[tuple[str, str]]:
    """Return the (text, path) of the lists above a run: its project, then its suite and environment."""
    project = project_name(execution)
    found = [(project, f"/?{urlencode({'project': project})}")] if project else [("Runs", "/")]
    query = urlencode({"suite": execution.test_suite, "environment": execution.environment})
    return [*found, (f"{execution.test_suite} · {execution.environment}", f"/?{query}")]


def facts(execution: Execution) -> list[Fact]:
    """Return what is known of the build of a run, without what is empty."""
    metadata = execution.metadata
    fields = build_fields(metadata)
    commit = _text(metadata.get("commit"))
    message = _text(metadata.get("commitMessage")).partition("\n")[0]
    pull_request = _text(metadata.get("pullRequest"))
    found = [
        Fact("branch", fields.branch, repository_links.branch_url(metadata) or "", "branch"),
        Fact("commit", commit[:MAX_SHA], repository_links.commit_url(metadata) or "", "commit", commit),
        Fact("", message),
        Fact(
            "pull request",
            f"#{pull_request}" if pull_request.isdecimal() else pull_request,
            repository_links.pull_request_url(metadata) or "",
            "pull-request",
        ),
        Fact("build", _build(metadata), repository_links.build_url(metadata) or "", "build"),
        Fact("by", fields.author, "", "person"),
        Fact("tag", _text(metadata.get("tag"))),
        Fact("version", _text(metadata.get("version")), web_url(metadata.get("versionUrl")) or ""),
    ]
    if not any(fact.text for fact in found):
        found.append(Fact("provider", execution.provider))
    return [fact for fact in found if fact.text]


def _build(metadata: dict[str, Any]) -> str:
    """Return the name of the CI system and the number of the build."""
    provider = _text(metadata.get("ci"))
    number = _text(metadata.get("buildNumber"))
    words = [PROVIDERS.get(provider, provider), number, _text(metadata.get("ciJob"))]
    shown = " ".join(word for word in words[:2] if word)
    return shown or (words[2] if words[2] else "build" if repository_links.build_url(metadata) else "")


def _text(value: object) -> str:
    """Return a value of the metadata as text; anything but text and numbers is left out."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    return str(value).strip()[:500]
