"""Drives an execution and a webhook by the client that OpenAPI Generator makes for Python; prints what it received."""

from __future__ import annotations

import json
import os

import tms_client as tms


def client(token: str) -> tms.ApiClient:
    return tms.ApiClient(tms.Configuration(host=os.environ["TMS_URL"], access_token=token))


own = client(os.environ["TMS_API_TOKEN"])
executions = tms.ExecutionsApi(own)
execution = executions.create_execution(
    tms.ExecutionRequest(test_suite="smoke", environment="staging", metadata={"branch": "main"})
)
accepted = tms.EventsApi(client(execution.webhook_token)).send_event(
    execution.execution_id,
    tms.Event(
        event=tms.EventName.SHARD_DOT_STARTED,
        execution_id=execution.execution_id,
        data=tms.EventData(shard_id="1"),
    ),
)
assert accepted.execution_status == tms.ExecutionState.RUNNING
tms.ResultsApi(own).submit_results(
    tms.ResultsSubmission(
        execution_id=execution.execution_id,
        shard_id="1",
        tests=[
            tms.TestResult(title="logs in", status=tms.TestStatus.PASSED, duration=12),
            tms.TestResult(title="pays", status=tms.TestStatus.FAILED, error="no"),
        ],
    )
)
status = executions.get_execution(execution.execution_id)
page = executions.list_tests(execution.execution_id, limit=10, status="failed")
webhooks = tms.WebhooksApi(own)
url = "https://ci.example.com/hooks"
webhook = webhooks.create_webhook(tms.WebhookRequest(url=url, events=[tms.EventName.EXECUTION_DOT_COMPLETED]))
refused: list[str] = []
try:
    webhooks.create_webhook(tms.WebhookRequest(url="http://ci.example.com", events=webhook.events))
except tms.ApiException as error:
    refused = [detail.var_field for detail in tms.ErrorResponse.from_json(error.body).error.details]
print(
    json.dumps(
        {
            "status": status.status,
            "branch": status.metadata["branch"],
            "counts": status.results.to_dict(),
            "failed": [test.title for test in page.tests],
            "retries": webhook.retry_policy.max_retries,
            "webhookId": webhook.webhook_id,
            "refused": refused,
        }
    )
)
