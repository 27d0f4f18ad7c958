"""Drives an execution and a webhook by the client that openapi-python-client makes; prints what it saw."""

from __future__ import annotations

import json
import os
from typing import Any, TypeVar

from tms_client import AuthenticatedClient, models
from tms_client.api.events import send_event
from tms_client.api.executions import create_execution, get_execution, list_tests
from tms_client.api.results import submit_results
from tms_client.api.webhooks import create_webhook, get_webhook, list_webhooks, update_webhook

T = TypeVar("T")

url = os.environ["TMS_URL"]
client = AuthenticatedClient(base_url=url, token=os.environ["TMS_API_TOKEN"], raise_on_unexpected_status=True)


def must(response: T | models.ErrorResponse | None, kind: type[T]) -> T:
    assert isinstance(response, kind), response
    return response


execution = must(
    create_execution.sync(
        client=client,
        body=models.ExecutionRequest(
            test_suite=models.ExecutionRequestTestSuite.SMOKE,
            environment=models.ExecutionRequestEnvironment.STAGING,
            metadata=models.JsonObject.from_dict({"branch": "main"}),
        ),
    ),
    models.ExecutionCreated,
)
own = AuthenticatedClient(base_url=url, token=execution.webhook_token, raise_on_unexpected_status=True)
accepted = must(
    send_event.sync(
        execution.execution_id,
        client=own,
        body=models.Event(
            event=models.EventName.SHARD_STARTED,
            execution_id=execution.execution_id,
            data=models.EventData(shard_id="1"),
        ),
    ),
    models.EventAccepted,
)
assert accepted.execution_status is models.ExecutionState.RUNNING
must(
    submit_results.sync(
        client=client,
        body=models.ResultsSubmission(
            execution_id=execution.execution_id,
            shard_id="1",
            tests=[
                models.TestResult(title="logs in", status=models.TestStatus.PASSED, duration=12),
                models.TestResult(title="pays", status=models.TestStatus.FAILED, error="no"),
            ],
        ),
    ),
    models.SubmissionAccepted,
)
status = must(get_execution.sync(execution.execution_id, client=client), models.ExecutionStatus)
page = must(
    list_tests.sync(execution.execution_id, client=client, limit=10, status=models.ListTestsStatus.FAILED),
    models.TestPage,
)
webhook = must(
    create_webhook.sync(
        client=client,
        body=models.WebhookRequest(
            url="https://ci.example.com/hooks",
            events=[models.EventName.EXECUTION_COMPLETED],
            filters=models.WebhookFilters(test_suites=["smoke"]),
        ),
    ),
    models.Webhook,
)
assert webhook.webhook_id in {
    each.webhook_id for each in must(list_webhooks.sync(client=client), models.WebhookList).webhooks
}
paused = must(
    update_webhook.sync(
        webhook.webhook_id,
        client=client,
        body=models.WebhookChange(status=models.WebhookChangeStatusType0.PAUSED),
    ),
    models.Webhook,
)
assert paused.status is models.WebhookStatus.PAUSED
assert must(get_webhook.sync(webhook.webhook_id, client=client), models.Webhook).status is paused.status
refused: Any = create_webhook.sync(
    client=client, body=models.WebhookRequest(url="https://ci.example.com", events=[])
)
assert isinstance(refused, models.ErrorResponse)
print(
    json.dumps(
        {
            "status": status.status.value,
            "branch": status.metadata["branch"],
            "counts": status.results.to_dict(),
            "failed": [test.title for test in page.tests],
            "retries": webhook.retry_policy.max_retries,
            "webhookId": webhook.webhook_id,
            "refused": [problem.field for problem in refused.error.details],
        }
    )
)
