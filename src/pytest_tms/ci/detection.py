"""What the CI says about a build: fourteen providers, one function each, with their own variables.

Every function reads ``Env`` and answers a ``Build``; a field that the provider does not tell is empty.
What no CI tells comes from git, or is left out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """One CI job. ``run`` is one for all jobs of a pipeline; ``index`` counts from 0 within ``total``."""

    provider: str
    run: str = ""
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

    def metadata(self) -> dict[str, str]:
        """The build as an execution's metadata: the documented names first, then ours; nothing empty."""
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


class Env:
    """An environment, with the few ways in which providers want it read; what is not there is empty."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def first(self, *names: str, but: str = "") -> str:
        """The first of the variables that is set and is not ``but``."""
        return next((value for name in names if (value := self._environ.get(name, "")) and value != but), "")

    def fill(self, template: str) -> str:
        """``template`` with its {VARIABLES} filled in, or empty where one is missing."""
        names = re.findall(r"{(\w+)}", template)
        if not all(self._environ.get(name) for name in names):
            return ""
        return template.format_map({name: self._environ[name] for name in names})

    def match(self, pattern: str, *names: str) -> str:
        """The first group of ``pattern`` in the first variable that it is found in."""
        for name in names:
            if found := re.search(pattern, self._environ.get(name, "")):
                return found.group(1)
        return ""

    def add(self, name: str, number: int) -> str:
        """A whole number, plus ``number``."""
        value = self._environ.get(name, "")
        return str(int(value) + number) if re.fullmatch(r"-?\d{1,18}", value) else ""

    def json_file(self, name: str) -> dict[str, Any]:
        """The JSON object in the file that a variable names."""
        try:
            document = json.loads(Path(self._environ[name]).read_text(encoding="utf-8"))
        except (KeyError, OSError, ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def properties(self, name: str) -> dict[str, str]:
        """The Java properties in the file that a variable names."""
        try:
            text = Path(self._environ[name]).read_text(encoding="latin-1")
        except (KeyError, OSError, ValueError):
            return {}
        pairs = (line.partition("=") for line in text.splitlines() if line and line[0] not in "#!")
        return {key.strip(): re.sub(r"\\(.)", r"\1", value.strip()) for key, _, value in pairs}


def github(env: Env) -> Build:
    """GitHub Actions; a pull request's own commit stands in the event file."""
    pull = env.json_file("GITHUB_EVENT_PATH").get("pull_request")
    head = pull.get("head") if isinstance(pull, dict) else None
    return Build(
        provider="github",
        run=env.fill("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/{GITHUB_RUN_ID}"),
        attempt=env.first("GITHUB_RUN_ATTEMPT"),
        branch=env.first("GITHUB_HEAD_REF", "GITHUB_REF_NAME"),
        commit=_told(head, "sha") or env.first("GITHUB_SHA"),
        number=env.first("GITHUB_RUN_NUMBER"),
        job=env.first("GITHUB_JOB"),
        url=env.fill(
            "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}/attempts/{GITHUB_RUN_ATTEMPT}"
        ),
        actor=env.first("GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR"),
        pull_request=env.match(r"^refs/pull/(\d+)/", "GITHUB_REF") or _told(pull, "number"),
    )


def gitlab(env: Env) -> Build:
    """GitLab CI; a parallel job's name ends in its place, ``name 2/4``."""
    return Build(
        provider="gitlab",
        run=env.fill("{CI_SERVER_HOST}/{CI_PIPELINE_ID}"),
        attempt=env.add("CI_JOB_RETRY_COUNT", 1),
        branch=env.first("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_BRANCH", "CI_COMMIT_REF_NAME"),
        commit=env.first("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "CI_COMMIT_SHA"),
        number=env.first("CI_PIPELINE_IID"),
        job=env.first("CI_JOB_GROUP_NAME") or env.match(r"^(.*?)(?: \d+/\d+)?$", "CI_JOB_NAME"),
        index=env.add("CI_NODE_INDEX", -1),
        total=env.first("CI_NODE_TOTAL"),
        url=env.first("CI_PIPELINE_URL"),
        actor=env.first("GITLAB_USER_LOGIN"),
        pull_request=env.first("CI_MERGE_REQUEST_IID"),
    )


def jenkins(env: Env) -> Build:
    """Jenkins; ``GIT_BRANCH`` carries the remote's name."""
    return Build(
        provider="jenkins",
        run=env.first("BUILD_URL", "BUILD_TAG"),
        branch=env.first("CHANGE_BRANCH", "BRANCH_NAME", "GIT_LOCAL_BRANCH")
        or env.match(r"^(?:origin/)?(.*)", "GIT_BRANCH"),
        commit=env.first("ghprbActualCommit", "GIT_COMMIT"),
        number=env.first("BUILD_NUMBER"),
        job=env.first("STAGE_NAME"),
        url=env.first("BUILD_URL"),
        actor=env.first("BUILD_USER_ID", "CHANGE_AUTHOR"),
        pull_request=env.first("CHANGE_ID", "ghprbPullId", "gitlabMergeRequestIid"),
    )


def circleci(env: Env) -> Build:
    """CircleCI; the workspace's id survives a re-run of the workflow."""
    return Build(
        provider="circleci",
        run=env.first("CIRCLE_WORKFLOW_WORKSPACE_ID", "CIRCLE_WORKFLOW_ID"),
        branch=env.first("CIRCLE_BRANCH"),
        commit=env.first("CIRCLE_SHA1"),
        number=env.first("CIRCLE_BUILD_NUM"),
        job=env.first("CIRCLE_JOB"),
        index=env.first("CIRCLE_NODE_INDEX"),
        total=env.first("CIRCLE_NODE_TOTAL"),
        url=env.fill("https://app.circleci.com/pipelines/workflows/{CIRCLE_WORKFLOW_ID}"),
        actor=env.first("CIRCLE_USERNAME"),
        pull_request=env.first("CIRCLE_PR_NUMBER") or env.match(r"(\d+)$", "CIRCLE_PULL_REQUEST"),
    )


def buildkite(env: Env) -> Build:
    """Buildkite; ``HEAD`` and ``false`` stand for nothing."""
    return Build(
        provider="buildkite",
        run=env.first("BUILDKITE_BUILD_ID"),
        attempt=env.add("BUILDKITE_RETRY_COUNT", 1),
        branch=env.first("BUILDKITE_BRANCH"),
        commit=env.first("BUILDKITE_COMMIT", but="HEAD"),
        number=env.first("BUILDKITE_BUILD_NUMBER"),
        job=env.first("BUILDKITE_STEP_KEY", "BUILDKITE_STEP_ID"),
        index=env.first("BUILDKITE_PARALLEL_JOB"),
        total=env.first("BUILDKITE_PARALLEL_JOB_COUNT"),
        url=env.fill("{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}"),
        actor=env.first("BUILDKITE_BUILD_CREATOR", "BUILDKITE_BUILD_AUTHOR"),
        pull_request=env.first("BUILDKITE_PULL_REQUEST", but="false"),
    )


def azure(env: Env) -> Build:
    """Azure Pipelines; branches come as refs."""
    return Build(
        provider="azure",
        run=env.fill("{SYSTEM_COLLECTIONID}/{BUILD_BUILDID}"),
        attempt=env.first("SYSTEM_JOBATTEMPT"),
        branch=env.match(r"^(?:refs/heads/)?(.+)", "SYSTEM_PULLREQUEST_SOURCEBRANCH", "BUILD_SOURCEBRANCH"),
        commit=env.first("SYSTEM_PULLREQUEST_SOURCECOMMITID", "BUILD_SOURCEVERSION"),
        number=env.first("BUILD_BUILDNUMBER"),
        job=env.first("SYSTEM_PHASENAME"),
        index=env.add("SYSTEM_JOBPOSITIONINPHASE", -1),
        total=env.first("SYSTEM_TOTALJOBSINPHASE"),
        url=env.fill(
            "{SYSTEM_TEAMFOUNDATIONCOLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}"
        ),
        actor=env.first("BUILD_REQUESTEDFOR"),
        pull_request=env.first("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "SYSTEM_PULLREQUEST_PULLREQUESTID"),
    )


def bitbucket(env: Env) -> Build:
    """Bitbucket Pipelines."""
    return Build(
        provider="bitbucket",
        run=env.first("BITBUCKET_PIPELINE_UUID")
        or env.fill("{BITBUCKET_REPO_FULL_NAME}/{BITBUCKET_BUILD_NUMBER}"),
        attempt=env.first("BITBUCKET_STEP_RUN_NUMBER"),
        branch=env.first("BITBUCKET_BRANCH"),
        commit=env.first("BITBUCKET_COMMIT"),
        number=env.first("BITBUCKET_BUILD_NUMBER"),
        index=env.first("BITBUCKET_PARALLEL_STEP"),
        total=env.first("BITBUCKET_PARALLEL_STEP_COUNT"),
        url=env.fill(
            "https://bitbucket.org/{BITBUCKET_REPO_FULL_NAME}/pipelines/results/{BITBUCKET_BUILD_NUMBER}"
        ),
        actor=env.first("BITBUCKET_STEP_TRIGGERER_UUID"),
        pull_request=env.first("BITBUCKET_PR_ID"),
    )


def travis(env: Env) -> Build:
    """Travis CI; it tells that a job was restarted, not how often."""
    return Build(
        provider="travis",
        run=env.fill("{TRAVIS_REPO_SLUG}/{TRAVIS_BUILD_ID}"),
        attempt="2" if env.first("TRAVIS_JOB_RESTARTED") == "true" else "",
        branch=env.first("TRAVIS_PULL_REQUEST_BRANCH", "TRAVIS_BRANCH"),
        commit=env.first("TRAVIS_PULL_REQUEST_SHA", "TRAVIS_COMMIT"),
        number=env.first("TRAVIS_BUILD_NUMBER"),
        job=env.first("TRAVIS_BUILD_STAGE_NAME"),
        index=_less_one(env.match(r"\.(\d+)$", "TRAVIS_JOB_NUMBER")),
        url=env.first("TRAVIS_BUILD_WEB_URL"),
        actor=env.first("TRAVIS_JOB_RESTARTED_BY"),
        pull_request=env.first("TRAVIS_PULL_REQUEST", but="false"),
    )


def teamcity(env: Env) -> Build:
    """TeamCity; most of it stands in the build's properties files, the second named in the first."""
    build = env.properties("TEAMCITY_BUILD_PROPERTIES_FILE")
    known = {**build, **Env(build).properties("teamcity.configuration.properties.file")}
    return Build(
        provider="teamcity",
        run=known.get("teamcity.build.id", ""),
        branch=known.get("teamcity.build.branch", ""),
        commit=env.first("BUILD_VCS_NUMBER"),
        number=env.first("BUILD_NUMBER"),
        job=env.first("TEAMCITY_BUILDCONF_NAME"),
        index=_less_one(known.get("teamcity.build.parallelTests.currentBatch", "")),
        total=known.get("teamcity.build.parallelTests.totalBatches", ""),
        url=env.first("BUILD_URL"),
        actor=env.first("TEAMCITY_BUILD_TRIGGEREDBY_USERNAME"),
        pull_request=env.first("TEAMCITY_PULLREQUEST_NUMBER"),
    )


def drone(env: Env) -> Build:
    """Drone; a restart is a build of its own that names its parent."""
    return Build(
        provider="drone",
        run=env.fill("{DRONE_REPO}/{DRONE_BUILD_NUMBER}"),
        branch=env.first("DRONE_SOURCE_BRANCH", "DRONE_BRANCH"),
        commit=env.first("DRONE_COMMIT_SHA"),
        number=env.first("DRONE_BUILD_NUMBER"),
        job=env.first("DRONE_STAGE_NAME"),
        index=env.add("DRONE_STAGE_NUMBER", -1),
        url=env.first("DRONE_BUILD_LINK"),
        actor=env.first("DRONE_BUILD_TRIGGER", "DRONE_COMMIT_AUTHOR"),
        pull_request=env.first("DRONE_PULL_REQUEST"),
    )


def woodpecker(env: Env) -> Build:
    """Woodpecker; a restart is a pipeline of its own that names its parent."""
    return Build(
        provider="woodpecker",
        run=env.fill("{CI_REPO}/{CI_PIPELINE_NUMBER}"),
        branch=env.first("CI_COMMIT_SOURCE_BRANCH", "CI_COMMIT_BRANCH"),
        commit=env.first("CI_COMMIT_SHA"),
        number=env.first("CI_PIPELINE_NUMBER"),
        job=env.first("CI_WORKFLOW_NAME"),
        url=env.first("CI_PIPELINE_URL"),
        actor=env.first("CI_PIPELINE_AUTHOR", "CI_COMMIT_AUTHOR"),
        pull_request=env.first("CI_COMMIT_PULL_REQUEST"),
    )


def codebuild(env: Env) -> Build:
    """AWS CodeBuild; a batch's jobs have builds of their own."""
    return Build(
        provider="codebuild",
        run=env.first("CODEBUILD_BUILD_ID"),
        branch=env.match(r"^(?:refs/heads/)?(.+)", "CODEBUILD_WEBHOOK_HEAD_REF"),
        commit=env.first("CODEBUILD_RESOLVED_SOURCE_VERSION"),
        number=env.first("CODEBUILD_BUILD_NUMBER"),
        index=_less_one(env.match(r"(\d+)$", "CODEBUILD_BATCH_BUILD_IDENTIFIER")),
        url=env.first("CODEBUILD_PUBLIC_BUILD_URL"),
        actor=env.first("CODEBUILD_WEBHOOK_ACTOR_ACCOUNT_ID", "CODEBUILD_INITIATOR"),
        pull_request=env.match(r"^pr/(\d+)", "CODEBUILD_SOURCE_VERSION"),
    )


def gcb(env: Env) -> Build:
    """Google Cloud Build; it shows a step only the substitutions that its ``env`` maps."""
    return Build(
        provider="gcb",
        run=env.fill("{PROJECT_ID}/{BUILD_ID}"),
        branch=env.first("_HEAD_BRANCH", "BRANCH_NAME"),
        commit=env.first("COMMIT_SHA"),
        number=env.first("BUILD_ID"),
        job=env.first("TRIGGER_NAME"),
        url=env.fill(
            "https://console.cloud.google.com/cloud-build/builds;region={LOCATION}/{BUILD_ID}?project={PROJECT_ID}"
        ),
        pull_request=env.first("_PR_NUMBER"),
    )


def appveyor(env: Env) -> Build:
    """AppVeyor; it tells that a build was run again, not how often."""
    again = env.first("APPVEYOR_RE_BUILD", "APPVEYOR_RE_RUN_INCOMPLETE", but="False")
    return Build(
        provider="appveyor",
        run=env.first("APPVEYOR_BUILD_ID"),
        attempt="2" if again.lower() == "true" else "",
        branch=env.first("APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH", "APPVEYOR_REPO_BRANCH"),
        commit=env.first("APPVEYOR_PULL_REQUEST_HEAD_COMMIT", "APPVEYOR_REPO_COMMIT"),
        number=env.first("APPVEYOR_BUILD_NUMBER"),
        job=env.first("APPVEYOR_JOB_NAME"),
        index=env.add("APPVEYOR_JOB_NUMBER", -1),
        url=env.fill(
            "{APPVEYOR_URL}/project/{APPVEYOR_ACCOUNT_NAME}/{APPVEYOR_PROJECT_SLUG}/builds/{APPVEYOR_BUILD_ID}"
        ),
        actor=env.first("APPVEYOR_REPO_COMMIT_AUTHOR"),
        pull_request=env.first("APPVEYOR_PULL_REQUEST_NUMBER"),
    )


PROVIDERS: tuple[tuple[str, str, Callable[[Env], Build]], ...] = (
    ("GITHUB_ACTIONS", "true", github),
    ("GITLAB_CI", "", gitlab),
    ("CIRCLECI", "", circleci),
    ("BUILDKITE", "", buildkite),
    ("TF_BUILD", "", azure),
    ("BITBUCKET_BUILD_NUMBER", "", bitbucket),
    ("TRAVIS", "", travis),
    ("TEAMCITY_VERSION", "", teamcity),
    ("DRONE", "", drone),
    ("CI", "woodpecker", woodpecker),
    ("CODEBUILD_BUILD_ARN", "", codebuild),
    ("BUILDER_OUTPUT", "", gcb),
    ("APPVEYOR", "", appveyor),
    ("JENKINS_URL", "", jenkins),
)
"""Which variable gives a provider away, with the value that it must have (any where empty)."""


def detect(environ: Mapping[str, str]) -> Build | None:
    """The build that this environment belongs to, or None outside CI."""
    for name, value, read in PROVIDERS:
        if environ.get(name) and value in ("", environ[name]):
            return read(Env(environ))
    return None


def describe(folder: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An execution's metadata from CI, with branch and commit from git in ``folder`` where CI has none."""
    build = detect(environ)
    known = build.metadata() if build else {}
    if "commit" not in known and (commit := _git(folder, "rev-parse", "HEAD")):
        known["commit"] = commit
    if "branch" not in known and (branch := _git(folder, "symbolic-ref", "--short", "HEAD")):
        known["branch"] = branch
    return known


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # fixed words
            ["git", *arguments],  # noqa: S607  # the user's own git
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=2,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _told(document: object, name: str) -> str:
    """A text or whole number in a JSON object, where it is one."""
    value = document.get(name) if isinstance(document, dict) else None
    return str(value) if type(value) in (str, int) else ""


def _less_one(number: str) -> str:
    return str(int(number) - 1) if re.fullmatch(r"\d{1,18}", number) else ""
