"""The public API as users write it, for a type checker: mypy has to accept this file. Nothing runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typing_extensions import assert_type

import pytest_tms
from pytest_tms import JobToken, Summary, Tms, TmsClient, TmsError, errors, signing, wire

# ---- the SDK


def exchange() -> JobToken:
    """Exchange the ID token of a CI job."""
    token = JobToken("https://tms.example.com/api", lambda audience: audience, name="this job", retries=0)
    with TmsClient("https://tms.example.com/api", token) as client:
        assert_type(client.exchange_id_token("ID TOKEN"), wire.IssuedToken)
    assert_type(token.text(), str)
    return token


def report(token: str) -> str:
    """Report an execution of two shards."""
    with TmsClient(
        "https://tms.example.com/api", token, retries=2, connect_timeout=1, read_timeout=5
    ) as client:
        assert_type(client, TmsClient)
        if "gzip" in client.describe_service().capabilities:
            client.compress = True
        created = client.create_execution(
            wire.ExecutionRequest(
                test_suite="smoke",
                environment="staging",
                configuration=wire.Configuration(shards=2, browsers=["chromium"], timeout=60_000),
                metadata={"branch": "main"},
            ),
            key="a-key-of-mine",
        )
        assert_type(created, wire.ExecutionCreated)
        started = wire.Event(
            event="shard.started", execution_id=created.execution_id, data=wire.EventData(shard_id="1")
        )
        accepted = client.send_event(
            started, webhook_url=created.webhook_url, webhook_token=created.webhook_token
        )
        assert_type(accepted, wire.EventAccepted)
        claim = client.claim_tests(
            created.execution_id,
            wire.ClaimRequest(
                runner="r", shard_id="1", number=1, tests=[wire.QueuedTest(node_id="t.py::test_login")]
            ),
            webhook_token=created.webhook_token,
        )
        assert_type(claim, wire.Claim)
        test = wire.TestResult(
            title="test_login",
            status="passed",
            duration=12,
            tags=["@smoke"],
            artifacts=[wire.Artifact(name="login.png", kind="screenshot", path="login.png")],
            attempts=[wire.Attempt(outcome="failed"), wire.Attempt(outcome="passed")],
            subtests=[wire.Subtest(title="as admin", status="passed")],
        )
        submitted = client.submit_results(
            wire.ResultsSubmission(
                execution_id=created.execution_id,
                shard_id="1",
                status="completed",
                results=wire.ReportedCounts(total=1, passed=1),
                tests=[test],
                artifacts=wire.ArtifactNames(screenshots=["login.png"]),
            )
        )
        assert_type(client.list_failures(created.execution_id, limit=10), wire.FailurePage)
        assert_type(client.read_artifact(created.execution_id, "0" * 64, limit=10), bytes)
        assert_type(client.get_changes(created.execution_id, shards=["1"]), wire.RunChanges)
        assert_type(client.compare_executions(created.execution_id, "exec_1"), wire.ExecutionComparison)
        assert_type(client.list_registered_tests(q="login", flaky=True), wire.RegisteredTestPage)
        assert_type(client.get_test_history("17", branch="main"), wire.TestHistory)
        assert_type(client.list_quarantine(execution=created.execution_id), wire.QuarantinePage)
        assert_type(client.list_known_tests(created.execution_id), wire.KnownTests)
        assert_type(client.decide_rename("17", "9", is_same=True), wire.RenamedTest)
        assert_type(client.list_cases(kind="missing"), wire.CasePage)
        plan = wire.CasePlan(cases=[wire.PlannedCase(id="TC-12", title="A customer pays by card")])
        assert_type(client.import_cases(plan), wire.PlanChange)
        entry = client.add_to_quarantine(
            wire.QuarantineRequest(
                node_id="tests/test_a.py::test_b", reason="slow network", until="2026-12-31"
            )
        )
        assert_type(entry, wire.QuarantineEntry)
        assert_type(client.remove_from_quarantine(entry.id), wire.QuarantineEntry)
        assert_type(submitted.summary.tests_processed, int)
        return created.report_url


def read(client: TmsClient, execution_id: str) -> list[str]:
    """Read an execution back."""
    status = client.get_execution(execution_id)
    assert_type(status.results.failed, int)
    assert_type(status.progress.duration, int | None)
    assert_type(status.shard_results, list[wire.ShardResult])
    assert_type(client.list_tests(execution_id, status="failed", limit=10).cursor, str | None)
    assert_type(client.cancel_execution(execution_id), wire.ExecutionCancelled)
    return [str(test["title"]) for test in client.iter_tests(execution_id, status="failed")]


def webhooks(client: TmsClient) -> None:
    """Manage a webhook."""
    webhook = client.create_webhook(
        wire.WebhookRequest(
            url="https://ci.example.com/hooks",
            events=["execution.completed"],
            headers={"Authorization": "Bearer x"},
            retry_policy=wire.RetryPolicy(max_retries=5),
            filters=wire.WebhookFilters(test_suites=["smoke"]),
        )
    )
    assert_type(webhook.secret, str | None)
    assert_type(client.list_webhooks(), list[wire.Webhook])
    assert_type(client.get_webhook(webhook.webhook_id), wire.Webhook)
    client.update_webhook(webhook.webhook_id, wire.WebhookChange(status="paused"))
    client.rotate_webhook_secret(webhook.webhook_id, wire.SecretRotation(secret="whsec_…"))
    assert_type(client.validate_webhook(webhook.webhook_id), wire.WebhookValidation)
    page = client.list_deliveries(webhook.webhook_id, status="failed", cursor=None, limit=10)
    assert_type(page, wire.DeliveryPage)
    assert_type(client.replay_deliveries(webhook.webhook_id), int)
    assert_type(client.delete_webhook(webhook.webhook_id), wire.WebhookDeleted)


def handle(client: TmsClient) -> float | None:
    """Handle errors: the most specific first."""
    try:
        client.get_execution("exec_1")
    except errors.RateLimited as error:
        return error.retry_after
    except errors.Unprocessable as error:
        assert_type(error.details, tuple[errors.Problem, ...])
        print(*(f"{problem.field}: {problem.message}" for problem in error.details))
    except errors.ApiError as error:
        print(error.status, error.code, error.request_id)
    except (errors.Unreachable, errors.NotTms):
        raise
    except TmsError as error:
        print(error)
    return None


def receive(headers: dict[str, str], body: bytes) -> str | None:
    """Receive a webhook."""
    try:
        return signing.verify("whsec_…", headers, body, tolerance=60)
    except signing.InvalidSignature:
        return None


assert_type(signing.sign(["whsec_…"], "msg_1", 1_700_000_000, b"{}"), dict[str, str])
assert_type(pytest_tms.TmsClient, type[TmsClient])

# A name that does not exist is an error, not Any: mypy reports an ignore that is not needed.
pytest_tms.TmsClinet  # type: ignore[attr-defined]  # noqa: B018
wire.TestResults  # type: ignore[attr-defined]  # noqa: B018
wire.TestResult(title="test_login", status="pased")  # type: ignore[arg-type]  # not a status

# ---- the plugin: a test and a conftest.py


@pytest.mark.tms(id="CASE-1", title="Users can log in", tags=["@smoke"], owner="team-a")
def test_login(tms: Tms, tmp_path: Path) -> None:
    """Attach what the test leaves."""
    assert_type(tms.attach(tmp_path / "page.png"), Path | None)
    tms.attach(b"...", name="page.png", kind="screenshot")
    tms.attach(b"...", kind="picture")  # type: ignore[arg-type]  # not a kind
    assert_type(tms.execution_id, str | None)
    assert_type(tms.shard_id, str | None)
    tms.property("browser", "chromium")


def pytest_tms_execution(config: pytest.Config, request: dict[str, Any]) -> None:
    """Change the request that creates the execution."""
    request.setdefault("metadata", {})["team"] = config.getini("team")


def pytest_tms_result(report: pytest.TestReport | pytest.CollectReport, result: dict[str, Any]) -> None:
    """Change a result."""
    result["owner"] = report.nodeid.partition("/")[0]


def pytest_tms_finished(config: pytest.Config, summary: Summary) -> None:
    """Print where the report is."""
    assert_type(summary.kept_in, Path | None)
    print(config.rootpath, summary.report_url, summary.collected, summary.results, summary.delivered)
    for shard_id, status, counts in summary.shards:
        assert_type(counts, wire.ReportedCounts)
        print(shard_id, status, counts.failed, summary.problem, *summary.warnings, *summary.refused)
