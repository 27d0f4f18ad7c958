// Run six checks in two shards and report them to a TMS. Needs Go 1.18 and no modules.
//
//	go build runner.go
//	TMS_URL=https://tms.example.com/api TMS_API_TOKEN=… ./runner
//
// Exit status: 0 if no check failed, 1 if a check failed or the results could not be sent, 2 on wrong usage.
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
)

const tries = 4

var retried = map[int]bool{429: true, 500: true, 502: true, 503: true, 504: true}

type object = map[string]any

type check struct {
	title string
	run   func() error
}

type skipped struct{ reason string }

func (reason skipped) Error() string { return reason.reason }

var shards = [][]check{
	{
		{"home directory exists", func() error {
			folder, err := os.UserHomeDir()
			if err == nil {
				_, err = os.ReadDir(folder)
			}
			return err
		}},
		{"temporary directory is writable", func() error {
			file, err := os.CreateTemp("", "runner")
			if err != nil {
				return err
			}
			file.Close()
			return os.Remove(file.Name())
		}},
		{"clock is set", func() error {
			if year := time.Now().Year(); year < 2025 {
				return fmt.Errorf("it is %d", year)
			}
			return nil
		}},
	},
	{
		{"numbers sort by value", func() error {
			numbers := []int{10, 9}
			sort.Ints(numbers)
			if numbers[0] != 9 {
				return errors.New("10 came before 9")
			}
			return nil
		}},
		{"accents take two bytes", func() error {
			if len("é") != 2 {
				return errors.New("the text is not UTF-8")
			}
			return nil
		}},
		{"build number is a number", func() error {
			number := os.Getenv("BUILD_NUMBER")
			if number == "" {
				return skipped{"BUILD_NUMBER is not set"}
			}
			if !regexp.MustCompile(`^[0-9]+$`).MatchString(number) {
				return fmt.Errorf("it is %q", number)
			}
			return nil
		}},
	},
}

type test struct {
	Title    string   `json:"title"`
	File     string   `json:"file"`
	Status   string   `json:"status"`
	Duration int64    `json:"duration"`
	Error    string   `json:"error,omitempty"`
	Retries  int      `json:"retries"`
	Tags     []string `json:"tags"`
}

type counts struct {
	Total   int `json:"total"`
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

// response has the fields of all responses that this program reads.
type response struct {
	ExecutionID  string `json:"executionId"`
	WebhookURL   string `json:"webhookUrl"`
	WebhookToken string `json:"webhookToken"`
	Artifacts    struct {
		ReportURL string `json:"reportUrl"`
	} `json:"artifacts"`
	Error struct {
		Message string `json:"message"`
	} `json:"error"`
}

func call(method, address, token string, body any) (found response, err error) {
	var content []byte
	if body != nil {
		if content, err = json.Marshal(body); err != nil {
			return found, err
		}
	}
	key := make([]byte, 16)
	if _, err = rand.Read(key); err != nil {
		return found, err
	}
	client := http.Client{Timeout: 30 * time.Second}
	for attempt := 1; ; attempt++ {
		request, err := http.NewRequest(method, address, bytes.NewReader(content))
		if err != nil {
			return found, err
		}
		request.Header.Set("Authorization", "Bearer "+token)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Idempotency-Key", fmt.Sprintf("%x", key)) // lets the TMS recognise a repeated request
		answer, err := client.Do(request)
		if err != nil {
			var problem *url.Error
			if errors.As(err, &problem) {
				err = problem.Err
			}
			return found, fmt.Errorf("The TMS does not answer: %w.", err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			return found, fmt.Errorf("The TMS does not answer: %w.", err)
		}
		if retried[answer.StatusCode] && attempt < tries {
			seconds, err := strconv.Atoi(answer.Header.Get("Retry-After"))
			if err != nil {
				seconds = 1 << (attempt - 1)
			}
			time.Sleep(time.Duration(seconds) * time.Second)
			continue
		}
		if json.Unmarshal(text, &found) != nil {
			found = response{}
		}
		if answer.StatusCode < 200 || answer.StatusCode > 299 {
			reason := found.Error.Message
			if reason == "" {
				reason = "no reason given"
			}
			return found, fmt.Errorf("The TMS answered %d to %s %s: %s", answer.StatusCode, method, address, reason)
		}
		return found, nil
	}
}

func runCheck(each check) test {
	started := time.Now()
	done := test{Title: each.title, File: "runner.go", Status: "passed", Tags: []string{"@smoke"}}
	reason := ""
	if err := each.run(); err != nil {
		done.Status, done.Error = "failed", err.Error()
		if errors.As(err, &skipped{}) {
			done.Status = "skipped"
		}
		reason = " (" + done.Error + ")"
	}
	done.Duration = time.Since(started).Milliseconds()
	fmt.Printf("  %s: %s%s\n", done.Status, each.title, reason)
	return done
}

func count(tests []test) counts {
	number := counts{Total: len(tests)}
	for _, each := range tests {
		switch each.Status {
		case "passed":
			number.Passed++
		case "failed":
			number.Failed++
		default:
			number.Skipped++
		}
	}
	return number
}

func report(base, token string) (int, error) {
	number := os.Getenv("BUILD_NUMBER")
	if number == "" {
		number = "local"
	}
	created, err := call("POST", base+"/executions", token, object{
		"testSuite":     "smoke",
		"environment":   "dev",
		"provider":      "go-runner",
		"configuration": object{"shards": len(shards)},
		"metadata":      object{"buildNumber": number},
	})
	if err != nil {
		return 0, err
	}
	id := created.ExecutionID
	if id == "" {
		return 0, fmt.Errorf("The response of %s has no executionId: check that TMS_URL is the base URL of a TMS.", base)
	}
	send := func(event string, data object) error {
		now := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
		body := object{"event": event, "timestamp": now, "executionId": id, "data": data}
		_, err := call("POST", created.WebhookURL, created.WebhookToken, body)
		return err
	}
	if err = send("execution.started", object{"status": "running"}); err != nil {
		return 0, err
	}
	var all []test
	for index, checks := range shards {
		shard := strconv.Itoa(index + 1)
		fmt.Printf("Shard %s of %d\n", shard, len(shards))
		started := time.Now()
		var tests []test
		for _, each := range checks {
			tests = append(tests, runCheck(each))
		}
		results, status := count(tests), "completed"
		if results.Failed > 0 {
			status = "failed"
		}
		if _, err = call("POST", base+"/results", token, object{
			"executionId": id, "shardId": shard, "provider": "go-runner", "status": status, "results": results, "tests": tests,
		}); err != nil {
			return 0, err
		}
		duration := time.Since(started).Milliseconds()
		if err = send("shard.completed", object{"shardId": shard, "status": status, "results": results, "duration": duration}); err != nil {
			return 0, err
		}
		all = append(all, tests...)
	}
	results := count(all)
	if err = send("execution.completed", object{"status": "completed", "results": results}); err != nil {
		return 0, err
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", results.Passed, results.Failed, results.Skipped)
	execution, err := call("GET", base+"/executions/"+id, token, nil)
	fmt.Println(execution.Artifacts.ReportURL)
	return results.Failed, err
}

func end(status int, sentence string) {
	fmt.Fprintln(os.Stderr, "runner.go: "+sentence)
	os.Exit(status)
}

func main() {
	base, token := os.Getenv("TMS_URL"), os.Getenv("TMS_API_TOKEN")
	if base == "" || token == "" {
		end(2, "Set TMS_URL (its /api included) and TMS_API_TOKEN.")
	}
	failed, err := report(strings.TrimRight(base, "/"), token)
	if err != nil {
		end(1, err.Error())
	}
	if failed > 0 {
		end(1, fmt.Sprintf("%d check(s) failed.", failed))
	}
}
