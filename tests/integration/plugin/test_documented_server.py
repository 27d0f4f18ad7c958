"""The plugin against a server that speaks the integration document and nothing else."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.foreign_tms import ForeignTms, Reply

SUITE = """
import pytest

@pytest.mark.smoke
def test_passes(): pass

@pytest.mark.parametrize("n", [1])
def test_fails(n): assert n == 2, "one is not two"

@pytest.mark.skip(reason="not today")
def test_skips(): pass
"""


def speak_document(tms: ForeignTms) -> None:
    """Make ``tms`` respond to each documented call with no more than the document shows."""

    def route(method: str, path: str) -> Reply:
        as_json = {"Content-Type": "application/json"}
        if (method, path) == ("POST", "/api/executions"):
            response = {
                "executionId": "exec_1",
                "status": "created",
                "createdAt": "2025-08-04T12:34:56.789Z",
                "configuration": {"testSuite": "smoke", "environment": "staging", "shards": 1, "timeout": 1},
                "webhookUrl": f"{tms.url}/webhooks/executions/exec_1",
                "webhookToken": "wh_token_1",
            }
            return 201, as_json, json.dumps(response).encode()
        if (method, path) == ("POST", "/api/results"):
            response = {
                "submissionId": "sub_1",
                "executionId": "exec_1",
                "shardId": "1",
                "status": "accepted",
            }
            return 200, as_json, json.dumps(response).encode()
        if method == "POST" and path.startswith("/api/webhooks/executions/"):
            return 200, {}, b""
        if (method, path) == ("GET", "/api/executions/exec_1"):
            return 200, as_json, json.dumps({"executionId": "exec_1", "status": "running"}).encode()
        return 404, {"Content-Type": "text/html"}, b"<html>no such page</html>"

    tms.route = route


@pytest.fixture
def documented(mocked_tms: ForeignTms, monkeypatch: pytest.MonkeyPatch) -> ForeignTms:
    """A server that speaks only the document, for runs in the process of the test.

    Such a run cannot start a sender process, so that it delivers in the foreground, at its end.
    """
    speak_document(mocked_tms)
    monkeypatch.setattr(sys, "executable", "")
    monkeypatch.setenv("TMS_API_TOKEN", "tms_secret")
    return mocked_tms


@pytest.fixture
def documented_server(foreign: ForeignTms, monkeypatch: pytest.MonkeyPatch) -> ForeignTms:
    """A server that speaks only the document, for runs with processes of their own."""
    speak_document(foreign)
    monkeypatch.setenv("TMS_API_TOKEN", "tms_secret")
    return foreign


def sent(foreign: ForeignTms, path: str) -> list[dict[str, Any]]:
    return [json.loads(request["body"]) for request in foreign.requests if request["path"] == path]


def test_a_run_says_what_the_document_asks_for_in_its_order(
    documented: ForeignTms, pytester: pytest.Pytester
) -> None:
    pytester.makeini("[pytest]\nmarkers = smoke")
    pytester.makepyfile(test_it=SUITE)
    result = pytester.runpytest(
        "--tms-url", documented.url, "--tms-suite", "smoke", "--tms-environment", "staging"
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            f"tms: 3 results reported: {documented.url.removesuffix('/api')}/reports/exec_1",
        ]
    )
    steps = [
        json.loads(request["body"]).get("event", request["path"].removeprefix("/api/"))
        for request in documented.requests
    ]
    assert steps == [
        "executions",
        "execution.started",
        "shard.started",
        "results",
        "shard.completed",
        "execution.completed",
    ]
    tokens = {request["path"]: request["headers"]["Authorization"] for request in documented.requests}
    assert tokens == {
        "/api/executions": "Bearer tms_secret",
        "/api/results": "Bearer tms_secret",
        "/api/webhooks/executions/exec_1": "Bearer wh_token_1",
    }
    counts = {"total": 3, "passed": 1, "failed": 1, "skipped": 1, "flaky": 0}
    (results,) = sent(documented, "/api/results")
    assert results["status"] == "failed"
    assert results["results"] == counts
    assert results["shardId"] == "1"
    passed, failed, skipped = results["tests"]
    assert (passed["title"], passed["file"], passed["status"]) == ("test_passes", "test_it.py", "passed")
    assert passed["tags"] == ["@smoke"]
    assert (failed["title"], failed["status"]) == ("test_fails[1]", "failed")
    assert failed["error"] == "AssertionError: one is not two"
    assert "assert n == 2" in failed["longrepr"]
    assert failed["parameters"] == {"n": 1}
    assert (skipped["status"], skipped["error"]) == ("skipped", "not today")
    events = sent(documented, "/api/webhooks/executions/exec_1")
    assert [event["data"].get("results") for event in events] == [None, None, counts, counts]


def test_a_sender_process_says_the_same(documented_server: ForeignTms, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=SUITE.replace("@pytest.mark.smoke", ""))
    result = pytester.runpytest("--tms-url", documented_server.url)
    result.stdout.fnmatch_lines(["tms: 3 results reported: */reports/exec_1"])
    paths = [request["path"].removeprefix("/api/") for request in documented_server.requests]
    event = "webhooks/executions/exec_1"
    assert paths == ["executions", event, event, "results", event, event]


def test_a_shard_divides_its_tests_if_the_server_has_no_queue(
    documented_server: ForeignTms, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        test_it="import pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_it(n): pass"
    )
    shard = ("--tms-execution", "exec_1", "--tms-shard", "1/2", "--tms-split", "queue")
    result = pytester.runpytest_subprocess("--tms-url", documented_server.url, *shard)
    result.assert_outcomes(passed=2, deselected=2)
    result.stdout.fnmatch_lines(
        [
            "warning: shard 1 divided its tests by number and did not take them from a queue: "
            "this TMS has none (no capability claims)"
        ]
    )


def test_a_delivery_in_the_foreground_writes_no_log_record(
    documented: ForeignTms, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_it="def test_it(): pass")
    result = pytester.runpytest(
        "--tms-url", documented.url, "--log-file=log.txt", "--log-file-level=DEBUG", "--log-cli-level=DEBUG"
    )
    result.stdout.fnmatch_lines(["tms: 1 result reported: *"])
    assert pytester.path.joinpath("log.txt").read_text() == ""


def test_a_documented_payload_has_only_documented_fields(
    documented: ForeignTms, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_it=SUITE.replace("@pytest.mark.smoke", ""))
    pytester.runpytest("--tms-url", documented.url, "-o", "tms_payload=documented")
    (results,) = sent(documented, "/api/results")
    allowed = {"title", "file", "status", "duration", "error", "retries", "tags"}
    assert [set(test) - allowed for test in results["tests"]] == [set(), set(), set()]


FILES = """
import threading, pytest

@pytest.fixture
def leaves(tms):
    yield
    tms.attach(b"late", "late.webm")

def test_passes(tms):
    thread = threading.Thread(target=tms.attach, args=(b"png", "shot.png"))
    thread.start()
    thread.join()

def test_fails(leaves, tms):
    tms.attach(b"log", "run.txt")
    tms.attach(b"zip", "trace.zip")
    assert 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_each_shard_tells_of_itself_and_of_its_files_by_their_kind(
    documented_server: ForeignTms, pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(test_it=FILES)
    pytester.runpytest_subprocess("--tms-url", documented_server.url, *workers)
    shards = ["1", "2"] if workers else ["1"]
    assert [results["shardId"] for results in sent(documented_server, "/api/results")] == shards
    events = sent(documented_server, "/api/webhooks/executions/exec_1")
    for name in ("shard.started", "shard.completed"):
        assert [event["data"]["shardId"] for event in events if event["event"] == name] == shards
    named: dict[str, list[str]] = {}
    for results in sent(documented_server, "/api/results"):
        artifacts = results.get("artifacts", {})
        for kind, paths in artifacts.items():
            named.setdefault(kind, []).extend(paths)
        own = [file["path"] for test in results["tests"] for file in test.get("artifacts", ())]
        assert sorted(own) == sorted(path for paths in artifacts.values() for path in paths)
    file_names = {
        kind: [re.sub(r"-[^/]+(?=\.)", "", Path(path).name) for path in named[kind]] for kind in named
    }
    assert file_names == {
        "screenshots": ["shot.png"],
        "videos": ["late.webm"],
        "logs": ["run.txt"],
        "traces": ["trace.zip"],
    }
    assert all(Path(path).is_file() for paths in named.values() for path in paths)


def test_an_attached_run_neither_creates_nor_ends_the_execution(
    documented: ForeignTms, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMS_WEBHOOK_TOKEN", "wh_token_of_ci")
    pytester.makepyfile("def test(): pass")
    result = pytester.runpytest(
        "--tms-url", documented.url, "--tms-execution", "exec_1", "--tms-shard", "linux"
    )
    assert result.ret == 0
    events = sent(documented, "/api/webhooks/executions/exec_1")
    assert [(event["event"], event["data"]["shardId"]) for event in events] == [
        ("shard.started", "linux"),
        ("shard.completed", "linux"),
    ]
    assert not sent(documented, "/api/executions")
    hooks = [request for request in documented.requests if "webhooks" in request["path"]]
    assert {request["headers"]["Authorization"] for request in hooks} == {"Bearer wh_token_of_ci"}


def test_a_shard_without_run_keys_reports_alone_and_says_what_to_do(
    documented: ForeignTms, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile("def test(): pass")
    options = ("--tms-url", documented.url, "--tms-shard", "1/4", "--tms-run-key", "run 7")
    result = pytester.runpytest(*options)
    result.stdout.fnmatch_lines(
        [
            "warning: this TMS cannot bring the jobs of a run together (no capability run-key), so this run "
            "is an execution of its own: run `tms execution create --shards 4` once and pass --tms-execution "
            "to all jobs"
        ]
    )
    (request,) = sent(documented, "/api/executions")
    assert "runKey" not in request
    assert request["configuration"]["shards"] == 1
    events = sent(documented, "/api/webhooks/executions/exec_1")
    assert events[-1]["event"] == "execution.completed"


@pytest.mark.parametrize(
    "options", [(), ("--tms-shard", "1"), ("--tms-run-key", "none", "--tms-shard", "1/4")]
)
def test_a_run_without_a_key_makes_no_request_more(
    documented: ForeignTms, pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    pytester.makepyfile("def test(): pass")
    pytester.runpytest("--tms-url", documented.url, *options).assert_outcomes(passed=1)
    assert not [request for request in documented.requests if request["method"] == "GET"]


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_server_is_asked_again_for_run_keys(
    documented: ForeignTms, pytester: pytest.Pytester, status: int
) -> None:
    speaks = documented.route
    documented.add_response(status, {"error": {}})
    documented.add_response(200, {"service": "another", "capabilities": ["run-key"]})
    assert speaks is not None
    documented.route = lambda method, path: None if path == "/api/" else speaks(method, path)
    pytester.makepyfile("def test(): pass")
    options = ("--tms-url", documented.url, "--tms-shard", "1/4", "--tms-run-key", "run 7")
    pytester.runpytest(*options).assert_outcomes(passed=1)
    (request,) = sent(documented, "/api/executions")
    assert request["runKey"] == "run 7"
    assert request["configuration"]["shards"] == 4
    events = [event["event"] for event in sent(documented, "/api/webhooks/executions/exec_1")]
    assert "execution.completed" not in events


def test_refused_results_are_named_and_change_no_exit_status(
    documented: ForeignTms, pytester: pytest.Pytester
) -> None:
    response = documented.route
    assert response is not None
    documented.route = lambda method, path: (
        (413, {}, b"") if path == "/api/results" else response(method, path)
    )
    pytester.makepyfile("def test(): pass")
    result = pytester.runpytest("--tms-url", documented.url)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "0 of 1 result reported: *",
            "refused: test (shard 1): *answered 413*",
        ]
    )


def test_the_token_shows_nowhere(documented: ForeignTms, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os
        def test_leaks():
            token = os.environ["TMS_API_TOKEN"]
            print("using", token)
            assert token == "another", f"the token {token} is wrong"
        """
    )
    result = pytester.runpytest("--tms-url", documented.url)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    bodies = b"".join(request["body"] for request in documented.requests)
    assert b"tms_secret" not in bodies
    assert b"using ********" in bodies
    assert not re.search("tms: .*tms_secret", result.stdout.str())


@pytest.mark.parametrize(
    ("options", "token", "says"),
    [
        (["--tms-url", "URL"], "", "there is no token: set TMS_API_TOKEN or TMS_API_TOKEN_FILE"),
        (
            ["--tms-url", "tms.example.com"],
            "t",
            "invalid TMS URL 'tms.example.com': use http(s)://HOST/api, or local",
        ),
        (
            ["--tms-url", "http://[::1"],
            "t",
            "invalid TMS URL 'http://[::1': the IPv6 address in brackets is malformed; use http(s)://HOST/api",
        ),
        (
            ["--tms-url", "http://[::1", "--tms-shard", "1/1"],
            "t",
            "invalid TMS URL 'http://[::1': the IPv6 address in brackets is malformed; use http(s)://HOST/api",
        ),
        (["--tms-url", "URL", "--tms-meta", "branch"], "t", "--tms-meta has 'branch': write KEY=VALUE"),
        (["--tms-url", "URL", "-o", "tms_timeout=soon"], "t", "tms_timeout is 'soon': write a whole number"),
        (
            ["--tms-url", "URL", "-o", "tms_payload=all"],
            "t",
            "tms_payload is 'all': write one of full, documented",
        ),
        (
            ["--tms-url", "http://127.0.0.1:1/api"],
            "t",
            "http://127.0.0.1:1 does not answer: the connection is refused",
        ),
        (["--tms-url", "URL/elsewhere"], "t", "answered 404 Not Found: check --tms-url (it ends in /api)"),
    ],
)
def test_bad_settings_are_one_line_and_the_tests_run_as_ever(
    documented: ForeignTms,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    token: str,
    says: str,
) -> None:
    monkeypatch.setenv("TMS_API_TOKEN", token)
    pytester.makepyfile(test_it="def test_a(): pass\ndef test_b(): assert 0")
    result = pytester.runpytest(*[option.replace("URL", documented.url) for option in options])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, failed=1)
    lines = [line for line in result.outlines if says in line]
    assert lines[-1].startswith(("problem: ", "warning: ", "tms: not reported: ")), result.outlines


def test_a_rejected_token_or_suite_says_what_to_do(documented: ForeignTms, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test(): pass")
    for status, says in ((401, "set TMS_API_TOKEN to a valid token"), (422, "check --tms-suite")):
        documented.route = lambda *_, status=status: (status, {}, b"")
        result = pytester.runpytest("--tms-url", documented.url)
        assert result.ret == 0
        result.stdout.fnmatch_lines(
            [
                "not reported: 1 result",
                f"problem: *{says}*",
                "1 result kept; send with: tms replay *",
            ]
        )
