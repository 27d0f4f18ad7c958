#!/usr/bin/env node
// Receive the events of a TMS, verify their signatures, and record each event once.
//
//   TMS_WEBHOOK_SECRET=whsec_… node receiver.mjs
//
// Needs Node.js 20 and no packages. The variables PORT (8766), HOST (127.0.0.1) and EVENTS (events.jsonl) change the
// address and the file. Run it behind a proxy that terminates https, as one process.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { open, readFile } from "node:fs/promises";

const TOLERANCE = 300; // seconds by which the time of a delivery may differ from the clock
const MAX_BODY = 64 * 1024;
const { TMS_WEBHOOK_SECRET: secret, PORT = "8766", HOST = "127.0.0.1", EVENTS = "events.jsonl" } = process.env;

/** Return the id of a delivery, which is the same each time it is repeated; null if it is not from the TMS. */
function verify(headers, body) {
  const { "webhook-id": delivery, "webhook-timestamp": sent = "", "webhook-signature": signatures = "" } = headers;
  if (!delivery || !/^\d{1,15}$/.test(sent) || Math.abs(Date.now() / 1000 - Number(sent)) > TOLERANCE) return null;
  const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : Buffer.from(secret);
  const hmac = createHmac("sha256", key).update(`${delivery}.${sent}.`).update(body);
  const wanted = Buffer.from(`v1,${hmac.digest("base64")}`);
  // After a rotation of the secret there are two signatures, divided by a space.
  const received = signatures.split(" ").map((each) => Buffer.from(each));
  return received.some((each) => each.length === wanted.length && timingSafeEqual(each, wanted)) ? delivery : null;
}

async function read(request) {
  const parts = [];
  let length = 0;
  for await (const part of request) {
    length += part.length;
    if (length > MAX_BODY) return null;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

// An event and the id of its delivery are one line, which is on disk before the response: after a crash both are stored
// or neither, and the TMS repeats a delivery that was not answered. An incomplete last line was not answered.
const stored = (await readFile(EVENTS, "utf8").catch(() => "")).split("\n");
const unfinished = stored.pop();
const seen = new Map(stored.map((line) => [JSON.parse(line).delivery, Promise.resolve()]));
const file = await open(EVENTS, "a");
if (unfinished) await file.truncate((await file.stat()).size - Buffer.byteLength(unfinished));

async function record(delivery, payload) {
  await file.appendFile(`${JSON.stringify({ delivery, payload })}\n`);
  await file.datasync();
  console.log(payload.event, payload.executionId ?? "");
}

async function receive(request) {
  if (request.method !== "POST") return 405;
  const body = await read(request);
  if (body === null) return 413;
  const delivery = verify(request.headers, body);
  if (delivery === null) return 401;
  let payload;
  try {
    payload = JSON.parse(body);
  } catch {
    return 400;
  }
  if (!seen.has(delivery)) seen.set(delivery, record(delivery, payload));
  try {
    await seen.get(delivery); // a repeated delivery waits until the first is on disk
  } catch (error) {
    seen.delete(delivery);
    console.error(`receiver.mjs: ${error.message}`);
    return 503; // the TMS repeats the delivery later
  }
  return 204;
}

if (!secret) {
  console.error("receiver.mjs: Set TMS_WEBHOOK_SECRET to the secret of the webhook.");
  process.exit(1);
}
const server = createServer(async (request, response) => {
  response.statusCode = await receive(request).catch(() => 400);
  if (response.statusCode === 413) response.setHeader("Connection", "close");
  response.end();
});
server.listen(Number(PORT), HOST, () => console.log(`Listening on http://${HOST}:${server.address().port}/`));
