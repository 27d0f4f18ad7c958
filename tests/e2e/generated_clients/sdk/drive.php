<?php
// Drives an execution and a webhook by the client that OpenAPI Generator makes for PHP; prints what it received.
require __DIR__ . '/autoload.php';

use TmsClient\Api;
use TmsClient\ApiException;
use TmsClient\Configuration;
use TmsClient\Model;

function configuration(string $token): Configuration
{
    return (new Configuration())->setHost(getenv('TMS_URL'))->setAccessToken($token);
}

$own = configuration(getenv('TMS_API_TOKEN'));
$executions = new Api\ExecutionsApi(null, $own);
$execution = $executions->createExecution(new Model\ExecutionRequest([
    'test_suite' => 'smoke', 'environment' => 'staging', 'metadata' => ['branch' => 'main'],
]));
$id = $execution->getExecutionId();
$accepted = (new Api\EventsApi(null, configuration($execution->getWebhookToken())))->sendEvent($id, new Model\Event([
    'event' => Model\EventName::SHARD_STARTED,
    'execution_id' => $id,
    'data' => new Model\EventData(['shard_id' => '1']),
]));
if ($accepted->getExecutionStatus() !== Model\ExecutionState::RUNNING) {
    throw new RuntimeException($accepted->getExecutionStatus());
}
(new Api\ResultsApi(null, $own))->submitResults(new Model\ResultsSubmission([
    'execution_id' => $id,
    'shard_id' => '1',
    'tests' => [
        new Model\TestResult(['title' => 'logs in', 'status' => Model\TestStatus::PASSED, 'duration' => 12]),
        new Model\TestResult(['title' => 'pays', 'status' => Model\TestStatus::FAILED, 'error' => 'no']),
    ],
]));
$status = $executions->getExecution($id);
$page = $executions->listTests($id, null, 10, 'failed');
$webhooks = new Api\WebhooksApi(null, $own);
$subscription = ['url' => 'https://ci.example.com/hooks', 'events' => [Model\EventName::EXECUTION_COMPLETED]];
$webhook = $webhooks->createWebhook(new Model\WebhookRequest($subscription));
$refused = [];
try {
    $webhooks->createWebhook(new Model\WebhookRequest(['url' => 'http://ci.example.com'] + $subscription));
} catch (ApiException $error) {
    foreach (json_decode($error->getResponseBody(), true)['error']['details'] as $detail) {
        $refused[] = $detail['field'];
    }
}
echo json_encode([
    'status' => $status->getStatus(),
    'branch' => $status->getMetadata()['branch'],
    'counts' => $status->getResults(),
    'failed' => array_map(fn ($test) => $test->getTitle(), $page->getTests()),
    'retries' => $webhook->getRetryPolicy()->getMaxRetries(),
    'webhookId' => $webhook->getWebhookId(),
    'refused' => $refused,
]), "\n";
