#if UNITY_5_3_OR_NEWER
using System;
using System.Threading.Tasks;
using UnityEngine;
using UnityEngine.Networking;

namespace Likeness
{
    /// <summary>Sends requests by UnityWebRequest, on every platform that Unity has, WebGL too. For the main thread.</summary>
    public sealed class UnityTransport : ITransport
    {
        public Task<WebAnswer> Send(WebRequest request)
        {
            var sent = new UnityWebRequest(request.Url, request.Method) { downloadHandler = new DownloadHandlerBuffer() };
            if (request.Body != null) sent.uploadHandler = new UploadHandlerRaw(request.Body) { contentType = request.ContentType };
            foreach (var header in request.Headers) sent.SetRequestHeader(header.Key, header.Value);
            var answer = new TaskCompletionSource<WebAnswer>();
            sent.SendWebRequest().completed += _ =>
            {
                if (sent.result == UnityWebRequest.Result.ConnectionError)
                    answer.SetException(new LikenessException(0, "unreachable", sent.error, null));
                else
                    answer.SetResult(new WebAnswer
                    {
                        Status = (int)sent.responseCode,
                        Body = sent.downloadHandler.data ?? new byte[0],
                        ETag = sent.GetResponseHeader("ETag"),
                        RetryAfter = Seconds.Of(sent.GetResponseHeader("Retry-After")),
                    });
                sent.Dispose();
            };
            return answer.Task;
        }

        public async Task Pause(float seconds)
        {
            // Task.Delay needs threads, which WebGL has not.
            var until = Time.realtimeSinceStartup + seconds;
            while (Time.realtimeSinceStartup < until) await Task.Yield();
        }
    }
}
#endif
