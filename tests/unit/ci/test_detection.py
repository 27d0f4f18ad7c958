"""What each CI system reports of a build, by the variables that it documents."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tms.ci.detection import detect_build
from pytest_tms.ci.metadata import build_metadata, repository_name
from pytest_tms.ci.providers import PROVIDERS as TABLE

HOSTILE_NUMBERS = ("", "-", "--5", "1.5", "٣x", "9" * 5000, "x", " 1")


def build(environ: dict[str, str]) -> dict[str, str]:
    """The values of the build that are not empty."""
    found = detect_build(environ)
    assert found is not None
    return {name: value for name, value in msgspec.structs.asdict(found).items() if value}


PROVIDERS: list[tuple[dict[str, str], dict[str, str]]] = [
    (
        {
            "GITHUB_ACTIONS": "true",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_REPOSITORY": "me/shop",
            "GITHUB_RUN_ID": "77",
            "GITHUB_RUN_ATTEMPT": "2",
            "GITHUB_RUN_NUMBER": "5",
            "GITHUB_HEAD_REF": "topic",
            "GITHUB_REF_NAME": "12/merge",
            "GITHUB_REF": "refs/pull/12/merge",
            "GITHUB_SHA": "merge-sha",
            "GITHUB_JOB": "tests",
            "GITHUB_ACTOR": "first",
            "GITHUB_TRIGGERING_ACTOR": "second",
        },
        {
            "provider": "github",
            "repository": "me/shop",
            "run_key": "https://github.example/me/shop/77",
            "attempt": "2",
            "branch": "topic",
            "commit": "merge-sha",
            "number": "5",
            "job": "tests",
            "url": "https://github.example/me/shop/actions/runs/77/attempts/2",
            "actor": "second",
            "pull_request": "12",
        },
    ),
    (
        {
            "GITLAB_CI": "true",
            "CI": "true",
            "CI_SERVER_HOST": "gitlab.example",
            "CI_PIPELINE_ID": "9",
            "CI_PIPELINE_IID": "3",
            "CI_JOB_RETRY_COUNT": "1",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "topic",
            "CI_COMMIT_REF_NAME": "refs/merge",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "source-sha",
            "CI_COMMIT_SHA": "merge-sha",
            "CI_JOB_NAME": "tests 2/4",
            "CI_NODE_INDEX": "2",
            "CI_NODE_TOTAL": "4",
            "CI_PIPELINE_URL": "https://gitlab.example/9",
            "GITLAB_USER_LOGIN": "me",
            "CI_MERGE_REQUEST_IID": "12",
        },
        {
            "provider": "gitlab",
            "run_key": "gitlab.example/9",
            "attempt": "2",
            "branch": "topic",
            "commit": "source-sha",
            "number": "3",
            "job": "tests",
            "index": "1",
            "total": "4",
            "url": "https://gitlab.example/9",
            "actor": "me",
            "pull_request": "12",
        },
    ),
    (
        {
            "CIRCLECI": "true",
            "CIRCLE_WORKFLOW_WORKSPACE_ID": "w-1",
            "CIRCLE_WORKFLOW_ID": "w-2",
            "CIRCLE_BRANCH": "main",
            "CIRCLE_SHA1": "sha",
            "CIRCLE_BUILD_NUM": "8",
            "CIRCLE_JOB": "tests",
            "CIRCLE_NODE_INDEX": "0",
            "CIRCLE_NODE_TOTAL": "3",
            "CIRCLE_USERNAME": "me",
            "CIRCLE_PULL_REQUEST": "https://github.example/me/shop/pull/12",
        },
        {
            "provider": "circleci",
            "run_key": "w-1",
            "branch": "main",
            "commit": "sha",
            "number": "8",
            "job": "tests",
            "index": "0",
            "total": "3",
            "url": "https://app.circleci.com/pipelines/workflows/w-2",
            "actor": "me",
            "pull_request": "12",
        },
    ),
    (
        {
            "BUILDKITE": "true",
            "BUILDKITE_BUILD_ID": "uuid",
            "BUILDKITE_RETRY_COUNT": "0",
            "BUILDKITE_BRANCH": "main",
            "BUILDKITE_COMMIT": "HEAD",
            "BUILDKITE_BUILD_NUMBER": "8",
            "BUILDKITE_STEP_ID": "step",
            "BUILDKITE_PARALLEL_JOB": "1",
            "BUILDKITE_PARALLEL_JOB_COUNT": "2",
            "BUILDKITE_BUILD_URL": "https://buildkite.example/8",
            "BUILDKITE_JOB_ID": "j",
            "BUILDKITE_BUILD_AUTHOR": "me",
            "BUILDKITE_PULL_REQUEST": "false",
        },
        {
            "provider": "buildkite",
            "run_key": "uuid",
            "attempt": "1",
            "branch": "main",
            "number": "8",
            "job": "step",
            "index": "1",
            "total": "2",
            "url": "https://buildkite.example/8#j",
            "actor": "me",
        },
    ),
    (
        {
            "TF_BUILD": "True",
            "SYSTEM_COLLECTIONID": "c",
            "BUILD_BUILDID": "6",
            "SYSTEM_JOBATTEMPT": "2",
            "BUILD_SOURCEBRANCH": "refs/heads/feature/x",
            "BUILD_SOURCEVERSION": "sha",
            "BUILD_BUILDNUMBER": "20250804.1",
            "SYSTEM_PHASENAME": "tests",
            "SYSTEM_JOBPOSITIONINPHASE": "1",
            "SYSTEM_TOTALJOBSINPHASE": "2",
            "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI": "https://azure.example/",
            "SYSTEM_TEAMPROJECT": "shop",
            "BUILD_REQUESTEDFOR": "Me",
            "SYSTEM_PULLREQUEST_PULLREQUESTID": "12",
        },
        {
            "provider": "azure",
            "run_key": "c/6",
            "attempt": "2",
            "branch": "feature/x",
            "commit": "sha",
            "number": "20250804.1",
            "job": "tests",
            "index": "0",
            "total": "2",
            "url": "https://azure.example/shop/_build/results?buildId=6",
            "actor": "Me",
            "pull_request": "12",
        },
    ),
    (
        {
            "BITBUCKET_BUILD_NUMBER": "4",
            "BITBUCKET_REPO_FULL_NAME": "me/shop",
            "BITBUCKET_STEP_RUN_NUMBER": "1",
            "BITBUCKET_BRANCH": "main",
            "BITBUCKET_COMMIT": "sha",
            "BITBUCKET_PARALLEL_STEP": "0",
            "BITBUCKET_PARALLEL_STEP_COUNT": "2",
            "BITBUCKET_STEP_TRIGGERER_UUID": "{u}",
            "BITBUCKET_PR_ID": "12",
        },
        {
            "provider": "bitbucket",
            "run_key": "me/shop/4",
            "attempt": "1",
            "branch": "main",
            "commit": "sha",
            "number": "4",
            "index": "0",
            "total": "2",
            "url": "https://bitbucket.org/me/shop/pipelines/results/4",
            "actor": "{u}",
            "pull_request": "12",
        },
    ),
    (
        {
            "TRAVIS": "true",
            "TRAVIS_REPO_SLUG": "me/shop",
            "TRAVIS_BUILD_ID": "1",
            "TRAVIS_JOB_RESTARTED": "true",
            "TRAVIS_JOB_RESTARTED_BY": "me",
            "TRAVIS_BRANCH": "main",
            "TRAVIS_PULL_REQUEST_BRANCH": "topic",
            "TRAVIS_PULL_REQUEST_SHA": "sha",
            "TRAVIS_COMMIT": "merge-sha",
            "TRAVIS_BUILD_NUMBER": "4",
            "TRAVIS_JOB_NUMBER": "4.2",
            "TRAVIS_BUILD_STAGE_NAME": "tests",
            "TRAVIS_BUILD_WEB_URL": "https://travis.example/4",
            "TRAVIS_PULL_REQUEST": "12",
        },
        {
            "provider": "travis",
            "repository": "me/shop",
            "run_key": "me/shop/1",
            "attempt": "2",
            "branch": "topic",
            "commit": "sha",
            "number": "4",
            "job": "tests",
            "index": "1",
            "url": "https://travis.example/4",
            "actor": "me",
            "pull_request": "12",
        },
    ),
    (
        {
            "DRONE": "true",
            "DRONE_REPO": "me/shop",
            "DRONE_BUILD_NUMBER": "4",
            "DRONE_SOURCE_BRANCH": "topic",
            "DRONE_BRANCH": "main",
            "DRONE_COMMIT_SHA": "sha",
            "DRONE_STAGE_NAME": "tests",
            "DRONE_STAGE_NUMBER": "1",
            "DRONE_BUILD_LINK": "https://drone.example/4",
            "DRONE_COMMIT_AUTHOR": "me",
            "DRONE_PULL_REQUEST": "12",
        },
        {
            "provider": "drone",
            "repository": "me/shop",
            "run_key": "me/shop/4",
            "branch": "topic",
            "commit": "sha",
            "number": "4",
            "job": "tests",
            "index": "0",
            "url": "https://drone.example/4",
            "actor": "me",
            "pull_request": "12",
        },
    ),
    (
        {
            "CI": "woodpecker",
            "CI_REPO": "me/shop",
            "CI_PIPELINE_NUMBER": "4",
            "CI_COMMIT_BRANCH": "main",
            "CI_COMMIT_SHA": "sha",
            "CI_WORKFLOW_NAME": "tests",
            "CI_PIPELINE_URL": "https://woodpecker.example/4",
            "CI_PIPELINE_AUTHOR": "me",
            "CI_COMMIT_PULL_REQUEST": "12",
        },
        {
            "provider": "woodpecker",
            "repository": "me/shop",
            "run_key": "me/shop/4",
            "branch": "main",
            "commit": "sha",
            "number": "4",
            "job": "tests",
            "url": "https://woodpecker.example/4",
            "actor": "me",
            "pull_request": "12",
        },
    ),
    (
        {
            "CODEBUILD_BUILD_ARN": "arn:1",
            "CODEBUILD_BUILD_ID": "shop:1",
            "CODEBUILD_WEBHOOK_HEAD_REF": "refs/heads/topic",
            "CODEBUILD_RESOLVED_SOURCE_VERSION": "sha",
            "CODEBUILD_BUILD_NUMBER": "4",
            "CODEBUILD_BATCH_BUILD_IDENTIFIER": "tests_2",
            "CODEBUILD_PUBLIC_BUILD_URL": "https://codebuild.example/4",
            "CODEBUILD_INITIATOR": "me",
            "CODEBUILD_SOURCE_VERSION": "pr/12",
        },
        {
            "provider": "codebuild",
            "run_key": "shop:1",
            "branch": "topic",
            "commit": "sha",
            "number": "4",
            "index": "1",
            "url": "https://codebuild.example/4",
            "actor": "me",
            "pull_request": "12",
        },
    ),
    (
        {
            "BUILDER_OUTPUT": "/builder/outputs",
            "PROJECT_ID": "shop",
            "BUILD_ID": "uuid",
            "BRANCH_NAME": "main",
            "_HEAD_BRANCH": "topic",
            "COMMIT_SHA": "sha",
            "TRIGGER_NAME": "push",
            "LOCATION": "global",
            "_PR_NUMBER": "12",
        },
        {
            "provider": "gcb",
            "run_key": "shop/uuid",
            "branch": "topic",
            "commit": "sha",
            "number": "uuid",
            "job": "push",
            "url": "https://console.cloud.google.com/cloud-build/builds;region=global/uuid?project=shop",
            "pull_request": "12",
        },
    ),
    (
        {
            "APPVEYOR": "True",
            "APPVEYOR_BUILD_ID": "1",
            "APPVEYOR_RE_BUILD": "True",
            "APPVEYOR_REPO_BRANCH": "main",
            "APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH": "topic",
            "APPVEYOR_PULL_REQUEST_HEAD_COMMIT": "sha",
            "APPVEYOR_REPO_COMMIT": "merge-sha",
            "APPVEYOR_BUILD_NUMBER": "4",
            "APPVEYOR_JOB_NAME": "tests",
            "APPVEYOR_JOB_NUMBER": "2",
            "APPVEYOR_URL": "https://appveyor.example",
            "APPVEYOR_ACCOUNT_NAME": "me",
            "APPVEYOR_PROJECT_SLUG": "shop",
            "APPVEYOR_REPO_COMMIT_AUTHOR": "me",
            "APPVEYOR_PULL_REQUEST_NUMBER": "12",
        },
        {
            "provider": "appveyor",
            "run_key": "1",
            "attempt": "2",
            "branch": "topic",
            "commit": "sha",
            "number": "4",
            "job": "tests",
            "index": "1",
            "url": "https://appveyor.example/project/me/shop/builds/1",
            "actor": "me",
            "pull_request": "12",
        },
    ),
    (
        {
            "JENKINS_URL": "https://jenkins.example/",
            "BUILD_URL": "https://jenkins.example/job/shop/4/",
            "BUILD_TAG": "jenkins-shop-4",
            "GIT_BRANCH": "origin/feature/x",
            "GIT_COMMIT": "sha",
            "BUILD_NUMBER": "4",
            "STAGE_NAME": "tests",
            "CHANGE_AUTHOR": "me",
            "CHANGE_ID": "12",
        },
        {
            "provider": "jenkins",
            "run_key": "https://jenkins.example/job/shop/4/",
            "branch": "feature/x",
            "commit": "sha",
            "number": "4",
            "job": "tests",
            "url": "https://jenkins.example/job/shop/4/",
            "actor": "me",
            "pull_request": "12",
        },
    ),
]


@pytest.mark.parametrize(("environ", "known"), PROVIDERS, ids=[known["provider"] for _, known in PROVIDERS])
def test_a_build_is_read_from_its_providers_variables(environ: dict[str, str], known: dict[str, str]) -> None:
    assert build(environ) == known


@pytest.mark.parametrize(
    ("detected", "field", "names"),
    [
        ("GITHUB_ACTIONS", "branch", "GITHUB_HEAD_REF GITHUB_REF_NAME"),
        ("GITHUB_ACTIONS", "actor", "GITHUB_TRIGGERING_ACTOR GITHUB_ACTOR"),
        (
            "GITLAB_CI",
            "branch",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME CI_COMMIT_BRANCH CI_COMMIT_REF_NAME",
        ),
        ("GITLAB_CI", "commit", "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA CI_COMMIT_SHA"),
        ("GITLAB_CI", "job", "CI_JOB_GROUP_NAME CI_JOB_NAME"),
        ("JENKINS_URL", "run_key", "BUILD_URL BUILD_TAG"),
        ("JENKINS_URL", "branch", "CHANGE_BRANCH BRANCH_NAME GIT_LOCAL_BRANCH GIT_BRANCH"),
        ("JENKINS_URL", "commit", "ghprbActualCommit GIT_COMMIT"),
        ("JENKINS_URL", "actor", "BUILD_USER_ID CHANGE_AUTHOR"),
        ("JENKINS_URL", "pull_request", "CHANGE_ID ghprbPullId gitlabMergeRequestIid"),
        ("CIRCLECI", "run_key", "CIRCLE_WORKFLOW_WORKSPACE_ID CIRCLE_WORKFLOW_ID"),
        ("CIRCLECI", "pull_request", "CIRCLE_PR_NUMBER CIRCLE_PULL_REQUEST"),
        ("BUILDKITE", "job", "BUILDKITE_STEP_KEY BUILDKITE_STEP_ID"),
        ("BUILDKITE", "actor", "BUILDKITE_BUILD_CREATOR BUILDKITE_BUILD_AUTHOR"),
        ("TF_BUILD", "branch", "SYSTEM_PULLREQUEST_SOURCEBRANCH BUILD_SOURCEBRANCH"),
        ("TF_BUILD", "commit", "SYSTEM_PULLREQUEST_SOURCECOMMITID BUILD_SOURCEVERSION"),
        (
            "TF_BUILD",
            "pull_request",
            "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER SYSTEM_PULLREQUEST_PULLREQUESTID",
        ),
        ("BITBUCKET_BUILD_NUMBER", "run_key", "BITBUCKET_PIPELINE_UUID"),
        ("TRAVIS", "branch", "TRAVIS_PULL_REQUEST_BRANCH TRAVIS_BRANCH"),
        ("TRAVIS", "commit", "TRAVIS_PULL_REQUEST_SHA TRAVIS_COMMIT"),
        ("DRONE", "branch", "DRONE_SOURCE_BRANCH DRONE_BRANCH"),
        ("DRONE", "actor", "DRONE_BUILD_TRIGGER DRONE_COMMIT_AUTHOR"),
        ("CI", "branch", "CI_COMMIT_SOURCE_BRANCH CI_COMMIT_BRANCH"),
        ("CI", "actor", "CI_PIPELINE_AUTHOR CI_COMMIT_AUTHOR"),
        ("CODEBUILD_BUILD_ARN", "actor", "CODEBUILD_WEBHOOK_ACTOR_ACCOUNT_ID CODEBUILD_INITIATOR"),
        ("BUILDER_OUTPUT", "branch", "_HEAD_BRANCH BRANCH_NAME"),
        ("APPVEYOR", "branch", "APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH APPVEYOR_REPO_BRANCH"),
        ("APPVEYOR", "commit", "APPVEYOR_PULL_REQUEST_HEAD_COMMIT APPVEYOR_REPO_COMMIT"),
    ],
)
def test_of_several_variables_the_first_that_is_set_counts(detected: str, field: str, names: str) -> None:
    environ = {detected: next(each.value or "1" for each in TABLE if each.variable == detected)}
    for number, name in enumerate(reversed(names.split())):
        environ[name] = str(number)
        assert build(environ)[field] == str(number)


def test_teamcity_has_values_in_properties_files(tmp_path: Path) -> None:
    (tmp_path / "more.properties").write_text(
        "teamcity.build.id=77\nteamcity.build.branch=feature/\\#1\\:x\n"
        "teamcity.build.parallelTests.currentBatch=2\nteamcity.build.parallelTests.totalBatches=4\n"
    )
    more = str(tmp_path / "more.properties").replace(":", "\\:")
    (tmp_path / "build.properties").write_text(
        f"# a comment\n! another\n\nteamcity.configuration.properties.file={more}\nno value\n"
    )
    environ = {
        "TEAMCITY_VERSION": "2025.1",
        "TEAMCITY_BUILD_PROPERTIES_FILE": str(tmp_path / "build.properties"),
        "BUILD_VCS_NUMBER": "sha",
        "BUILD_NUMBER": "4",
        "TEAMCITY_BUILDCONF_NAME": "tests",
        "BUILD_URL": "https://teamcity.example/4",
        "TEAMCITY_BUILD_TRIGGEREDBY_USERNAME": "me",
        "TEAMCITY_PULLREQUEST_NUMBER": "12",
    }
    assert build(environ) == {
        "provider": "teamcity",
        "run_key": "77",
        "branch": "feature/#1:x",
        "commit": "sha",
        "number": "4",
        "job": "tests",
        "index": "1",
        "total": "4",
        "url": "https://teamcity.example/4",
        "actor": "me",
        "pull_request": "12",
    }


def test_every_provider_is_tested() -> None:
    tested = {known["provider"] for _, known in PROVIDERS} | {"teamcity"}
    assert tested == {each.name for each in TABLE}
    assert len(TABLE) == 14


@pytest.mark.parametrize(
    ("event", "commit", "number"),
    [
        ({"pull_request": {"number": 12, "head": {"sha": "own-sha"}}}, "own-sha", "12"),
        ({"pull_request": {"number": [12], "head": {"sha": {"a": 1}}}}, "merge-sha", ""),
        ({"pull_request": {"head": "text"}}, "merge-sha", ""),
        ({"pull_request": None}, "merge-sha", ""),
        ({"pull_request": ["x"]}, "merge-sha", ""),
        (["x"], "merge-sha", ""),
        ("text", "merge-sha", ""),
        (b"not JSON", "merge-sha", ""),
        (b"\xff\xfe", "merge-sha", ""),
        (b"[" * 200_000, "merge-sha", ""),
        (b"", "merge-sha", ""),
        (None, "merge-sha", ""),
    ],
    ids=range(12),
)
def test_githubs_event_file_names_the_pull_requests_own_commit(
    event: Any, commit: str, number: str, tmp_path: Path
) -> None:
    path = tmp_path / "event.json"
    if event is not None:
        path.write_bytes(event if isinstance(event, bytes) else json.dumps(event).encode())
    known = build({"GITHUB_ACTIONS": "true", "GITHUB_SHA": "merge-sha", "GITHUB_EVENT_PATH": str(path)})
    assert (known["commit"], known.get("pull_request", "")) == (commit, number)


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff", b"=", b"teamcity.configuration.properties.file=a\x00b"]
)
def test_teamcitys_files_may_hold_anything(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(content)
    environ = {"TEAMCITY_VERSION": "1", "TEAMCITY_BUILD_PROPERTIES_FILE": str(tmp_path / "it")}
    assert build(environ) == {"provider": "teamcity"}
    environ["TEAMCITY_BUILD_PROPERTIES_FILE"] = str(tmp_path)
    assert build(environ) == {"provider": "teamcity"}


@pytest.mark.parametrize("value", HOSTILE_NUMBERS)
def test_an_invalid_number_is_empty(value: str) -> None:
    assert build({"GITLAB_CI": "true", "CI_NODE_INDEX": value, "CI_JOB_RETRY_COUNT": value}) == {
        "provider": "gitlab"
    }
    assert build({"TRAVIS": "true", "TRAVIS_JOB_NUMBER": f"4.{value}x"}) == {"provider": "travis"}


VARIABLES = sorted({name for environ, _ in PROVIDERS for name in environ} | {each.variable for each in TABLE})


@pytest.mark.parametrize(
    ("environ", "attempt"),
    [
        ({"DRONE": "true"}, ""),
        ({"DRONE": "true", "DRONE_BUILD_PARENT": "0"}, ""),
        ({"DRONE": "true", "DRONE_BUILD_PARENT": "41"}, "2"),
        ({"CI": "woodpecker", "CI_PIPELINE_PARENT": "0"}, ""),
        ({"CI": "woodpecker", "CI_PIPELINE_PARENT": "41"}, "2"),
    ],
)
def test_a_restart_that_names_its_parent_is_the_second_attempt(environ: dict[str, str], attempt: str) -> None:
    assert build(environ).get("attempt", "") == attempt


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(max_size=20), max_size=12))
def test_any_environment_can_be_read(environ: dict[str, str]) -> None:
    found = detect_build(environ)
    metadata: dict[str, Any] = found.metadata() if found is not None else {}
    assert all(isinstance(value, str) and value for value in metadata.values())


def test_git_provides_what_ci_does_not(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=me", "-c", "user.email=me@example.com", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet", "--initial-branch", "topic")
    git("commit", "--quiet", "--allow-empty", "--message", "first")
    commit = git("rev-parse", "HEAD")
    assert build_metadata(tmp_path, {}) == {"branch": "topic", "commit": commit}
    known = build_metadata(tmp_path, {"GITHUB_ACTIONS": "true", "GITHUB_SHA": "sha"})
    assert known == {"branch": "topic", "commit": "sha", "ci": "github"}
    git("checkout", "--quiet", "--detach")
    assert build_metadata(tmp_path, {}) == {"commit": commit}


def test_without_ci_and_git_there_is_no_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert build_metadata(tmp_path, {}) == {}
    monkeypatch.setenv("PATH", "")
    assert build_metadata(tmp_path, {}) == {}


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("https://user:secret@example.com/team/shop.git", "shop"),
        ("git@example.com:team/shop.git", "shop"),
        ("git@example.com:shop", "shop"),
        ("team/shop/", "shop"),
        ("/srv/git/shop.git", "shop"),
        ("", ""),
    ],
)
def test_the_project_is_named_after_its_repository(location: str, name: str) -> None:
    assert repository_name(location) == name


def test_the_configured_project_wins_over_ci_and_ci_over_git(tmp_path: Path) -> None:
    ci = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "team/shop"}
    assert build_metadata(tmp_path, ci)["project"] == "shop"
    assert build_metadata(tmp_path, ci, project="store")["project"] == "store"


def test_git_names_the_repository_and_the_folder_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "services" / "shop"
    folder.mkdir(parents=True)
    url = "https://me:secret@git.example.com/team/shop.git"
    for arguments in (["init", "--quiet"], ["remote", "add", "origin", url]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    found = build_metadata(folder, {})
    assert (found["repositoryUrl"], found["rootPath"]) == (
        "https://git.example.com/team/shop.git",
        "services/shop",
    )
    assert "rootPath" not in build_metadata(tmp_path, {})
    subprocess.run(["git", "remote", "set-url", "origin", str(tmp_path)], cwd=tmp_path, check=True)
    assert "repositoryUrl" not in build_metadata(folder, {})
