// Drives an execution and a webhook by the client that OpenAPI Generator makes for TypeScript; prints what it received.
import { Configuration, EventName, EventsApi, ExecutionRequestEnvironmentEnum, ExecutionRequestTestSuiteEnum, ExecutionsApi, ExecutionState, ListTestsStatusEnum, ResponseError, ResultsApi, TestStatus, WebhooksApi } from "tms-client";
import type { ErrorResponse } from "tms-client";

const configuration = (accessToken: string) => new Configuration({ basePath: process.env.TMS_URL ?? "", accessToken });
const own = configuration(process.env.TMS_API_TOKEN ?? "");
const executions = new ExecutionsApi(own);
const execution = await executions.createExecution({
  executionRequest: {
    testSuite: ExecutionRequestTestSuiteEnum.Smoke,
    environment: ExecutionRequestEnvironmentEnum.Staging,
    metadata: { branch: "main" },
  },
});
const { executionId } = execution;
const accepted = await new EventsApi(configuration(execution.webhookToken)).sendEvent({
  executionId,
  event: { event: EventName.ShardStarted, executionId, data: { shardId: "1" } },
});
if (accepted.executionStatus !== ExecutionState.Running) throw new Error(accepted.executionStatus);
await new ResultsApi(own).submitResults({
  resultsSubmission: {
    executionId,
    shardId: "1",
    tests: [
      { title: "logs in", status: TestStatus.Passed, duration: 12 },
      { title: "pays", status: TestStatus.Failed, error: "no" },
    ],
  },
});
const status = await executions.getExecution({ executionId });
const page = await executions.listTests({ executionId, limit: 10, status: ListTestsStatusEnum.Failed });
const webhooks = new WebhooksApi(own);
const url = "https://ci.example.com/hooks";
const webhook = await webhooks.createWebhook({ webhookRequest: { url, events: [EventName.ExecutionCompleted] } });
let refused: string[] = [];
try {
  await webhooks.createWebhook({ webhookRequest: { url: "http://ci.example.com", events: webhook.events } });
} catch (error) {
  if (!(error instanceof ResponseError)) throw error;
  const response = (await error.response.json()) as ErrorResponse;
  refused = response.error.details.map((detail) => detail.field);
}
console.log(
  JSON.stringify({
    status: status.status,
    branch: status.metadata["branch"],
    counts: status.results,
    failed: page.tests.map((test) => test.title),
    retries: webhook.retryPolicy.maxRetries,
    webhookId: webhook.webhookId,
    refused,
  }),
);
