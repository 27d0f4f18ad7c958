"""The table of CI systems: how each is detected, and where it has each value of a ``Build``.

A field names its sources in order; the first that has a value counts. A text is the name of a variable, or a
template with {VARIABLES}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pytest_tms.ci.sources import JsonField, Match, Number, Property, Repeated, Source, Variable

Fields = Mapping[str, tuple[str | Source, ...]]


class Provider(NamedTuple):
    """One CI system: it is detected by ``variable``, if that has ``value`` (any if empty)."""

    name: str
    variable: str
    fields: Fields
    value: str = ""


BRANCH = r"^(?:refs/heads/)?(.+)"


def _event(*keys: str) -> JsonField:
    return JsonField("GITHUB_EVENT_PATH", keys)


def _teamcity(name: str, add: int = 0) -> Property:
    file, more = "TEAMCITY_BUILD_PROPERTIES_FILE", "teamcity.configuration.properties.file"
    return Property(file, more, f"teamcity.build.{name}", add)


PROVIDERS = (
    Provider(
        "github",
        "GITHUB_ACTIONS",
        {
            "run_key": ("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/{GITHUB_RUN_ID}",),
            "attempt": ("GITHUB_RUN_ATTEMPT",),
            "branch": ("GITHUB_HEAD_REF", "GITHUB_REF_NAME"),
            # GITHUB_SHA of a pull request is the commit of its merge.
            "commit": (_event("pull_request", "head", "sha"), "GITHUB_SHA"),
            "number": ("GITHUB_RUN_NUMBER",),
            "job": ("GITHUB_JOB",),
            "url": (
                "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}"
                "/attempts/{GITHUB_RUN_ATTEMPT}",
            ),
            "actor": ("GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR"),
            "repository": ("GITHUB_REPOSITORY",),
            "pull_request": (Match("GITHUB_REF", r"^refs/pull/(\d+)/"), _event("pull_request", "number")),
        },
        value="true",
    ),
    Provider(
        "gitlab",
        "GITLAB_CI",
        {
            "run_key": ("{CI_SERVER_HOST}/{CI_PIPELINE_ID}",),
            "attempt": (Number("CI_JOB_RETRY_COUNT", 1),),
            "branch": ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_BRANCH", "CI_COMMIT_REF_NAME"),
            "commit": ("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "CI_COMMIT_SHA"),
            "number": ("CI_PIPELINE_IID",),
            # The name of a parallel job ends in its index, as in "tests 2/4".
            "job": ("CI_JOB_GROUP_NAME", Match("CI_JOB_NAME", r"^(.*?)(?: \d+/\d+)?$")),
            "index": (Number("CI_NODE_INDEX", -1),),
            "total": ("CI_NODE_TOTAL",),
            "url": ("CI_PIPELINE_URL",),
            "actor": ("GITLAB_USER_LOGIN",),
            "repository": ("CI_PROJECT_PATH",),
            "pull_request": ("CI_MERGE_REQUEST_IID",),
        },
    ),
    Provider(
        "circleci",
        "CIRCLECI",
        {
            # The workspace stays the same when a workflow is run again.
            "run_key": ("CIRCLE_WORKFLOW_WORKSPACE_ID", "CIRCLE_WORKFLOW_ID"),
            "branch": ("CIRCLE_BRANCH",),
            "commit": ("CIRCLE_SHA1",),
            "number": ("CIRCLE_BUILD_NUM",),
            "job": ("CIRCLE_JOB",),
            "index": ("CIRCLE_NODE_INDEX",),
            "total": ("CIRCLE_NODE_TOTAL",),
            "url": ("https://app.circleci.com/pipelines/workflows/{CIRCLE_WORKFLOW_ID}",),
            "actor": ("CIRCLE_USERNAME",),
            "repository": ("CIRCLE_PROJECT_REPONAME",),
            "pull_request": ("CIRCLE_PR_NUMBER", Match("CIRCLE_PULL_REQUEST", r"(\d+)$")),
        },
    ),
    Provider(
        "buildkite",
        "BUILDKITE",
        {
            "run_key": ("BUILDKITE_BUILD_ID",),
            "attempt": (Number("BUILDKITE_RETRY_COUNT", 1),),
            "branch": ("BUILDKITE_BRANCH",),
            "commit": (Variable("BUILDKITE_COMMIT", ignored="HEAD"),),
            "number": ("BUILDKITE_BUILD_NUMBER",),
            "job": ("BUILDKITE_STEP_KEY", "BUILDKITE_STEP_ID"),
            "index": ("BUILDKITE_PARALLEL_JOB",),
            "total": ("BUILDKITE_PARALLEL_JOB_COUNT",),
            "url": ("{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}",),
            "actor": ("BUILDKITE_BUILD_CREATOR", "BUILDKITE_BUILD_AUTHOR"),
            "repository": ("BUILDKITE_REPO",),
            "pull_request": (Variable("BUILDKITE_PULL_REQUEST", ignored="false"),),
        },
    ),
    Provider(
        "azure",
        "TF_BUILD",
        {
            "run_key": ("{SYSTEM_COLLECTIONID}/{BUILD_BUILDID}",),
            "attempt": ("SYSTEM_JOBATTEMPT",),
            "branch": (
                Match("SYSTEM_PULLREQUEST_SOURCEBRANCH", BRANCH),
                Match("BUILD_SOURCEBRANCH", BRANCH),
            ),
            "commit": ("SYSTEM_PULLREQUEST_SOURCECOMMITID", "BUILD_SOURCEVERSION"),
            "number": ("BUILD_BUILDNUMBER",),
            "job": ("SYSTEM_PHASENAME",),
            "index": (Number("SYSTEM_JOBPOSITIONINPHASE", -1),),
            "total": ("SYSTEM_TOTALJOBSINPHASE",),
            "url": (
                "{SYSTEM_TEAMFOUNDATIONCOLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results"
                "?buildId={BUILD_BUILDID}",
            ),
            "actor": ("BUILD_REQUESTEDFOR",),
            "repository": ("BUILD_REPOSITORY_NAME",),
            "pull_request": (
                "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER",
                "SYSTEM_PULLREQUEST_PULLREQUESTID",
            ),
        },
    ),
    Provider(
        "bitbucket",
        "BITBUCKET_BUILD_NUMBER",
        {
            "run_key": ("BITBUCKET_PIPELINE_UUID", "{BITBUCKET_REPO_FULL_NAME}/{BITBUCKET_BUILD_NUMBER}"),
            "attempt": ("BITBUCKET_STEP_RUN_NUMBER",),
            "branch": ("BITBUCKET_BRANCH",),
            "commit": ("BITBUCKET_COMMIT",),
            "number": ("BITBUCKET_BUILD_NUMBER",),
            "index": ("BITBUCKET_PARALLEL_STEP",),
            "total": ("BITBUCKET_PARALLEL_STEP_COUNT",),
            "url": (
                "https://bitbucket.org/{BITBUCKET_REPO_FULL_NAME}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",
            ),
            "actor": ("BITBUCKET_STEP_TRIGGERER_UUID",),
            "repository": ("BITBUCKET_REPO_SLUG",),
            "pull_request": ("BITBUCKET_PR_ID",),
        },
    ),
    Provider(
        "travis",
        "TRAVIS",
        {
            "run_key": ("{TRAVIS_REPO_SLUG}/{TRAVIS_BUILD_ID}",),
            "attempt": (Repeated("TRAVIS_JOB_RESTARTED", "true"),),
            "branch": ("TRAVIS_PULL_REQUEST_BRANCH", "TRAVIS_BRANCH"),
            "commit": ("TRAVIS_PULL_REQUEST_SHA", "TRAVIS_COMMIT"),
            "number": ("TRAVIS_BUILD_NUMBER",),
            "job": ("TRAVIS_BUILD_STAGE_NAME",),
            "index": (Match("TRAVIS_JOB_NUMBER", r"\.(\d+)$", -1),),
            "url": ("TRAVIS_BUILD_WEB_URL",),
            "actor": ("TRAVIS_JOB_RESTARTED_BY",),
            "repository": ("TRAVIS_REPO_SLUG",),
            "pull_request": (Variable("TRAVIS_PULL_REQUEST", ignored="false"),),
        },
    ),
    Provider(
        "teamcity",
        "TEAMCITY_VERSION",
        {
            # Batches of parallel tests are builds of their own, each with an id.
            "run_key": (_teamcity("id"),),
            "branch": (_teamcity("branch"),),
            "commit": ("BUILD_VCS_NUMBER",),
            "number": ("BUILD_NUMBER",),
            "job": ("TEAMCITY_BUILDCONF_NAME",),
            "index": (_teamcity("parallelTests.currentBatch", -1),),
            "total": (_teamcity("parallelTests.totalBatches"),),
            "url": ("BUILD_URL",),
            "actor": ("TEAMCITY_BUILD_TRIGGEREDBY_USERNAME",),
            "pull_request": ("TEAMCITY_PULLREQUEST_NUMBER",),
        },
    ),
    Provider(
        "drone",
        "DRONE",
        {
            "run_key": ("{DRONE_REPO}/{DRONE_BUILD_NUMBER}",),
            # A restart is a build with a number of its own, and names its parent.
            "attempt": (Repeated("DRONE_BUILD_PARENT"),),
            "branch": ("DRONE_SOURCE_BRANCH", "DRONE_BRANCH"),
            "commit": ("DRONE_COMMIT_SHA",),
            "number": ("DRONE_BUILD_NUMBER",),
            "job": ("DRONE_STAGE_NAME",),
            "index": (Number("DRONE_STAGE_NUMBER", -1),),
            "url": ("DRONE_BUILD_LINK",),
            "actor": ("DRONE_BUILD_TRIGGER", "DRONE_COMMIT_AUTHOR"),
            "repository": ("DRONE_REPO",),
            "pull_request": ("DRONE_PULL_REQUEST",),
        },
    ),
    Provider(
        "woodpecker",
        "CI",
        {
            "run_key": ("{CI_REPO}/{CI_PIPELINE_NUMBER}",),
            # A restart is a pipeline with a number of its own, and names its parent.
            "attempt": (Repeated("CI_PIPELINE_PARENT"),),
            "branch": ("CI_COMMIT_SOURCE_BRANCH", "CI_COMMIT_BRANCH"),
            "commit": ("CI_COMMIT_SHA",),
            "number": ("CI_PIPELINE_NUMBER",),
            "job": ("CI_WORKFLOW_NAME",),
            "url": ("CI_PIPELINE_URL",),
            "actor": ("CI_PIPELINE_AUTHOR", "CI_COMMIT_AUTHOR"),
            "repository": ("CI_REPO",),
            "pull_request": ("CI_COMMIT_PULL_REQUEST",),
        },
        value="woodpecker",
    ),
    Provider(
        "codebuild",
        "CODEBUILD_BUILD_ARN",
        {
            # Each build of a batch has an id of its own; there is none for the batch.
            "run_key": ("CODEBUILD_BUILD_ID",),
            "branch": (Match("CODEBUILD_WEBHOOK_HEAD_REF", BRANCH),),
            "commit": ("CODEBUILD_RESOLVED_SOURCE_VERSION",),
            "number": ("CODEBUILD_BUILD_NUMBER",),
            "index": (Match("CODEBUILD_BATCH_BUILD_IDENTIFIER", r"(\d+)$", -1),),
            "url": ("CODEBUILD_PUBLIC_BUILD_URL",),
            "actor": ("CODEBUILD_WEBHOOK_ACTOR_ACCOUNT_ID", "CODEBUILD_INITIATOR"),
            "repository": ("CODEBUILD_SOURCE_REPO_URL",),
            "pull_request": (Match("CODEBUILD_SOURCE_VERSION", r"^pr/(\d+)"),),
        },
    ),
    # Google Cloud Build passes a step only the substitutions that its ``env`` maps to variables.
    Provider(
        "gcb",
        "BUILDER_OUTPUT",
        {
            "run_key": ("{PROJECT_ID}/{BUILD_ID}",),
            "branch": ("_HEAD_BRANCH", "BRANCH_NAME"),
            "commit": ("COMMIT_SHA",),
            "number": ("BUILD_ID",),
            "job": ("TRIGGER_NAME",),
            "url": (
                "https://console.cloud.google.com/cloud-build/builds;region={LOCATION}/{BUILD_ID}"
                "?project={PROJECT_ID}",
            ),
            "repository": ("REPO_NAME",),
            "pull_request": ("_PR_NUMBER",),
        },
    ),
    Provider(
        "appveyor",
        "APPVEYOR",
        {
            "run_key": ("APPVEYOR_BUILD_ID",),
            "attempt": (
                Repeated("APPVEYOR_RE_BUILD", "true"),
                Repeated("APPVEYOR_RE_RUN_INCOMPLETE", "true"),
            ),
            "branch": ("APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH", "APPVEYOR_REPO_BRANCH"),
            "commit": ("APPVEYOR_PULL_REQUEST_HEAD_COMMIT", "APPVEYOR_REPO_COMMIT"),
            "number": ("APPVEYOR_BUILD_NUMBER",),
            "job": ("APPVEYOR_JOB_NAME",),
            "index": (Number("APPVEYOR_JOB_NUMBER", -1),),
            "url": (
                "{APPVEYOR_URL}/project/{APPVEYOR_ACCOUNT_NAME}/{APPVEYOR_PROJECT_SLUG}"
                "/builds/{APPVEYOR_BUILD_ID}",
            ),
            "actor": ("APPVEYOR_REPO_COMMIT_AUTHOR",),
            "repository": ("APPVEYOR_REPO_NAME",),
            "pull_request": ("APPVEYOR_PULL_REQUEST_NUMBER",),
        },
    ),
    Provider(
        "jenkins",
        "JENKINS_URL",
        {
            "run_key": ("BUILD_URL", "BUILD_TAG"),
            # GIT_BRANCH includes the name of the remote.
            "branch": (
                "CHANGE_BRANCH",
                "BRANCH_NAME",
                "GIT_LOCAL_BRANCH",
                Match("GIT_BRANCH", r"^(?:origin/)?(.*)"),
            ),
            "commit": ("ghprbActualCommit", "GIT_COMMIT"),
            "number": ("BUILD_NUMBER",),
            "job": ("STAGE_NAME",),
            "url": ("BUILD_URL",),
            "actor": ("BUILD_USER_ID", "CHANGE_AUTHOR"),
            "repository": ("GIT_URL",),
            "pull_request": ("CHANGE_ID", "ghprbPullId", "gitlabMergeRequestIid"),
        },
    ),
)
"""In the order of detection: the first provider whose variable is set counts."""
