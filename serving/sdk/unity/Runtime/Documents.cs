// What the service answers, as far as a game needs it. Each class is named as in /openapi.json.

using System;
using System.Collections.Generic;
using Newtonsoft.Json;

namespace Likeness
{
    public sealed class Choice
    {
        [JsonProperty("choice")] public string Taken;
        [JsonProperty("probabilities")] public Dictionary<string, float> Probabilities;
    }

    /// <summary>Choices that the photo may mean as well: send them with Change to take them.</summary>
    public sealed class Alternative
    {
        [JsonProperty("discrete")] public Dictionary<string, string> Discrete;
        /// <summary>How likely beside what was taken; 1: as likely.</summary>
        [JsonProperty("relative")] public float Relative;
    }

    public sealed class Remark
    {
        [JsonProperty("code")] public string Code;
        [JsonProperty("text")] public string Text;
    }

    public sealed class Photo
    {
        [JsonProperty("faces")] public int Faces;
        [JsonProperty("yaw")] public float Yaw;
        [JsonProperty("pitch")] public float Pitch;
        [JsonProperty("remarks")] public List<Remark> Remarks = new List<Remark>();
    }

    /// <summary>A character.json. Json is the whole document, to store and to draw from.</summary>
    public sealed class Character
    {
        [JsonProperty("id")] public string Id;
        [JsonProperty("character")] public string Creator;
        [JsonProperty("schema_md5")] public string SchemaMd5;
        /// <summary>Every slider in [0, 1].</summary>
        [JsonProperty("parameters")] public Dictionary<string, float> Parameters;
        [JsonProperty("discrete")] public Dictionary<string, Choice> Discrete;
        [JsonProperty("confidence")] public Dictionary<string, float> Confidence;
        [JsonProperty("alternatives")] public List<Alternative> Alternatives = new List<Alternative>();
        [JsonProperty("photo")] public Photo Photo;
        [JsonProperty("edited")] public List<string> Edited = new List<string>();
        [JsonProperty("expires")] public DateTime Expires;
        [JsonIgnore] public string Json;
    }

    public sealed class Preset
    {
        [JsonProperty("name")] public string Name;
        [JsonProperty("kind")] public string Kind;
        [JsonProperty("label")] public string Label;
        [JsonProperty("parameters")] public Dictionary<string, float> Parameters;
        [JsonProperty("discrete")] public Dictionary<string, string> Discrete;
    }

    public sealed class Token
    {
        [JsonProperty("token")] public string Value;
        [JsonProperty("expires")] public DateTime Expires;
    }

    public sealed class ShortCode
    {
        [JsonProperty("code")] public string Value;
        [JsonProperty("expires")] public DateTime Expires;
    }

    /// <summary>The service said no, in a problem document (RFC 9457).</summary>
    public sealed class LikenessException : Exception
    {
        public readonly int Status;
        /// <summary>The last word of the problem's type: no-face of /problems/no-face.</summary>
        public readonly string Kind;
        /// <summary>The request, as the service's log names it.</summary>
        public readonly string Instance;

        public LikenessException(int status, string kind, string detail, string instance) : base(detail)
        {
            Status = status;
            Kind = kind;
            Instance = instance;
        }
    }
}
