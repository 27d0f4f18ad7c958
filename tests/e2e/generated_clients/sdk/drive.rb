# Drives an execution and a webhook by the client that OpenAPI Generator makes for Ruby; prints what it received.
require "json"
require "uri"
require "tms_client"

def client(token)
  url = URI(ENV.fetch("TMS_URL"))
  configuration = TmsClient::Configuration.new
  configuration.scheme = url.scheme
  configuration.host = "#{url.host}:#{url.port}"
  configuration.base_path = url.path
  configuration.server_index = nil
  configuration.access_token = token
  TmsClient::ApiClient.new(configuration)
end

own = client(ENV.fetch("TMS_API_TOKEN"))
executions = TmsClient::ExecutionsApi.new(own)
execution = executions.create_execution(
  TmsClient::ExecutionRequest.new(test_suite: "smoke", environment: "staging", metadata: { "branch" => "main" })
)
accepted = TmsClient::EventsApi.new(client(execution.webhook_token)).send_event(
  execution.execution_id,
  TmsClient::Event.new(
    event: TmsClient::EventName::SHARD_STARTED,
    execution_id: execution.execution_id,
    data: TmsClient::EventData.new(shard_id: "1")
  )
)
raise accepted.execution_status if accepted.execution_status != TmsClient::ExecutionState::RUNNING

TmsClient::ResultsApi.new(own).submit_results(
  TmsClient::ResultsSubmission.new(
    execution_id: execution.execution_id,
    shard_id: "1",
    tests: [
      TmsClient::TestResult.new(title: "logs in", status: "passed", duration: 12),
      TmsClient::TestResult.new(title: "pays", status: "failed", error: "no")
    ]
  )
)
status = executions.get_execution(execution.execution_id)
page = executions.list_tests(execution.execution_id, limit: 10, status: "failed")
webhooks = TmsClient::WebhooksApi.new(own)
url = "https://ci.example.com/hooks"
webhook = webhooks.create_webhook(TmsClient::WebhookRequest.new(url: url, events: ["execution.completed"]))
begin
  webhooks.create_webhook(TmsClient::WebhookRequest.new(url: "http://ci.example.com", events: ["execution.completed"]))
rescue TmsClient::ApiError => e
  refused = JSON.parse(e.response_body)["error"]["details"].map { |detail| detail["field"] }
end
puts JSON.generate(
  status: status.status,
  branch: status.metadata[:branch] || status.metadata["branch"],
  counts: status.results.to_hash,
  failed: page.tests.map(&:title),
  retries: webhook.retry_policy.max_retries,
  webhookId: webhook.webhook_id,
  refused: refused
)
