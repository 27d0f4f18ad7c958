"""Links to a repository and a build by the metadata of an execution."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_tms.server.domain import repository_links
from pytest_tms.server.domain.repository_links import Repository, repository_of, web_url

GITHUB = "https://github.com/ada/shop"
GITHUB_BUILD = f"{GITHUB}/actions/runs/1234/attempts/1"
GITLAB = "https://code.example.com/group/sub/shop"
SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"repository": "git@github.com:ada/shop.git"}, Repository(GITHUB, "github")),
        ({"repository": "ssh://git@github.com:22/ada/shop.git"}, Repository(GITHUB, "github")),
        ({"repository": "https://github.com/ada/shop.git/"}, Repository(GITHUB, "github")),
        ({"repositoryUrl": "https://github.com/ada/shop.git"}, Repository(GITHUB, "github")),
        ({"ciUrl": GITHUB_BUILD}, Repository(GITHUB, "github")),
        ({"ciUrl": f"{GITLAB}/-/pipelines/7"}, Repository(GITLAB, "gitlab")),
        ({"repository": "ada/shop", "ciUrl": GITHUB_BUILD}, Repository(GITHUB, "github")),
        ({"repository": "ada/shop"}, None),
        ({"repository": "https://user:secret@github.com/ada/shop"}, None),
        ({"repository": "javascript:alert(1)"}, None),
        ({"repository": 7, "ciUrl": ["x"]}, None),
        ({"ciUrl": "https://ci.example.com/job/7"}, None),
        ({}, None),
    ],
)
def test_the_repository_is_that_of_the_metadata_or_of_the_build(
    metadata: dict[str, Any], expected: Repository | None
) -> None:
    assert repository_of(metadata) == expected


@pytest.mark.parametrize(
    ("repository", "commit", "pull_request", "line"),
    [
        ("https://github.com/a/b", "/commit/abc1234", "/pull/7", "/blob/abc1234/t/a%20b.py#L3"),
        ("https://gitlab.com/a/b", "/-/commit/abc1234", "/-/merge_requests/7", "/-/blob/abc1234/t/a%20b.py#L3"),
        ("https://bitbucket.org/a/b", "/commits/abc1234", "/pull-requests/7", "/src/abc1234/t/a%20b.py#lines-3"),
        ("https://codeberg.org/a/b", "/commit/abc1234", "/pulls/7", "/src/commit/abc1234/t/a%20b.py#L3"),
    ],
)  # fmt: skip
def test_each_host_has_its_own_paths(repository: str, commit: str, pull_request: str, line: str) -> None:
    found = repository_of({"repository": repository})
    assert found is not None
    assert found.commit("abc1234") == repository + commit
    assert found.pull_request("7") == repository + pull_request
    assert found.line("abc1234", "t\\a b.py", 3) == repository + line


def test_commit_and_pull_request_are_links_only_if_they_are_what_they_say() -> None:
    known = {"ciUrl": GITHUB_BUILD}
    assert repository_links.commit_url({**known, "commit": SHA}) == f"{GITHUB}/commit/{SHA}"
    assert repository_links.commit_url({**known, "commit": "main"}) is None
    assert repository_links.commit_url({"commit": SHA}) is None
    assert repository_links.pull_request_url({**known, "pullRequest": "7"}) == f"{GITHUB}/pull/7"
    assert repository_links.pull_request_url({**known, "pullRequest": 7}) == f"{GITHUB}/pull/7"
    assert repository_links.pull_request_url({**known, "pullRequest": "../x"}) is None
    assert repository_links.pull_request_url({"pullRequest": f"{GITHUB}/pull/7"}) == f"{GITHUB}/pull/7"
    assert repository_links.branch_url({**known, "branch": "a/b c"}) == f"{GITHUB}/tree/a/b%20c"


@pytest.mark.parametrize(
    "value",
    ["javascript:alert(1)", "//evil.example", "data:text/html,x", "http://[", "https://a b", "https://a\x00b",
     "https://user@host/", "ftp://host/", "https://", "http://a\\b", "x" * 5000, 7, None],
)  # fmt: skip
def test_other_values_are_no_links(value: object) -> None:
    assert web_url(value) is None
