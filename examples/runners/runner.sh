#!/usr/bin/env bash
# Run six checks in two shards and report them to a TMS. Needs bash 5 and curl.
#
#   TMS_URL=https://tms.example.com/api TMS_API_TOKEN=… ./runner.sh
#
# Exit status: 0 if no check failed, 1 if a check failed or the results could not be sent, 2 on wrong usage.
set -euo pipefail

die() {
  echo "runner.sh: $2" >&2
  exit "$1"
}

[[ ${TMS_URL:-} && ${TMS_API_TOKEN:-} ]] || die 2 "Set TMS_URL (its /api included) and TMS_API_TOKEN."

# The checks. The output is the error or the reason; exit status 77 means skipped.

home_directory_exists() { [[ -d ${HOME:-} ]] || { echo "no directory '${HOME:-}'" && return 1; }; }
temporary_directory_is_writable() { [[ -w ${TMPDIR:-/tmp} ]] || { echo "cannot write to ${TMPDIR:-/tmp}" && return 1; }; }
clock_is_set() { (($(date +%Y) >= 2025)) || { echo "it is $(date +%Y)" && return 1; }; }
numbers_sort_by_value() { [[ $(printf '10\n9\n' | sort -n) == $'9\n10' ]] || { echo "10 came before 9" && return 1; }; }
accents_take_two_bytes() { (($(printf 'é' | wc -c) == 2)) || { echo "the text is not UTF-8" && return 1; }; }
build_number_is_a_number() {
  [[ ${BUILD_NUMBER:-} ]] || { echo "BUILD_NUMBER is not set" && return 77; }
  [[ $BUILD_NUMBER =~ ^[0-9]+$ ]] || { echo "it is '$BUILD_NUMBER'" && return 1; }
}

shards=(
  "home_directory_exists temporary_directory_is_writable clock_is_set"
  "numbers_sort_by_value accents_take_two_bytes build_number_is_a_number"
)

# The JSON functions that this script needs: quote a text, and read the first string field with a given name.

quote() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "${text//$'\n'/\\n}"
}

field() {
  [[ $2 =~ \"$1\"[[:space:]]*:[[:space:]]*\"([^\"]*)\" ]] && printf '%s' "${BASH_REMATCH[1]//\\\//\/}"
}

# call METHOD URL TOKEN [BODY]: print the response. The token is passed through a pipe, so that it is not visible in the
# list of processes. The Idempotency-Key lets the TMS recognise a repeated request.
call() {
  local answer status
  answer=$(curl --silent --show-error --retry 3 --max-time 30 --request "$1" --write-out '\n%{http_code}' \
    --header @<(printf 'Authorization: Bearer %s\n' "$3") \
    --header "Content-Type: application/json" \
    --header "Idempotency-Key: $EPOCHREALTIME-$$-$RANDOM" \
    ${4:+--data "$4"} "$2" 2>&1) || die 1 "The TMS does not answer: $(sed -n 's/^curl: //p' <<<"$answer")."
  status=${answer##*$'\n'}
  [[ $status == 2?? ]] || die 1 "The TMS answered $status to $1 $2: $(field message "$answer" || echo "no reason given")"
  printf '%s' "${answer%$'\n'*}"
}

send() { # EVENT DATA
  call POST "$webhook_url" "$webhook_token" '{
    "event": "'"$1"'",
    "timestamp": "'"$(date -u +%Y-%m-%dT%H:%M:%SZ)"'",
    "executionId": "'"$execution_id"'",
    "data": '"$2"'
  }' >/dev/null
}

counts() { # PASSED FAILED SKIPPED
  printf '{"total": %d, "passed": %d, "failed": %d, "skipped": %d}' $(($1 + $2 + $3)) "$1" "$2" "$3"
}

milliseconds() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

run_shard() { # SHARD NAMES: adds to all_passed, all_failed and all_skipped
  local name message status code started tests=() passed=0 failed=0 skipped=0 outcome=completed
  local shard_started
  shard_started=$(milliseconds)
  for name in $2; do
    started=$(milliseconds)
    code=0
    message=$("$name" 2>&1) || code=$?
    case $code in
      0) status=passed passed=$((passed + 1)) ;;
      77) status=skipped skipped=$((skipped + 1)) ;;
      *) status=failed failed=$((failed + 1)) outcome=failed ;;
    esac
    echo "  $status: ${name//_/ }${message:+ ($message)}"
    tests+=("{
      \"title\": $(quote "${name//_/ }"),
      \"file\": \"runner.sh\",
      \"status\": \"$status\",
      \"duration\": $(($(milliseconds) - started)),
      \"error\": $([[ $message ]] && quote "$message" || echo null),
      \"retries\": 0,
      \"tags\": [\"@smoke\"]
    }")
  done
  call POST "$TMS_URL/results" "$TMS_API_TOKEN" '{
    "executionId": "'"$execution_id"'",
    "shardId": "'"$1"'",
    "provider": "bash-runner",
    "status": "'"$outcome"'",
    "results": '"$(counts $passed $failed $skipped)"',
    "tests": ['"$(IFS=, && echo "${tests[*]}")"']
  }' >/dev/null
  send shard.completed '{
    "shardId": "'"$1"'",
    "status": "'"$outcome"'",
    "duration": '$(($(milliseconds) - shard_started))',
    "results": '"$(counts $passed $failed $skipped)"'
  }'
  all_passed=$((all_passed + passed)) all_failed=$((all_failed + failed)) all_skipped=$((all_skipped + skipped))
}

TMS_URL=${TMS_URL%/}
created=$(call POST "$TMS_URL/executions" "$TMS_API_TOKEN" '{
  "testSuite": "smoke",
  "environment": "dev",
  "provider": "bash-runner",
  "configuration": {"shards": '"${#shards[@]}"'},
  "metadata": {"buildNumber": '"$(quote "${BUILD_NUMBER:-local}")"'}
}')
execution_id=$(field executionId "$created") || die 1 "The response of $TMS_URL has no executionId: check that TMS_URL is the base URL of a TMS."
webhook_url=$(field webhookUrl "$created")
webhook_token=$(field webhookToken "$created")

all_passed=0 all_failed=0 all_skipped=0
send execution.started '{"status": "running", "provider": "bash-runner"}'
for index in "${!shards[@]}"; do
  echo "Shard $((index + 1)) of ${#shards[@]}"
  run_shard $((index + 1)) "${shards[index]}"
done
send execution.completed '{
  "status": "completed",
  "results": '"$(counts $all_passed $all_failed $all_skipped)"'
}'

echo "$all_passed passed, $all_failed failed, $all_skipped skipped"
field reportUrl "$(call GET "$TMS_URL/executions/$execution_id" "$TMS_API_TOKEN")" || true
echo
((all_failed == 0)) || die 1 "$all_failed check(s) failed."
