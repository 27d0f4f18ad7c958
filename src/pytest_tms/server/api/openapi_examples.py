"""Examples of every message, as typed messages: they cannot differ from the API."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_tms import wire

EXECUTION = "exec_01k3v9q4g2m8x5r7t0b6n1c3d5"
WEBHOOK = "wh_01k3v9s6h4p0z7w2y5e8a3f1j9"
NOW = "2026-03-02T09:15:04.120Z"
BASE = "https://tms.example.com"

_CONFIGURATION = wire.Configuration(
    browsers=["chromium", "firefox"], parallel=True, shards=4, timeout=1_800_000
)
_METADATA = {"branch": "feature/login", "commit": "9f1c2ab", "buildNumber": "512"}
_COUNTS = wire.Counts(total=40, passed=37, failed=2, skipped=1, flaky=1)
_LINKS = wire.Links(
    report_url=f"{BASE}/reports/{EXECUTION}",
    logs_url=f"{BASE}/logs/{EXECUTION}",
    artifacts_url=f"{BASE}/artifacts/{EXECUTION}",
)
_STORED = {
    "browsers": ["chromium", "firefox"],
    "shards": 4,
    "timeout": 1_800_000,
    "testSuite": "smoke",
    "environment": "staging",
}
_TEST = wire.TestResult(
    title="A registered user logs in",
    status="failed",
    file="tests/test_login.py",
    duration=2500,
    error="Expected the dashboard, found the login page",
    retries=1,
    tags=["@smoke", "@critical"],
)
_SHARED_SETUP = wire.SharedSetup(
    scope="module", node="tests/test_cart.py", fixture="filled_database", duration=4_200
)
_WEBHOOK = wire.Webhook(
    webhook_id=WEBHOOK,
    url="https://ci.example.com/hooks/tms",
    events=["execution.started", "execution.completed"],
    status="active",
    created_at=NOW,
    retry_policy={"maxRetries": 3, "retryDelay": 5000, "exponentialBackoff": True},
    filters={"testSuites": ["smoke"], "environments": ["staging"]},
    created_by="tok_01k3v9a1b2c3d4e5f6g7h8j9k0",
)

HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_FILE = wire.StoredArtifact(sha256=HASH, size=48_213, content_type="image/png", uploaded_at=NOW)

REQUESTS: dict[str, msgspec.Struct] = {
    "create_execution": wire.ExecutionRequest(
        test_suite="smoke",
        environment="staging",
        provider="jenkins",
        trigger_source="scheduled",
        configuration=_CONFIGURATION,
        metadata=_METADATA,
    ),
    "submit_results": wire.ResultsSubmission(
        execution_id=EXECUTION,
        shard_id="1",
        provider="jenkins",
        status="failed",
        results=wire.ReportedCounts(total=40, passed=37, failed=2, skipped=1, flaky=1),
        tests=[_TEST],
        artifacts=wire.ArtifactNames(screenshots=["login.png"], logs=["browser.log"]),
        metadata={"browser": "chromium", "startTime": NOW, "endTime": "2026-03-02T09:18:34.120Z"},
    ),
    "claim_tests": wire.ClaimRequest(
        runner="5f6d2c",
        shard_id="1",
        number=1,
        tests=[
            wire.QueuedTest(node_id=f"tests/test_cart.py::{name}", group="tests/test_cart.py")
            for name in ("test_empty", "test_total", "test_discount")
        ],
    ),
    "send_event": wire.Event(
        event="shard.completed",
        execution_id=EXECUTION,
        timestamp=NOW,
        data=wire.EventData(
            shard_id="1",
            status="completed",
            results=wire.ReportedCounts(total=40, passed=39, failed=0, skipped=1),
            duration=210_000,
        ),
    ),
    "add_to_quarantine": wire.QuarantineRequest(
        node_id="tests/test_cart.py::test_open",
        reason="Waits for SHOP-12",
        until="2026-03-31",
        owner="shop",
        project="shop",
    ),
    "decide_rename": wire.RenameDecision(earlier_key="9", is_same=True),
    "exchange_id_token": wire.TokenRequest(id_token="eyJhbGciOiJSUzI1NiIsImtpZCI6IkEifQ.e30.c2ln"),  # noqa: S106  # an example
    "import_cases": wire.CasePlan(
        project="shop", cases=[wire.PlannedCase(id="TC-12", title="A customer pays by card")]
    ),
    "create_webhook": wire.WebhookRequest(
        url="https://ci.example.com/hooks/tms",
        events=["execution.started", "execution.completed"],
        secret="a-long-and-random-secret",  # noqa: S106  # an example
        retry_policy=wire.RetryPolicy(max_retries=5, retry_delay=10_000, exponential_backoff=True),
        filters=wire.WebhookFilters(test_suites=["smoke"], environments=["staging"]),
    ),
    "update_webhook": wire.WebhookChange(status="paused"),
    "rotate_webhook_secret": wire.SecretRotation(secret="another-long-random-secret"),  # noqa: S106  # an example
    "replay_deliveries": wire.ReplayRequest(delivery_id="msg_01k3v9t7j5q1a8x3z6f9b4g2k0"),
}
"""The body of each call that has one, by its operation id."""

_EARLIER = "exec_01k3v8x2c4d6e8f0g2h4j6k8m0"
_COMPARED = wire.ComparedTest(
    key="17",
    node_id="tests/test_cart.py::test_open",
    title="test_open",
    file="tests/test_cart.py",
    shard_id="1",
    status="failed",
    error="TimeoutError: waited 30 s for 'cart'",
    since=wire.FailingSince(execution_id=_EARLIER, created_at=NOW, commit="4f2a9c1", runs=3),
)
_REGISTERED = wire.RegisteredTest(
    key="17",
    node_id="tests/test_cart.py::test_open",
    title="test_open",
    file="tests/test_cart.py",
    owner="shop",
    tags=["@smoke"],
    first_seen=NOW,
    last_seen=NOW,
    last_status="failed",
    runs=50,
    pass_rate=0.94,
    flake_rate=0.04,
    flake_rate_low=0.011,
    flake_rate_high=0.1346,
    median_duration=1_200,
    slow_duration=2_100,
)

_QUARANTINED = wire.QuarantineEntry(
    id="5",
    project="shop",
    node_id="tests/test_cart.py::test_open",
    key="17",
    reason="Waits for SHOP-12",
    owner="shop",
    until="2026-03-31T23:59:59.999Z",
    created_at=NOW,
    created_by="team-shop",
)

ANSWERS: dict[str, msgspec.Struct] = {
    "describe_service": wire.ServiceInfo(
        service="pytest-tms",
        version="1.0.0",
        capabilities=["gzip", "idempotency"],
        token=wire.TokenInfo(
            id="tok_01k3v9a1b2c3d4e5f6g7h8j9k0",
            scopes=["executions:read", "executions:write"],
            environments=[],
            expires_at="2027-03-02T09:15:04.120Z",
        ),
    ),
    "exchange_id_token": wire.IssuedToken(
        token="tms_EXAMPLE",  # noqa: S106  # an example
        id="tok_01k3v9a1b2c3d4e5f6g7h8j9k0",
        name="repo:acme/shop:ref:refs/heads/main",
        scopes=["executions:read", "executions:write"],
        environments=["staging"],
        expires_in=21_600,
    ),
    "create_execution": wire.ExecutionCreated(
        execution_id=EXECUTION,
        status="created",
        created_at=NOW,
        configuration=_STORED,
        webhook_url=f"{BASE}/api/webhooks/executions/{EXECUTION}",
        webhook_token="wh_token_EXAMPLE",  # noqa: S106  # an example
        report_url=f"{BASE}/reports/{EXECUTION}",
        capabilities=["gzip", "idempotency"],
    ),
    "get_artifact": _FILE,
    "upload_artifact": _FILE,
    "get_execution": wire.ExecutionStatus(
        execution_id=EXECUTION,
        status="running",
        progress=wire.Progress(
            started_at=NOW, completed_at=None, duration=210_000, shards_completed=1, total_shards=4
        ),
        results=_COUNTS,
        shard_results=[
            wire.ShardResult(
                shard_id="1",
                status="failed",
                results=_COUNTS,
                duration=210_000,
                metadata={"browser": "chromium"},
            )
        ],
        artifacts=_LINKS,
        created_at=NOW,
        test_suite="smoke",
        environment="staging",
        provider="jenkins",
        trigger_source="scheduled",
        configuration=_STORED,
        metadata=_METADATA,
    ),
    "list_executions": wire.ExecutionPage(
        executions=[
            wire.ListedExecution(
                execution_id=EXECUTION,
                status="completed",
                progress=wire.Progress(
                    started_at=NOW, completed_at=NOW, duration=210_000, shards_completed=4, total_shards=4
                ),
                results=_COUNTS,
                artifacts=_LINKS,
                created_at=NOW,
                project="shop",
                test_suite="smoke",
                environment="staging",
                provider="jenkins",
                trigger_source="scheduled",
                configuration=_STORED,
                metadata=_METADATA,
            )
        ],
        cursor="512",
    ),
    "list_failures": wire.FailurePage(
        execution_id=EXECUTION,
        causes=[
            wire.FailureCause(
                fingerprint="c70c5bc545560baf",
                exception="TimeoutError",
                message="waited # s for '…'",
                location="tests/pages.py in open_cart",
                count=12,
                is_new=False,
                first_seen=NOW,
                tests=[_COMPARED],
            )
        ],
        cursor="12-c70c5bc545560baf",
    ),
    "get_changes": wire.RunChanges(
        execution_id=EXECUTION,
        compared_with=_EARLIER,
        new_failures=wire.ChangedTests(count=1, tests=[_COMPARED]),
    ),
    "compare_executions": wire.ExecutionComparison(
        execution_id=EXECUTION,
        compared_with=_EARLIER,
        counts=wire.ComparisonCounts(newly_failing=1, slower=1),
        newly_failing=[_COMPARED],
        slower=[wire.SlowerTest(key="17", title="test_search", before=800, after=2_400)],
    ),
    "list_registered_tests": wire.RegisteredTestPage(tests=[_REGISTERED], cursor="17"),
    "get_test_history": wire.TestHistory(
        test=_REGISTERED,
        results=[
            wire.HistoryResult(
                execution_id=EXECUTION,
                created_at=NOW,
                test_suite="smoke",
                environment="staging",
                branch="main",
                commit="4f2a9c1",
                shard_id="1",
                status="failed",
                outcome="failed",
                duration=1_200,
                error="TimeoutError: waited 30 s for 'cart'",
                cause="c70c5bc545560baf",
                failing_runs=3,
            )
        ],
        cursor="512",
    ),
    "list_known_tests": wire.KnownTests(hashes=["5d41402abc4b2a76", "7d793037a0760186"]),
    "decide_rename": wire.RenamedTest(key="17", earlier_keys=["9"]),
    "list_cases": wire.CasePage(
        cases=[
            wire.Case(
                key="3",
                id="TC-12",
                title="A customer pays by card",
                project="shop",
                is_planned=True,
                tests=[
                    wire.CaseTest(
                        key="17",
                        node_id="tests/test_cart.py::test_open",
                        title="test_open",
                        file="tests/test_cart.py",
                        owner="shop",
                    )
                ],
                results=[wire.CaseResult(test_suite="smoke", environment="staging", status="passed", at=NOW)],
            )
        ],
        cursor="3",
    ),
    "import_cases": wire.PlanChange(project="shop", total=40, added=2, changed=1, removed=0),
    "get_timings": wire.Timings(
        tests=[wire.TestDuration(node_id="tests/test_cart.py::test_total", duration=812)],
        shared_setups=[_SHARED_SETUP],
        executions=["exec_01jxyz"],
    ),
    "fix_plan": wire.ExecutionPlan(
        execution_id="exec_01jxyzabc",
        created_at="2026-03-02T09:15:01.000Z",
        tests=[wire.TestDuration(node_id="tests/test_cart.py::test_total", duration=812)],
        shared_setups=[_SHARED_SETUP],
        executions=["exec_01jxyz"],
    ),
    "claim_tests": wire.Claim(
        number=1,
        tests=["tests/test_cart.py::test_total", "tests/test_cart.py::test_empty"],
        order=[1, 0, 2],
        unclaimed=[(2, 3)],
        shards=["1", "2"],
    ),
    "list_settled": wire.SettledTests(
        execution_id="exec_01jxyzabc", shard_id="1", node_ids=["tests/test_cart.py::test_total"]
    ),
    "list_quarantine": wire.QuarantinePage(entries=[_QUARANTINED], cursor="5"),
    "add_to_quarantine": _QUARANTINED,
    "remove_from_quarantine": msgspec.structs.replace(
        _QUARANTINED, state="removed", ended_at="2026-03-05T10:02:11.000Z", ended_by="team-shop"
    ),
    "delete_execution": wire.ExecutionDeleted(execution_id=EXECUTION, deleted_at=NOW),
    "cancel_execution": wire.ExecutionCancelled(
        execution_id=EXECUTION, cancelled_at=NOW, reason="User requested cancellation"
    ),
    "list_tests": wire.TestPage(
        execution_id=EXECUTION, tests=[{"shardId": "1", **msgspec.to_builtins(_TEST)}], cursor="101"
    ),
    "submit_results": wire.SubmissionAccepted(
        submission_id="sub_01k3v9v8k6r2b9y4a7g0c5h3m1",
        execution_id=EXECUTION,
        shard_id="1",
        processed_at=NOW,
        summary=wire.SubmissionSummary(tests_processed=40, artifacts_uploaded=0, webhooks_triggered=2),
    ),
    "send_event": wire.EventAccepted(
        event="shard.completed",
        execution_id=EXECUTION,
        execution_status="running",
        progress_interval=5000,
    ),
    "create_webhook": _WEBHOOK,
    "list_webhooks": wire.WebhookList(webhooks=[_WEBHOOK]),
    "get_webhook": _WEBHOOK,
    "update_webhook": msgspec.structs.replace(_WEBHOOK, status="paused"),
    "delete_webhook": wire.WebhookDeleted(webhook_id=WEBHOOK),
    "rotate_webhook_secret": msgspec.structs.replace(
        _WEBHOOK,
        previous_secret_until="2026-03-03T09:15:04.120Z",  # noqa: S106  # a time
    ),
    "validate_webhook": wire.WebhookValidation(
        webhook_id=WEBHOOK, status="valid", response_code=200, response_time=150, last_validated_at=NOW
    ),
    "list_deliveries": wire.DeliveryPage(
        webhook_id=WEBHOOK,
        deliveries=[
            wire.Delivery(
                delivery_id="msg_01k3v9t7j5q1a8x3z6f9b4g2k0",
                event="execution.completed",
                execution_id=EXECUTION,
                status="failed",
                attempts=4,
                created_at=NOW,
                due_at=NOW,
                response_code=503,
                reason="the endpoint answered 503",
            )
        ],
    ),
    "replay_deliveries": wire.Replayed(webhook_id=WEBHOOK, deliveries=1),
}
"""The answer to each call, by its operation id."""


def _ended(status: str, reason: str | None) -> wire.EndedData:
    return wire.EndedData(
        status=status,
        reason=reason,
        results=_COUNTS,
        duration=630_000,
        shard_results=[wire.ShardSummary(shard_id="1", status="failed", results=_COUNTS)],
        shard_results_total=1,
        artifacts=_LINKS,
        failed_tests=[
            wire.FailedTest(title=_TEST.title, file="tests/test_login.py", error=_TEST.error, shard="1")
        ],
        failed_tests_total=2,
        changes=wire.EndedChanges(
            compared_with=_EARLIER,
            new_failures=wire.ChangedNames(count=1, tests=["tests/test_login.py::test_login"]),
            known_failures=wire.ChangedNames(count=1, tests=["tests/test_cart.py::test_empty"]),
        ),
    )


EVENTS: dict[str, Any] = {
    "execution.started": wire.StartedData(
        test_suite="smoke",
        environment="staging",
        provider="jenkins",
        configuration={"shards": 4, "timeout": 1_800_000},
        metadata=_METADATA,
    ),
    "execution.progress": wire.ProgressData(
        status="running",
        progress=wire.Progress(started_at=NOW, shards_completed=1, total_shards=4),
        results=_COUNTS,
    ),
    "execution.completed": _ended("completed", None),
    "execution.failed": _ended("failed", "The timeout of 1800 s passed"),
    "execution.cancelled": _ended("cancelled", "User requested cancellation"),
    "shard.started": wire.ShardStartedData(shard_id="1"),
    "shard.completed": wire.ShardCompletedData(
        shard_id="1",
        status="failed",
        results=_COUNTS,
        duration=210_000,
        artifacts=wire.ShardLink(report_url=f"{BASE}/reports/{EXECUTION}/shard-1"),
    ),
}
"""The `data` of each outbound event."""
