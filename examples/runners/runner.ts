#!/usr/bin/env node
// Run six checks in two shards and report them to a TMS. Needs Node.js 22.18 and no packages.
//
//   TMS_URL=https://tms.example.com/api TMS_API_TOKEN=… node runner.ts
//
// Exit status: 0 if no check failed, 1 if a check failed or the results could not be sent, 2 on wrong usage.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { access, constants, stat } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { setTimeout as wait } from "node:timers/promises";

type Check = () => unknown;
type Status = "passed" | "failed" | "skipped";
interface Test {
  title: string;
  file: string;
  status: Status;
  duration: number;
  error?: string;
  retries: number;
  tags: string[];
}
interface Created {
  executionId?: string;
  webhookUrl: string;
  webhookToken: string;
}
interface Execution {
  artifacts?: { reportUrl?: string };
}

const RETRIED = new Set([429, 500, 502, 503, 504]);
const TRIES = 4;

class Skipped extends Error {}
class TmsError extends Error {}

const SHARDS: Record<string, Check>[] = [
  {
    "home directory exists": async () => assert((await stat(homedir())).isDirectory()),
    "temporary directory is writable": () => access(tmpdir(), constants.W_OK),
    "clock is set": () => assert(new Date().getFullYear() >= 2025, `it is ${new Date().getFullYear()}`),
  },
  {
    "numbers sort by value": () => assert.deepEqual([10, 9].sort((a, b) => a - b), [9, 10]),
    "accents take two bytes": () => assert.equal(Buffer.byteLength("é"), 2),
    "build number is a number": () => {
      const { BUILD_NUMBER } = process.env;
      if (!BUILD_NUMBER) throw new Skipped("BUILD_NUMBER is not set");
      assert.match(BUILD_NUMBER, /^[0-9]+$/);
    },
  },
];

async function call<T>(method: string, url: string, token: string, body?: object): Promise<T> {
  const request = {
    method,
    headers: {
      Authorization: `Bearer ${token}`,
      "Content-Type": "application/json",
      "Idempotency-Key": randomUUID(), // lets the TMS recognise a repeated request
    },
    body: body && JSON.stringify(body),
  };
  for (let attempt = 1; ; attempt++) {
    let response: Response;
    try {
      response = await fetch(url, { ...request, signal: AbortSignal.timeout(30_000) });
    } catch (error) {
      const { message, cause } = error as Error;
      throw new TmsError(`The TMS does not answer: ${(cause as Error | undefined)?.message || message}.`);
    }
    if (RETRIED.has(response.status) && attempt < TRIES) {
      await wait(1000 * (Number(response.headers.get("Retry-After")) || 2 ** (attempt - 1)));
      continue;
    }
    const json = (await response.json().catch(() => ({}))) as T & { error?: { message?: string } };
    if (response.ok) return json;
    const reason = json.error?.message ?? "no reason given";
    throw new TmsError(`The TMS answered ${response.status} to ${method} ${url}: ${reason}`);
  }
}

async function runCheck(title: string, check: Check): Promise<Test> {
  const started = performance.now();
  const test: Test = { title, file: "runner.ts", status: "passed", duration: 0, retries: 0, tags: ["@smoke"] };
  try {
    await check();
  } catch (error) {
    test.status = error instanceof Skipped ? "skipped" : "failed";
    test.error = (error as Error).message;
  }
  test.duration = Math.round(performance.now() - started);
  console.log(`  ${test.status}: ${title}${test.error ? ` (${test.error})` : ""}`);
  return test;
}

function count(tests: Test[]) {
  const of = (status: Status) => tests.filter((test) => test.status === status).length;
  return { total: tests.length, passed: of("passed"), failed: of("failed"), skipped: of("skipped") };
}

async function main(url: string, token: string): Promise<number> {
  const { executionId, webhookUrl, webhookToken } = await call<Created>("POST", `${url}/executions`, token, {
    testSuite: "smoke",
    environment: "dev",
    provider: "typescript-runner",
    configuration: { shards: SHARDS.length },
    metadata: { buildNumber: process.env.BUILD_NUMBER || "local" },
  });
  if (!executionId) throw new TmsError(`The response of ${url} has no executionId: check that TMS_URL is the base URL of a TMS.`);
  const send = (event: string, data: object) =>
    call("POST", webhookUrl, webhookToken, { event, timestamp: new Date().toISOString(), executionId, data });

  await send("execution.started", { status: "running" });
  const all: Test[] = [];
  for (const [index, checks] of SHARDS.entries()) {
    const shardId = String(index + 1);
    console.log(`Shard ${shardId} of ${SHARDS.length}`);
    const started = new Date();
    const tests: Test[] = [];
    for (const [title, check] of Object.entries(checks)) tests.push(await runCheck(title, check));
    const results = count(tests);
    const status = results.failed ? "failed" : "completed";
    await call("POST", `${url}/results`, token, { executionId, shardId, provider: "typescript-runner", status, results, tests });
    await send("shard.completed", { shardId, status, results, duration: Date.now() - started.getTime() });
    all.push(...tests);
  }
  const results = count(all);
  await send("execution.completed", { status: "completed", results });

  console.log(`${results.passed} passed, ${results.failed} failed, ${results.skipped} skipped`);
  const execution = await call<Execution>("GET", `${url}/executions/${executionId}`, token);
  console.log(execution.artifacts?.reportUrl ?? "");
  return results.failed;
}

function end(status: number, sentence: string): void {
  console.error(`runner.ts: ${sentence}`);
  process.exitCode = status;
}

const { TMS_URL, TMS_API_TOKEN } = process.env;
if (!TMS_URL || !TMS_API_TOKEN) {
  end(2, "Set TMS_URL (its /api included) and TMS_API_TOKEN.");
} else {
  try {
    const failed = await main(TMS_URL.replace(/\/+$/, ""), TMS_API_TOKEN);
    if (failed) end(1, `${failed} check(s) failed.`);
  } catch (error) {
    if (!(error instanceof TmsError)) throw error;
    end(1, error.message);
  }
}
