// Drives an execution and a webhook by the client that openapi-typescript makes; prints the execution's status.
import createClient from "openapi-fetch";
import type { components, paths, webhooks } from "./schema.js";

type Counts = components["schemas"]["Counts"];
type Completed = webhooks["execution.completed"]["post"]["requestBody"]["content"]["application/json"];

const client = createClient<paths>({
  baseUrl: process.env.TMS_URL ?? "",
  headers: { Authorization: `Bearer ${process.env.TMS_API_TOKEN}` },
});

function must<T>(answer: { data?: T; error?: components["schemas"]["ErrorResponse"] }): T {
  if (answer.data === undefined) throw new Error(answer.error?.error.message ?? "no answer");
  return answer.data;
}

// A receiver of webhooks: the payload of each event has a type.
export function verdict(payload: Completed): string {
  const failed: number = payload.data.results.failed;
  return `${payload.event} ${payload.executionId}: ${failed} failed of ${payload.data.results.total}`;
}

async function main(): Promise<void> {
  // Nothing but what the document requires is required.
  const execution = must(
    await client.POST("/executions", { body: { testSuite: "smoke", environment: "staging", metadata: { branch: "main" } } }),
  );
  const own = { Authorization: `Bearer ${execution.webhookToken}` };
  const shards: number = execution.configuration.shards;
  if (shards !== 1) throw new Error(`shards: ${shards}`);
  const accepted = must(
    await client.POST("/webhooks/executions/{execution_id}", {
      params: { path: { execution_id: execution.executionId } },
      headers: own,
      body: { event: "shard.started", executionId: execution.executionId, data: { shardId: "1" } },
    }),
  );
  if (accepted.executionStatus !== "running") throw new Error(accepted.executionStatus);
  must(
    await client.POST("/results", {
      body: {
        executionId: execution.executionId,
        shardId: "1",
        tests: [{ title: "logs in", status: "passed", duration: 12 }, { title: "pays", status: "failed", error: "no" }],
      },
    }),
  );
  const status = must(
    await client.GET("/executions/{execution_id}", { params: { path: { execution_id: execution.executionId } } }),
  );
  const counts: Counts = status.results;
  const page = must(
    await client.GET("/executions/{execution_id}/tests", {
      params: { path: { execution_id: execution.executionId }, query: { limit: 10, status: "failed" } },
    }),
  );
  const webhook = must(
    await client.POST("/webhooks", {
      body: {
        url: "https://ci.example.com/hooks",
        events: ["execution.completed"],
        filters: { testSuites: ["smoke"] },
      },
    }),
  );
  const refused = await client.POST("/executions", {
    // @ts-expect-error: a suite that does not exist is an error when it compiles
    body: { testSuite: "nope", environment: "staging" },
  });
  console.log(
    JSON.stringify({
      status: status.status,
      branch: status.metadata["branch"],
      counts,
      failed: page.tests.map((test) => test.title),
      retries: webhook.retryPolicy.maxRetries,
      webhookId: webhook.webhookId,
      refused: refused.error?.error.details.map((problem) => problem.field),
    }),
  );
}

await main();
