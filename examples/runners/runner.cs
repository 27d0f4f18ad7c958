// Run six checks in two shards and report them to a TMS. Needs .NET 6 or Mono 6 and no packages.
//
//   mcs runner.cs -r:System.Net.Http -r:System.Runtime.Serialization -r:System.Xml -r:System.Xml.Linq
//   TMS_URL=https://tms.example.com/api TMS_API_TOKEN=… mono runner.exe
//
// With .NET, put the file into a project of `dotnet new console` and use `dotnet run`.
//
// Exit status: 0 if no check failed, 1 if a check failed or the results could not be sent, 2 on wrong usage.

using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Runtime.Serialization.Json;
using System.Text;
using System.Text.RegularExpressions;
using System.Threading.Tasks;
using System.Xml;
using System.Xml.Linq;

class Skipped : Exception
{
    public Skipped(string reason) : base(reason) { }
}

class TmsException : Exception
{
    public TmsException(string message) : base(message) { }
}

class Body : Dictionary<string, object> { }

static class Runner
{
    static readonly HashSet<int> Retried = new HashSet<int> { 429, 500, 502, 503, 504 };
    const int Tries = 4;
    static readonly HttpClient Client = new HttpClient { Timeout = TimeSpan.FromSeconds(30) };

    static readonly List<Dictionary<string, Action>> Shards = new List<Dictionary<string, Action>>
    {
        new Dictionary<string, Action>
        {
            ["home directory exists"] = () =>
            {
                var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
                Check(Directory.Exists(home), "no directory " + home);
            },
            ["temporary directory is writable"] = () =>
            {
                var file = Path.Combine(Variable("TMPDIR", Path.GetTempPath()), "runner-" + Guid.NewGuid());
                File.WriteAllText(file, "");
                File.Delete(file);
            },
            ["clock is set"] = () => Check(DateTime.Now.Year >= 2025, "it is " + DateTime.Now.Year),
        },
        new Dictionary<string, Action>
        {
            ["numbers sort by value"] = () => Check(new[] { 10, 9 }.OrderBy(each => each).First() == 9, "10 came before 9"),
            ["accents take two bytes"] = () => Check(Encoding.UTF8.GetByteCount("\u00e9") == 2, "the text is not UTF-8"),
            ["build number is a number"] = () =>
            {
                var number = Variable("BUILD_NUMBER", "");
                if (number == "") throw new Skipped("BUILD_NUMBER is not set");
                Check(Regex.IsMatch(number, "^[0-9]+$"), "it is '" + number + "'");
            },
        },
    };

    static void Check(bool condition, string message)
    {
        if (!condition) throw new InvalidOperationException(message);
    }

    static string Variable(string name, string otherwise)
    {
        var value = Environment.GetEnvironmentVariable(name);
        return string.IsNullOrEmpty(value) ? otherwise : value;
    }

    // JSON without packages, on .NET and Mono: a writer of the values below, and .NET's reader of JSON as XML.

    static string Json(object value)
    {
        if (value is Body body) return "{" + string.Join(", ", body.Select(each => Json(each.Key) + ": " + Json(each.Value))) + "}";
        if (value is IEnumerable<object> list) return "[" + string.Join(", ", list.Select(Json)) + "]";
        if (value is int || value is long) return Convert.ToString(value, CultureInfo.InvariantCulture);
        var text = new StringBuilder("\"");
        foreach (var each in (string)value)
        {
            if (each == '"' || each == '\\') text.Append('\\').Append(each);
            else if (each < ' ') text.AppendFormat("\\u{0:x4}", (int)each);
            else text.Append(each);
        }
        return text.Append('"').ToString();
    }

    static XElement Read(byte[] json)
    {
        try
        {
            using (var reader = JsonReaderWriterFactory.CreateJsonReader(json, XmlDictionaryReaderQuotas.Max))
                return XElement.Load(reader);
        }
        catch (XmlException)
        {
            return new XElement("root");
        }
    }

    static async Task<XElement> Call(string method, string url, string token, Body body = null)
    {
        var key = Guid.NewGuid().ToString(); // lets the TMS recognise a repeated request
        for (var attempt = 1; ; attempt++)
        {
            HttpResponseMessage response;
            byte[] content;
            try
            {
                var request = new HttpRequestMessage(new HttpMethod(method), url);
                request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
                request.Headers.Add("Idempotency-Key", key);
                if (body != null) request.Content = new StringContent(Json(body), Encoding.UTF8, "application/json");
                response = await Client.SendAsync(request);
                content = await response.Content.ReadAsByteArrayAsync();
            }
            catch (Exception error) when (error is HttpRequestException || error is TaskCanceledException)
            {
                throw new TmsException("The TMS does not answer: " + error.GetBaseException().Message + ".");
            }
            var status = (int)response.StatusCode;
            if (Retried.Contains(status) && attempt < Tries)
            {
                await Task.Delay(response.Headers.RetryAfter?.Delta ?? TimeSpan.FromSeconds(1 << (attempt - 1)));
                continue;
            }
            var json = Read(content);
            if (response.IsSuccessStatusCode) return json;
            var reason = json.Element("error")?.Element("message")?.Value ?? "no reason given";
            throw new TmsException($"The TMS answered {status} to {method} {url}: {reason}");
        }
    }

    static Body RunCheck(string title, Action check)
    {
        var watch = Stopwatch.StartNew();
        var test = new Body { ["title"] = title, ["file"] = "runner.cs", ["status"] = "passed" };
        try
        {
            check();
        }
        catch (Exception error)
        {
            test["status"] = error is Skipped ? "skipped" : "failed";
            test["error"] = error.Message;
        }
        test["duration"] = watch.ElapsedMilliseconds;
        test["retries"] = 0;
        test["tags"] = new List<object> { "@smoke" };
        Console.WriteLine($"  {test["status"]}: {title}" + (test.ContainsKey("error") ? $" ({test["error"]})" : ""));
        return test;
    }

    static Body Count(List<Body> tests)
    {
        var counts = new Body { ["total"] = tests.Count };
        foreach (var status in new[] { "passed", "failed", "skipped" })
            counts[status] = tests.Count(test => (string)test["status"] == status);
        return counts;
    }

    static async Task<int> Run(string url, string token)
    {
        var created = await Call("POST", url + "/executions", token, new Body
        {
            ["testSuite"] = "smoke",
            ["environment"] = "dev",
            ["provider"] = "csharp-runner",
            ["configuration"] = new Body { ["shards"] = Shards.Count },
            ["metadata"] = new Body { ["buildNumber"] = Variable("BUILD_NUMBER", "local") },
        });
        var id = created.Element("executionId")?.Value;
        if (id == null) throw new TmsException($"The response of {url} has no executionId: check that TMS_URL is the base URL of a TMS.");
        Func<string, Body, Task> send = (name, data) => Call("POST", created.Element("webhookUrl").Value, created.Element("webhookToken").Value, new Body
        {
            ["event"] = name,
            ["timestamp"] = DateTime.UtcNow.ToString("yyyy-MM-ddTHH:mm:ss.fffZ", CultureInfo.InvariantCulture),
            ["executionId"] = id,
            ["data"] = data,
        });

        await send("execution.started", new Body { ["status"] = "running" });
        var all = new List<Body>();
        for (var index = 0; index < Shards.Count; index++)
        {
            var shard = (index + 1).ToString();
            Console.WriteLine($"Shard {shard} of {Shards.Count}");
            var watch = Stopwatch.StartNew();
            var tests = Shards[index].Select(each => RunCheck(each.Key, each.Value)).ToList();
            var counts = Count(tests);
            var status = (int)counts["failed"] == 0 ? "completed" : "failed";
            await Call("POST", url + "/results", token, new Body
            {
                ["executionId"] = id, ["shardId"] = shard, ["provider"] = "csharp-runner",
                ["status"] = status, ["results"] = counts, ["tests"] = tests.Cast<object>().ToList(),
            });
            await send("shard.completed", new Body
            {
                ["shardId"] = shard, ["status"] = status, ["results"] = counts, ["duration"] = watch.ElapsedMilliseconds,
            });
            all.AddRange(tests);
        }
        var results = Count(all);
        await send("execution.completed", new Body { ["status"] = "completed", ["results"] = results });

        Console.WriteLine($"{results["passed"]} passed, {results["failed"]} failed, {results["skipped"]} skipped");
        var execution = await Call("GET", url + "/executions/" + id, token);
        Console.WriteLine(execution.Element("artifacts")?.Element("reportUrl")?.Value);
        return (int)results["failed"];
    }

    static int End(int status, string sentence)
    {
        Console.Error.WriteLine("runner.cs: " + sentence);
        return status;
    }

    static int Main()
    {
        string url = Variable("TMS_URL", ""), token = Variable("TMS_API_TOKEN", "");
        if (url == "" || token == "") return End(2, "Set TMS_URL (its /api included) and TMS_API_TOKEN.");
        try
        {
            var failed = Run(url.TrimEnd('/'), token).GetAwaiter().GetResult();
            return failed == 0 ? 0 : End(1, failed + " check(s) failed.");
        }
        catch (TmsException error)
        {
            return End(1, error.Message);
        }
    }
}
