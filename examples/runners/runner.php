#!/usr/bin/env php
<?php
// Run six checks in two shards and report them to a TMS. Needs PHP 8 and no packages.
//
//   TMS_URL=https://tms.example.com/api TMS_API_TOKEN=… php runner.php
//
// Exit status: 0 if no check failed, 1 if a check failed or the results could not be sent, 2 on wrong usage.
declare(strict_types=1);

const RETRIED = [429, 500, 502, 503, 504];
const TRIES = 4;

class Skipped extends Exception
{
}

class TmsError extends Exception
{
}

function check(bool $condition, string $message): void
{
    if (!$condition) {
        throw new Exception($message);
    }
}

function shards(): array
{
    return [
        [
            'home directory exists' => fn () => check(is_dir((string) getenv('HOME')), 'no directory ' . getenv('HOME')),
            'temporary directory is writable' => function () {
                $folder = getenv('TMPDIR') ?: '/tmp';
                check(is_writable($folder), "cannot write to $folder");
            },
            'clock is set' => fn () => check((int) date('Y') >= 2025, 'it is ' . date('Y')),
        ],
        [
            'numbers sort by value' => function () {
                $numbers = [10, 9];
                sort($numbers);
                check($numbers === [9, 10], '10 came before 9');
            },
            'accents take two bytes' => fn () => check(strlen('é') === 2, 'the text is not UTF-8'),
            'build number is a number' => function () {
                $number = (string) getenv('BUILD_NUMBER');
                if ($number === '') {
                    throw new Skipped('BUILD_NUMBER is not set');
                }
                check(ctype_digit($number), "it is '$number'");
            },
        ],
    ];
}

function call(string $method, string $url, string $token, ?array $body = null): array
{
    $headers = [
        "Authorization: Bearer $token",
        'Content-Type: application/json',
        'Idempotency-Key: ' . bin2hex(random_bytes(16)), // lets the TMS recognise a repeated request
    ];
    $context = stream_context_create(['http' => [
        'method' => $method,
        'header' => $headers,
        'content' => $body === null ? '' : json_encode($body, JSON_THROW_ON_ERROR),
        'ignore_errors' => true,
        'follow_location' => 0,
        'timeout' => 30,
    ]]);
    for ($attempt = 1;; $attempt++) {
        $text = @file_get_contents($url, false, $context);
        if ($text === false) {
            $reason = explode(': ', error_get_last()['message'] ?? 'unknown error');
            throw new TmsError('The TMS does not answer: ' . end($reason) . '.');
        }
        preg_match('/^HTTP\S* (\d+)/', $http_response_header[0], $line);
        $status = (int) $line[1];
        if (in_array($status, RETRIED, true) && $attempt < TRIES) {
            $wait = preg_grep('/^Retry-After: \d+$/i', $http_response_header);
            sleep($wait ? (int) explode(': ', reset($wait))[1] : 2 ** ($attempt - 1));
            continue;
        }
        $json = json_decode($text, true);
        $json = is_array($json) ? $json : [];
        if ($status >= 200 && $status < 300) {
            return $json;
        }
        $reason = $json['error']['message'] ?? 'no reason given';
        throw new TmsError("The TMS answered $status to $method $url: $reason");
    }
}

function run_check(string $title, callable $check): array
{
    $started = hrtime(true);
    $test = ['title' => $title, 'file' => 'runner.php', 'status' => 'passed', 'retries' => 0, 'tags' => ['@smoke']];
    try {
        $check();
    } catch (Throwable $error) {
        $test['status'] = $error instanceof Skipped ? 'skipped' : 'failed';
        $test['error'] = $error->getMessage();
    }
    $test['duration'] = intdiv(hrtime(true) - $started, 1_000_000);
    echo "  {$test['status']}: $title", isset($test['error']) ? " ({$test['error']})" : '', "\n";
    return $test;
}

function counts(array $tests): array
{
    $of = array_count_values(array_column($tests, 'status')) + ['passed' => 0, 'failed' => 0, 'skipped' => 0];
    return ['total' => count($tests), 'passed' => $of['passed'], 'failed' => $of['failed'], 'skipped' => $of['skipped']];
}

function main(string $url, string $token): int
{
    $shards = shards();
    $created = call('POST', "$url/executions", $token, [
        'testSuite' => 'smoke',
        'environment' => 'dev',
        'provider' => 'php-runner',
        'configuration' => ['shards' => count($shards)],
        'metadata' => ['buildNumber' => getenv('BUILD_NUMBER') ?: 'local'],
    ]);
    $id = $created['executionId']
        ?? throw new TmsError("The response of $url has no executionId: check that TMS_URL is the base URL of a TMS.");
    $send = fn (string $event, array $data) => call('POST', $created['webhookUrl'], $created['webhookToken'], [
        'event' => $event, 'timestamp' => gmdate('Y-m-d\TH:i:s\Z'), 'executionId' => $id, 'data' => $data,
    ]);
    $send('execution.started', ['status' => 'running']);
    $all = [];
    foreach ($shards as $index => $checks) {
        echo 'Shard ', $index + 1, ' of ', count($shards), "\n";
        $started = hrtime(true);
        $tests = array_map('run_check', array_keys($checks), $checks);
        $results = counts($tests);
        $outcome = ['shardId' => (string) ($index + 1), 'status' => $results['failed'] ? 'failed' : 'completed', 'results' => $results];
        call('POST', "$url/results", $token, ['executionId' => $id, 'provider' => 'php-runner', 'tests' => $tests] + $outcome);
        $send('shard.completed', $outcome + ['duration' => intdiv(hrtime(true) - $started, 1_000_000)]);
        $all = [...$all, ...$tests];
    }
    $results = counts($all);
    $send('execution.completed', ['status' => 'completed', 'results' => $results]);

    echo "{$results['passed']} passed, {$results['failed']} failed, {$results['skipped']} skipped\n";
    echo call('GET', "$url/executions/$id", $token)['artifacts']['reportUrl'] ?? '', "\n";
    return $results['failed'];
}

function finish(int $status, string $sentence): never
{
    fwrite(STDERR, "runner.php: $sentence\n");
    exit($status);
}

$url = (string) getenv('TMS_URL');
$token = (string) getenv('TMS_API_TOKEN');
if ($url === '' || $token === '') {
    finish(2, 'Set TMS_URL (its /api included) and TMS_API_TOKEN.');
}
try {
    $failed = main(rtrim($url, '/'), $token);
} catch (TmsError $error) {
    finish(1, $error->getMessage());
}
if ($failed) {
    finish(1, "$failed check(s) failed.");
}
