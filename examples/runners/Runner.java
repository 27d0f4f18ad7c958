// Run six checks in two shards and report them to a TMS. Needs Java 17 and no libraries.
//
//   TMS_URL=https://tms.example.com/api TMS_API_TOKEN=… java Runner.java
//
// Exit status: 0 if no check failed, 1 if a check failed or the results could not be sent, 2 on wrong usage.

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.Year;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

public class Runner {
    static final Set<Integer> RETRIED = Set.of(429, 500, 502, 503, 504);
    static final int TRIES = 4;
    static final HttpClient CLIENT = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(30)).build();

    interface Check {
        void run() throws Exception;
    }

    static class Skipped extends RuntimeException {
        Skipped(String reason) {
            super(reason);
        }
    }

    static class TmsException extends Exception {
        TmsException(String message) {
            super(message);
        }
    }

    static void check(boolean condition, String message) {
        if (!condition) throw new IllegalStateException(message);
    }

    static String environment(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    static final Map<String, Check> FIRST = new LinkedHashMap<>();
    static final Map<String, Check> SECOND = new LinkedHashMap<>();
    static final List<Map<String, Check>> SHARDS = List.of(FIRST, SECOND);

    static {
        String home = System.getProperty("user.home");
        FIRST.put("home directory exists", () -> check(Files.isDirectory(Path.of(home)), "no directory " + home));
        FIRST.put("temporary directory is writable", () -> {
            String folder = environment("TMPDIR", "/tmp");
            check(Files.isWritable(Path.of(folder)), "cannot write to " + folder);
        });
        FIRST.put("clock is set", () -> check(Year.now().getValue() >= 2025, "it is " + Year.now()));
        SECOND.put("numbers sort by value", () -> {
            int[] numbers = {10, 9};
            Arrays.sort(numbers);
            check(numbers[0] == 9, "10 came before 9");
        });
        SECOND.put("accents take two bytes", () ->
            check("\u00e9".getBytes(StandardCharsets.UTF_8).length == 2, "the text is not UTF-8"));
        SECOND.put("build number is a number", () -> {
            String number = environment("BUILD_NUMBER", "");
            if (number.isEmpty()) throw new Skipped("BUILD_NUMBER is not set");
            check(number.matches("[0-9]+"), "it is '" + number + "'");
        });
    }

    // The JSON functions that this program needs: write a value, and read the first string field with a given name.

    static String json(Object value) {
        if (value instanceof Map<?, ?> map)
            return map.entrySet().stream()
                .map(entry -> json(entry.getKey()) + ": " + json(entry.getValue()))
                .collect(Collectors.joining(", ", "{", "}"));
        if (value instanceof List<?> list)
            return list.stream().map(Runner::json).collect(Collectors.joining(", ", "[", "]"));
        if (value instanceof Number) return value.toString();
        StringBuilder text = new StringBuilder("\"");
        for (char each : String.valueOf(value).toCharArray()) {
            if (each == '"' || each == '\\') text.append('\\').append(each);
            else if (each < ' ') text.append(String.format("\\u%04x", (int) each));
            else text.append(each);
        }
        return text.append('"').toString();
    }

    static Optional<String> field(String name, String json) {
        Matcher found = Pattern.compile("\"" + name + "\"\\s*:\\s*\"([^\"]*)\"").matcher(json);
        return found.find() ? Optional.of(found.group(1).replace("\\/", "/")) : Optional.empty();
    }

    static String call(String method, String url, String token, Map<String, ?> body)
        throws TmsException, InterruptedException {
        HttpRequest request;
        try {
            request = HttpRequest.newBuilder(URI.create(url))
                .timeout(Duration.ofSeconds(30))
                .header("Authorization", "Bearer " + token)
                .header("Content-Type", "application/json")
                .header("Idempotency-Key", UUID.randomUUID().toString()) // lets the TMS recognise a repeated request
                .method(method, body == null
                    ? HttpRequest.BodyPublishers.noBody()
                    : HttpRequest.BodyPublishers.ofString(json(body)))
                .build();
        } catch (IllegalArgumentException error) {
            throw new TmsException("Invalid TMS_URL or TMS_API_TOKEN: " + error.getMessage());
        }
        for (int attempt = 1; ; attempt++) {
            HttpResponse<String> response;
            try {
                response = CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
            } catch (IOException error) {
                String reason = error.getMessage() == null ? error.getClass().getSimpleName() : error.getMessage();
                throw new TmsException("The TMS does not answer: " + reason + ".");
            }
            int status = response.statusCode();
            if (RETRIED.contains(status) && attempt < TRIES) {
                String wait = response.headers().firstValue("Retry-After").orElse("");
                Thread.sleep(1000L * (wait.matches("[0-9]+") ? Integer.parseInt(wait) : 1 << (attempt - 1)));
                continue;
            }
            if (status >= 200 && status <= 299) return response.body();
            String reason = field("message", response.body()).orElse("no reason given");
            throw new TmsException("The TMS answered " + status + " to " + method + " " + url + ": " + reason);
        }
    }

    static Map<String, Object> runCheck(String title, Check check) {
        long started = System.nanoTime();
        Map<String, Object> test = new LinkedHashMap<>();
        test.put("title", title);
        test.put("file", "Runner.java");
        test.put("status", "passed");
        try {
            check.run();
        } catch (Exception error) {
            test.put("status", error instanceof Skipped ? "skipped" : "failed");
            test.put("error", String.valueOf(error.getMessage()));
        }
        test.put("duration", (System.nanoTime() - started) / 1_000_000);
        test.put("retries", 0);
        test.put("tags", List.of("@smoke"));
        String reason = test.containsKey("error") ? " (" + test.get("error") + ")" : "";
        System.out.println("  " + test.get("status") + ": " + title + reason);
        return test;
    }

    static Map<String, Long> count(List<Map<String, Object>> tests) {
        Map<String, Long> counts = new LinkedHashMap<>();
        counts.put("total", (long) tests.size());
        for (String status : List.of("passed", "failed", "skipped"))
            counts.put(status, tests.stream().filter(test -> test.get("status").equals(status)).count());
        return counts;
    }

    static long run(String url, String token) throws TmsException, InterruptedException {
        String created = call("POST", url + "/executions", token, Map.of(
            "testSuite", "smoke",
            "environment", "dev",
            "provider", "java-runner",
            "configuration", Map.of("shards", SHARDS.size()),
            "metadata", Map.of("buildNumber", environment("BUILD_NUMBER", "local"))));
        String id = field("executionId", created).orElseThrow(() -> new TmsException(
            "The response of " + url + " has no executionId: check that TMS_URL is the base URL of a TMS."));
        String webhookUrl = field("webhookUrl", created).orElse("");
        String webhookToken = field("webhookToken", created).orElse("");

        send(webhookUrl, webhookToken, id, "execution.started", Map.of("status", "running"));
        List<Map<String, Object>> all = new ArrayList<>();
        for (int index = 0; index < SHARDS.size(); index++) {
            String shard = String.valueOf(index + 1);
            System.out.println("Shard " + shard + " of " + SHARDS.size());
            long started = System.nanoTime();
            List<Map<String, Object>> tests = new ArrayList<>();
            SHARDS.get(index).forEach((title, check) -> tests.add(runCheck(title, check)));
            Map<String, Long> results = count(tests);
            String status = results.get("failed") == 0 ? "completed" : "failed";
            call("POST", url + "/results", token, Map.of(
                "executionId", id, "shardId", shard, "provider", "java-runner",
                "status", status, "results", results, "tests", tests));
            long duration = (System.nanoTime() - started) / 1_000_000;
            send(webhookUrl, webhookToken, id, "shard.completed",
                Map.of("shardId", shard, "status", status, "results", results, "duration", duration));
            all.addAll(tests);
        }
        Map<String, Long> results = count(all);
        send(webhookUrl, webhookToken, id, "execution.completed", Map.of("status", "completed", "results", results));

        System.out.printf("%d passed, %d failed, %d skipped%n",
            results.get("passed"), results.get("failed"), results.get("skipped"));
        System.out.println(field("reportUrl", call("GET", url + "/executions/" + id, token, null)).orElse(""));
        return results.get("failed");
    }

    static void send(String url, String token, String id, String event, Map<String, ?> data)
        throws TmsException, InterruptedException {
        call("POST", url, token, Map.of(
            "event", event, "timestamp", Instant.now().toString(), "executionId", id, "data", data));
    }

    static void end(int status, String sentence) {
        System.err.println("Runner.java: " + sentence);
        System.exit(status);
    }

    public static void main(String[] arguments) throws InterruptedException {
        String url = environment("TMS_URL", "");
        String token = environment("TMS_API_TOKEN", "");
        if (url.isEmpty() || token.isEmpty()) end(2, "Set TMS_URL (its /api included) and TMS_API_TOKEN.");
        try {
            long failed = run(url.replaceAll("/+$", ""), token);
            if (failed > 0) end(1, failed + " check(s) failed.");
        } catch (TmsException error) {
            end(1, error.getMessage());
        }
    }
}
