using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading.Tasks;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace Likeness
{
    public sealed class WebRequest
    {
        public string Method;
        public string Url;
        public byte[] Body;
        public string ContentType;
        public readonly Dictionary<string, string> Headers = new Dictionary<string, string>();
    }

    public sealed class WebAnswer
    {
        public int Status;
        public byte[] Body;
        public string ETag;
        /// <summary>Seconds; null where the service does not say.</summary>
        public float? RetryAfter;

        public string Text { get { return Encoding.UTF8.GetString(Body); } }
    }

    /// <summary>Sends requests. In Unity: UnityTransport.</summary>
    public interface ITransport
    {
        /// <summary>Throws a LikenessException of status 0 where no answer comes.</summary>
        Task<WebAnswer> Send(WebRequest request);
        Task Pause(float seconds);
    }

    /// <summary>
    /// The likeness service for a game. What players download must have a player's token, never the game's key: anybody
    /// could read it there. The game's server makes the token (TokenFor).
    /// </summary>
    public sealed class LikenessClient
    {
        private const int Retries = 5;
        private const float LongestPause = 60f;
        private const string IdempotencyKey = "Idempotency-Key";
        private readonly string service;
        private readonly string key;
        private readonly ITransport transport;

        public LikenessClient(string service, string key, ITransport transport)
        {
            this.service = service.TrimEnd('/');
            this.key = key;
            this.transport = transport;
        }

        /// <summary>
        /// A character of a photo (JPEG, PNG, WebP or HEIC). Sent again after a broken line, it is made once;
        /// idempotencyKey: words of yours, new for each photo, with which this can be called again for a day, after the game
        /// was started anew too, and answers with the same character.
        /// </summary>
        public async Task<Character> Create(
            byte[] photo, string player = null, string refine = null, string idempotencyKey = null)
        {
            var form = new Form();
            form.File("photo", "photo", photo);
            if (!string.IsNullOrEmpty(player)) form.Field("player", player);
            var request = form.Request(Address("/v1/characters", refine == null ? null : "refine=" + refine));
            request.Headers[IdempotencyKey] = idempotencyKey ?? Guid.NewGuid().ToString();
            return Read(await Ask(request));
        }

        /// <summary>One character of several photos of one person.</summary>
        public async Task<Character> CreateOfPerson(IEnumerable<byte[]> photos, string player = null)
        {
            var form = new Form();
            foreach (var photo in photos) form.File("photo", "photo", photo);
            if (!string.IsNullOrEmpty(player)) form.Field("player", player);
            return Read(await Ask(form.Request(Address("/v1/characters:person"))));
        }

        public async Task<Character> Get(string id)
        {
            return Read(await Ask("GET", Of(id)));
        }

        /// <summary>Set some sliders and choices; all others stay.</summary>
        public async Task<Character> Change(
            string id, IDictionary<string, float> parameters = null, IDictionary<string, string> discrete = null)
        {
            var edit = new Dictionary<string, object>();
            if (parameters != null) edit["parameters"] = parameters;
            if (discrete != null) edit["discrete"] = discrete;
            return Read(await Ask("PATCH", Of(id), JsonConvert.SerializeObject(edit)));
        }

        public Task Erase(string id)
        {
            return Ask("DELETE", Of(id));
        }

        /// <summary>A character's file, png, webp, glb, vrm or mhm; options as in "size=256&amp;expression=smile".</summary>
        public async Task<byte[]> File(string id, string form, string options = null)
        {
            return (await Ask("GET", Address("/v1/characters/" + Uri.EscapeDataString(id) + "." + form, options))).Body;
        }

        /// <summary>The same of a stored character.json, for ever: the service keeps nothing of it.</summary>
        public async Task<byte[]> Render(string characterJson, string form, string options = null)
        {
            return (await Ask("POST", Address("/v1/render." + form, options), characterJson)).Body;
        }

        /// <summary>A random person, as a character.json; preset: one of Presets.</summary>
        public async Task<Character> Random(long? seed = null, string preset = null)
        {
            var decided = new Dictionary<string, object>();
            if (seed != null) decided["seed"] = seed.Value;
            if (preset != null) decided["preset"] = preset;
            return Read(await Ask("POST", Address("/v1/random"), JsonConvert.SerializeObject(decided)));
        }

        public async Task<List<Preset>> Presets()
        {
            var answer = JObject.Parse((await Ask("GET", Address("/v1/presets"))).Text);
            return answer["presets"].ToObject<List<Preset>>();
        }

        /// <summary>All sliders and choices: as JSON, since it describes the whole figure (docs/drawing.md).</summary>
        public async Task<JObject> Schema()
        {
            return JObject.Parse((await Ask("GET", Address("/v1/schema"))).Text);
        }

        /// <summary>A short-lived token for one player. For the game's server: it needs the game's key.</summary>
        public async Task<Token> TokenFor(string player, int seconds = 3600)
        {
            var wanted = JsonConvert.SerializeObject(new Dictionary<string, object> { { "player", player }, { "seconds", seconds } });
            return JsonConvert.DeserializeObject<Token>((await Ask("POST", Address("/v1/tokens"), wanted)).Text);
        }

        /// <summary>A short code for a character, to be read aloud or typed in.</summary>
        public async Task<ShortCode> CodeFor(string id, int seconds = 86400)
        {
            var wanted = JsonConvert.SerializeObject(new Dictionary<string, object> { { "seconds", seconds } });
            return JsonConvert.DeserializeObject<ShortCode>((await Ask("POST", Of(id) + ".code", wanted)).Text);
        }

        /// <summary>The character of a code, however the player typed it.</summary>
        public async Task<Character> CharacterOfCode(string code)
        {
            return Read(await Ask("GET", Address("/v1/codes/" + Uri.EscapeDataString(code))));
        }

        private string Of(string id)
        {
            return Address("/v1/characters/" + Uri.EscapeDataString(id));
        }

        private string Address(string path, string query = null)
        {
            return service + path + (string.IsNullOrEmpty(query) ? "" : "?" + query);
        }

        private Task<WebAnswer> Ask(string method, string url, string json = null)
        {
            var body = json == null ? null : Encoding.UTF8.GetBytes(json);
            return Ask(new WebRequest { Method = method, Url = url, Body = body, ContentType = body == null ? null : "application/json" });
        }

        /// <summary>
        /// A request is sent again when the service is busy, after as long as it says, and when no answer came, if the same
        /// twice is as good as once.
        /// </summary>
        private async Task<WebAnswer> Ask(WebRequest request)
        {
            if (!string.IsNullOrEmpty(key)) request.Headers["Authorization"] = "Bearer " + key;
            var isOnce = request.Method == "GET" || request.Headers.ContainsKey(IdempotencyKey);
            for (var tries = 0; ; tries++)
            {
                var isLast = tries == Retries;
                var answer = await Sent(request, isOnce && !isLast);
                if (answer != null && answer.Status >= 200 && answer.Status < 300) return answer;
                var seconds = PauseAfter(answer, tries);
                if (answer != null && (isLast || seconds == null || seconds > LongestPause)) throw Refusal(answer);
                await transport.Pause(seconds.Value);
            }
        }

        /// <summary>The answer; null where none came and that may be.</summary>
        private async Task<WebAnswer> Sent(WebRequest request, bool mayBeLost)
        {
            try
            {
                return await transport.Send(request);
            }
            catch (LikenessException lost) when (mayBeLost && lost.Status == 0)
            {
                return null;
            }
        }

        /// <summary>
        /// Seconds until the next try; null where it cannot help. Longer each time, where the service cannot say how long it
        /// takes.
        /// </summary>
        private static float? PauseAfter(WebAnswer answer, int tries)
        {
            var growing = Math.Min((float)Math.Pow(2, tries), LongestPause);
            if (answer == null) return growing;
            // The first of these requests is still at work.
            if (answer.Status == 409 && answer.RetryAfter != null) return Math.Max(answer.RetryAfter.Value, growing);
            return answer.Status == 429 || answer.Status == 503 ? answer.RetryAfter : null;
        }

        private static Character Read(WebAnswer answer)
        {
            var character = JsonConvert.DeserializeObject<Character>(answer.Text);
            character.Json = answer.Text;
            return character;
        }

        private static LikenessException Refusal(WebAnswer answer)
        {
            try
            {
                var problem = JObject.Parse(answer.Text);
                var kind = ((string)problem["type"] ?? "").Split('/').Last();
                return new LikenessException(answer.Status, kind, (string)problem["detail"], (string)problem["instance"]);
            }
            catch (JsonException)
            {
                return new LikenessException(answer.Status, "", "the service answered with " + answer.Status, null);
            }
        }

        /// <summary>A multipart form (RFC 7578).</summary>
        private sealed class Form
        {
            private readonly string boundary = Guid.NewGuid().ToString("N");
            private readonly MemoryStream body = new MemoryStream();

            public void File(string name, string fileName, byte[] content)
            {
                Write("--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + name + "\"; filename=\"" + fileName
                    + "\"\r\nContent-Type: application/octet-stream\r\n\r\n");
                body.Write(content, 0, content.Length);
                Write("\r\n");
            }

            public void Field(string name, string value)
            {
                Write("--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n");
            }

            public WebRequest Request(string url)
            {
                Write("--" + boundary + "--\r\n");
                var type = "multipart/form-data; boundary=" + boundary;
                return new WebRequest { Method = "POST", Url = url, Body = body.ToArray(), ContentType = type };
            }

            private void Write(string text)
            {
                var bytes = Encoding.UTF8.GetBytes(text);
                body.Write(bytes, 0, bytes.Length);
            }
        }
    }

    public static class Seconds
    {
        /// <summary>The value of a Retry-After header; null for none.</summary>
        public static float? Of(string header)
        {
            float seconds;
            var isNumber = float.TryParse(header, NumberStyles.Float, CultureInfo.InvariantCulture, out seconds);
            return isNumber ? seconds : (float?)null;
        }
    }
}
