// Drives an execution and a webhook by the client that OpenAPI Generator makes for Java; prints what it received.
import java.math.BigDecimal;
import java.net.URI;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tms.client.ApiClient;
import tms.client.ApiException;
import tms.client.api.EventsApi;
import tms.client.api.ExecutionsApi;
import tms.client.api.ResultsApi;
import tms.client.api.WebhooksApi;
import tms.client.model.*;

public class Drive {
    static ApiClient client(String token) {
        ApiClient client = new ApiClient();
        client.updateBaseUri(System.getenv("TMS_URL"));
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + token));
        return client;
    }

    public static void main(String[] arguments) throws Exception {
        ApiClient client = client(System.getenv("TMS_API_TOKEN"));
        ExecutionsApi executions = new ExecutionsApi(client);
        ExecutionCreated execution = executions.createExecution(
            new ExecutionRequest()
                .testSuite(ExecutionRequest.TestSuiteEnum.SMOKE)
                .environment(ExecutionRequest.EnvironmentEnum.STAGING)
                .metadata(Map.of("branch", "main")),
            null);
        EventAccepted accepted = new EventsApi(client(execution.getWebhookToken())).sendEvent(
            execution.getExecutionId(),
            new Event()
                .event(EventName.SHARD_STARTED)
                .executionId(execution.getExecutionId())
                .data(new EventData().shardId("1")),
            null);
        if (accepted.getExecutionStatus() != ExecutionState.RUNNING)
            throw new IllegalStateException("the execution is " + accepted.getExecutionStatus());
        new ResultsApi(client).submitResults(
            new ResultsSubmission()
                .executionId(execution.getExecutionId())
                .shardId("1")
                .tests(List.of(
                    new TestResult().title("logs in").status(TestStatus.PASSED).duration(new BigDecimal(12)),
                    new TestResult().title("pays").status(TestStatus.FAILED).error("no"))),
            null);
        ExecutionStatus status = executions.getExecution(execution.getExecutionId());
        TestPage page = executions.listTests(execution.getExecutionId(), null, 10, "failed");
        URI url = URI.create("https://ci.example.com/hooks");
        WebhooksApi webhooks = new WebhooksApi(client);
        Webhook webhook = webhooks.createWebhook(
            new WebhookRequest()
                .url(url)
                .events(List.of(EventName.EXECUTION_COMPLETED)),
            null);
        List<String> refused = List.of();
        try {
            webhooks.createWebhook(new WebhookRequest().url(URI.create("http://ci.example.com")).events(webhook.getEvents()), null);
        } catch (ApiException error) {
            ErrorResponse response = ApiClient.createDefaultObjectMapper().readValue(error.getResponseBody(), ErrorResponse.class);
            refused = response.getError().getDetails().stream().map(Problem::getField).toList();
        }
        Map<String, Object> seen = new LinkedHashMap<>();
        seen.put("status", status.getStatus());
        seen.put("branch", status.getMetadata().get("branch"));
        seen.put("counts", status.getResults());
        seen.put("failed", page.getTests().stream().map(ListedTest::getTitle).toList());
        seen.put("retries", webhook.getRetryPolicy().getMaxRetries());
        seen.put("webhookId", webhook.getWebhookId());
        seen.put("refused", refused);
        System.out.println(ApiClient.createDefaultObjectMapper().writeValueAsString(seen));
    }
}
