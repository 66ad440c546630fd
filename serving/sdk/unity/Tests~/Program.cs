// The client outside of Unity, against a service that runs: SERVICE, KEY and PHOTO. tests/serving/sdk compiles it.

using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Threading.Tasks;
using Likeness;

public sealed class HttpTransport : ITransport, IDisposable
{
    private readonly HttpClient client = new HttpClient();

    public async Task<WebAnswer> Send(WebRequest request)
    {
        var message = new HttpRequestMessage(new HttpMethod(request.Method), request.Url);
        foreach (var header in request.Headers) message.Headers.TryAddWithoutValidation(header.Key, header.Value);
        if (request.Body != null)
        {
            message.Content = new ByteArrayContent(request.Body);
            message.Content.Headers.ContentType = MediaTypeHeaderValue.Parse(request.ContentType);
        }
        HttpResponseMessage answer;
        try
        {
            answer = await client.SendAsync(message);
        }
        catch (HttpRequestException error)
        {
            throw new LikenessException(0, "unreachable", error.Message, null);
        }
        IEnumerable<string> after;
        return new WebAnswer
        {
            Status = (int)answer.StatusCode,
            Body = await answer.Content.ReadAsByteArrayAsync(),
            RetryAfter = Seconds.Of(answer.Headers.TryGetValues("Retry-After", out after) ? after.First() : null),
        };
    }

    public void Dispose()
    {
        client.Dispose();
    }

    public Task Pause(float seconds)
    {
        return Task.Delay(TimeSpan.FromSeconds(seconds));
    }
}

/// <summary>A line that breaks at first; then the service is still at work, then it answers.</summary>
public sealed class BrokenLine : ITransport
{
    public readonly List<string> Keys = new List<string>();
    public readonly List<float> Pauses = new List<float>();

    public Task<WebAnswer> Send(WebRequest request)
    {
        string key;
        Keys.Add(request.Headers.TryGetValue("Idempotency-Key", out key) ? key : null);
        if (Keys.Count == 1 || key == null) throw new LikenessException(0, "unreachable", "broken", null);
        var made = Encoding.UTF8.GetBytes("{\"id\": \"made\"}");
        return Task.FromResult(new WebAnswer { Status = Keys.Count == 2 ? 409 : 201, Body = made, RetryAfter = 1f });
    }

    public Task Pause(float seconds)
    {
        Pauses.Add(seconds);
        return Task.CompletedTask;
    }
}

public static class Program
{
    public static int Main()
    {
        Resend().GetAwaiter().GetResult();
        using (var transport = new HttpTransport()) Run(transport).GetAwaiter().GetResult();
        Console.WriteLine("all is well");
        return 0;
    }

    private static async Task Resend()
    {
        var line = new BrokenLine();
        var player = new LikenessClient("http://game", null, line);
        Require((await player.Create(new byte[1])).Id == "made", "a photo was sent again after a broken line");
        Require(line.Keys.Count == 3 && line.Keys.Distinct().Count() == 1, "with the same key");
        Require(line.Pauses.SequenceEqual(new[] { 1f, 2f }), "after a while");
        await player.Create(new byte[1], idempotencyKey: "mine");
        Require(line.Keys.Last() == "mine", "a key of the game's own");
        try
        {
            await player.CreateOfPerson(new[] { new byte[1] });
            Require(false, "it was lost");
        }
        catch (LikenessException lost)
        {
            Require(lost.Status == 0 && line.Keys.Count == 5, "what may have been done already was sent once");
        }
    }

    private static async Task Run(ITransport transport)
    {
        var service = Environment.GetEnvironmentVariable("SERVICE");
        var photo = File.ReadAllBytes(Environment.GetEnvironmentVariable("PHOTO"));
        var game = new LikenessClient(service, Environment.GetEnvironmentVariable("KEY"), transport);
        var player = new LikenessClient(service, (await game.TokenFor("cs", 60)).Value, transport);

        var made = await player.Create(photo);
        Require(made.Parameters.Count > 100 && made.Discrete["hair"].Taken != null, "a character of the photo");
        var values = new Dictionary<string, float> { { "nose_width", 0.75f } };
        var changed = await player.Change(made.Id, values, new Dictionary<string, string> { { "hair", "short02" } });
        Require(changed.Edited.SequenceEqual(new[] { "hair", "nose_width" }), "it was changed");
        Require((await player.Get(made.Id)).Parameters["nose_width"] == 0.75f, "and stayed so");
        Require((await player.File(made.Id, "png", "size=64"))[1] == (byte)'P', "a picture");
        Require((await player.Render(changed.Json, "glb", "targets=faces"))[0] == (byte)'g', "a model of a stored document");
        var code = (await player.CodeFor(made.Id, 60)).Value;
        Require((await game.CharacterOfCode(code.ToLowerInvariant())).Id == made.Id, "the character of a code");
        Require((await player.CreateOfPerson(new[] { photo, photo })).Photo.Faces == 1, "one of several photos");
        var presets = await game.Presets();
        Require((await game.Random(7, presets[1].Name)).Parameters.Count > 100, "a random one like a preset");
        Require((await game.Schema())["sliders"].HasValues, "the schema");
        await player.Erase(made.Id);
        try
        {
            await player.Get(made.Id);
            Require(false, "it is gone");
        }
        catch (LikenessException refused)
        {
            Require(refused.Status == 404 && refused.Kind == "unknown-character" && refused.Instance != null, "and said so");
        }
    }

    private static void Require(bool isTrue, string what)
    {
        if (!isTrue) throw new Exception("not true: " + what);
    }
}
