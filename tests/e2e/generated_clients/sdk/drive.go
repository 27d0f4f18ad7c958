// Drives an execution and a webhook by the client that OpenAPI Generator makes for Go; prints what it received.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	tms "github.com/pytest-tms/tms-client"
)

func must[T any](value T, err error) T {
	if err != nil {
		var api *tms.GenericOpenAPIError
		if errors.As(err, &api) {
			fmt.Fprintln(os.Stderr, string(api.Body()))
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func main() {
	configuration := tms.NewConfiguration()
	configuration.Servers = tms.ServerConfigurations{{URL: os.Getenv("TMS_URL")}}
	client := tms.NewAPIClient(configuration)
	ctx := context.WithValue(context.Background(), tms.ContextAccessToken, os.Getenv("TMS_API_TOKEN"))

	request := tms.NewExecutionRequest("smoke", "staging")
	request.SetMetadata(map[string]interface{}{"branch": "main"})
	created, _, err := client.ExecutionsAPI.CreateExecution(ctx).ExecutionRequest(*request).Execute()
	execution := must(created, err)

	data := tms.NewEventData()
	data.SetShardId("1")
	event := tms.NewEvent(tms.EVENTNAME_SHARD_STARTED, execution.ExecutionId)
	event.SetData(*data)
	own := context.WithValue(ctx, tms.ContextAccessToken, execution.WebhookToken)
	accepted, _, err := client.EventsAPI.SendEvent(own, execution.ExecutionId).Event(*event).Execute()
	if state := must(accepted, err).ExecutionStatus; state != tms.EXECUTIONSTATE_RUNNING {
		must(0, fmt.Errorf("the execution is %s", state))
	}

	passed := tms.NewTestResult("logs in", tms.TESTSTATUS_PASSED)
	passed.SetDuration(12)
	failed := tms.NewTestResult("pays", tms.TESTSTATUS_FAILED)
	failed.SetError("no")
	results := tms.NewResultsSubmission(execution.ExecutionId, "1")
	results.Tests = []tms.TestResult{*passed, *failed}
	submitted, _, err := client.ResultsAPI.SubmitResults(ctx).ResultsSubmission(*results).Execute()
	must(submitted, err)

	found, _, err := client.ExecutionsAPI.GetExecution(ctx, execution.ExecutionId).Execute()
	status := must(found, err)
	page, _, err := client.ExecutionsAPI.ListTests(ctx, execution.ExecutionId).Limit(10).Status("failed").Execute()
	titles := []string{}
	for _, test := range must(page, err).Tests {
		titles = append(titles, test.Title)
	}

	subscription := tms.NewWebhookRequest("https://ci.example.com/hooks", []tms.EventName{tms.EVENTNAME_EXECUTION_COMPLETED})
	registered, _, err := client.WebhooksAPI.CreateWebhook(ctx).WebhookRequest(*subscription).Execute()
	webhook := must(registered, err)

	wrong := tms.NewWebhookRequest("http://ci.example.com/hooks", subscription.Events)
	_, _, err = client.WebhooksAPI.CreateWebhook(ctx).WebhookRequest(*wrong).Execute()
	refused := []string{}
	var problem *tms.GenericOpenAPIError
	if errors.As(err, &problem) {
		for _, detail := range problem.Model().(tms.ErrorResponse).Error.Details {
			refused = append(refused, detail.Field)
		}
	}
	json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"status":    status.Status,
		"branch":    status.Metadata["branch"],
		"counts":    status.Results,
		"failed":    titles,
		"retries":   webhook.RetryPolicy.MaxRetries,
		"webhookId": webhook.WebhookId,
		"refused":   refused,
	})
}
