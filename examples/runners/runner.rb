#!/usr/bin/env ruby
# Run six checks in two shards and report them to a TMS. Needs Ruby 3 and no gems.
#
#   TMS_URL=https://tms.example.com/api TMS_API_TOKEN=… ruby runner.rb
#
# Exit status: 0 if no check failed, 1 if a check failed or the results could not be sent, 2 on wrong usage.
require "json"
require "net/http"
require "securerandom"
require "time"

RETRIED = [429, 500, 502, 503, 504].freeze
TRIES = 4

class Skipped < StandardError; end
class TmsError < StandardError; end

def check(condition, message)
  raise message unless condition
end

SHARDS = [
  {
    "home directory exists" => -> { check(File.directory?(Dir.home), "no directory #{Dir.home}") },
    "temporary directory is writable" => lambda {
      folder = ENV.fetch("TMPDIR", "/tmp")
      check(File.writable?(folder), "cannot write to #{folder}")
    },
    "clock is set" => -> { check(Time.now.year >= 2025, "it is #{Time.now.year}") }
  },
  {
    "numbers sort by value" => -> { check([10, 9].sort == [9, 10], "10 came before 9") },
    "accents take two bytes" => -> { check("é".bytesize == 2, "the text is not UTF-8") },
    "build number is a number" => lambda {
      number = ENV["BUILD_NUMBER"].to_s
      raise Skipped, "BUILD_NUMBER is not set" if number.empty?

      check(number.match?(/\A\d+\z/), "it is '#{number}'")
    }
  }
].freeze

def call(method, url, token, body = nil)
  uri = URI(url)
  request = Net::HTTP.const_get(method.capitalize).new(uri)
  request["Authorization"] = "Bearer #{token}"
  request["Content-Type"] = "application/json"
  request["Idempotency-Key"] = SecureRandom.uuid # lets the TMS recognise a repeated request
  request.body = JSON.generate(body) if body
  (1..TRIES).each do |attempt|
    options = { use_ssl: uri.scheme == "https", open_timeout: 30, read_timeout: 30, max_retries: 0 }
    begin
      response = Net::HTTP.start(uri.hostname, uri.port, **options) { |http| http.request(request) }
    rescue SystemCallError, SocketError, IOError, Timeout::Error, OpenSSL::SSL::SSLError => e
      raise TmsError, "The TMS does not answer: #{e.message}."
    end
    if RETRIED.include?(response.code.to_i) && attempt < TRIES
      sleep(response["Retry-After"]&.to_i || 2**(attempt - 1))
      next
    end
    json = begin
      JSON.parse(response.body)
    rescue JSON::ParserError
      {}
    end
    return json if response.is_a?(Net::HTTPSuccess)

    reason = json.dig("error", "message") || "no reason given"
    raise TmsError, "The TMS answered #{response.code} to #{method} #{url}: #{reason}"
  end
end

def now
  Process.clock_gettime(Process::CLOCK_MONOTONIC, :millisecond)
end

def run_check(title, check)
  started = now
  test = { title: title, file: "runner.rb", status: "passed", retries: 0, tags: ["@smoke"] }
  begin
    check.call
  rescue Skipped => e
    test.update(status: "skipped", error: e.message)
  rescue StandardError => e
    test.update(status: "failed", error: e.message)
  end
  puts "  #{test[:status]}: #{title}#{" (#{test[:error]})" if test[:error]}"
  test.update(duration: now - started)
end

def count(tests)
  of = tests.map { |test| test[:status] }.tally
  of.default = 0
  { total: tests.size, passed: of["passed"], failed: of["failed"], skipped: of["skipped"] }
end

def main(url, token)
  number = ENV["BUILD_NUMBER"].to_s
  created = call("POST", "#{url}/executions", token, {
    testSuite: "smoke", environment: "dev", provider: "ruby-runner",
    configuration: { shards: SHARDS.size }, metadata: { buildNumber: number.empty? ? "local" : number }
  })
  id = created["executionId"]
  raise TmsError, "The response of #{url} has no executionId: check that TMS_URL is the base URL of a TMS." unless id

  report = lambda do |event, data|
    body = { event: event, timestamp: Time.now.utc.iso8601(3), executionId: id, data: data }
    call("POST", created["webhookUrl"], created["webhookToken"], body)
  end
  report.call("execution.started", { status: "running" })
  all = SHARDS.each.with_index(1).flat_map do |checks, shard|
    puts "Shard #{shard} of #{SHARDS.size}"
    started = now
    tests = checks.map { |title, check| run_check(title, check) }
    results = count(tests)
    outcome = { shardId: shard.to_s, status: results[:failed].zero? ? "completed" : "failed", results: results }
    call("POST", "#{url}/results", token, { executionId: id, provider: "ruby-runner", tests: tests, **outcome })
    report.call("shard.completed", { duration: now - started, **outcome })
    tests
  end
  results = count(all)
  report.call("execution.completed", { status: "completed", results: results })

  puts "#{results[:passed]} passed, #{results[:failed]} failed, #{results[:skipped]} skipped"
  puts call("GET", "#{url}/executions/#{id}", token).dig("artifacts", "reportUrl")
  results[:failed]
end

def finish(status, sentence)
  warn "runner.rb: #{sentence}"
  exit status
end

url = ENV["TMS_URL"].to_s
token = ENV["TMS_API_TOKEN"].to_s
finish(2, "Set TMS_URL (its /api included) and TMS_API_TOKEN.") if url.empty? || token.empty?
begin
  failed = main(url.sub(%r{/+\z}, ""), token)
rescue TmsError => e
  finish(1, e.message)
end
finish(1, "#{failed} check(s) failed.") if failed.positive?
