// The signatures of Unity and glTFast that the package uses, so that it compiles without them. They do nothing.

using System;
using System.Threading.Tasks;

namespace UnityEngine
{
    public class Object { public static void Destroy(Object thing) { } }
    public class GameObject : Object { }
    public class Component : Object { public GameObject gameObject; public Transform transform; }
    public class Transform : Component, System.Collections.IEnumerable
    {
        public System.Collections.IEnumerator GetEnumerator() { return null; }
    }
    public class MonoBehaviour : Component { public T[] GetComponentsInChildren<T>() { return new T[0]; } }
    public class Mesh : Object { public int GetBlendShapeIndex(string name) { return -1; } }
    public class SkinnedMeshRenderer : Component
    {
        public Mesh sharedMesh;
        public void SetBlendShapeWeight(int index, float value) { }
    }
    public sealed class SerializeField : Attribute { }
    public static class Time { public static float time, realtimeSinceStartup; }
    public static class Mathf
    {
        public static float Abs(float value) { return value; }
        public static float Sin(float value) { return value; }
    }
    public class GUILayoutOption { }
    public static class GUILayout
    {
        public static void Label(string text, params GUILayoutOption[] options) { }
        public static bool Button(string text, params GUILayoutOption[] options) { return false; }
    }
    public class AsyncOperation { public event Action<AsyncOperation> completed { add { } remove { } } }
}

namespace UnityEngine.Networking
{
    public class UploadHandler { public string contentType { get; set; } }
    public class UploadHandlerRaw : UploadHandler { public UploadHandlerRaw(byte[] data) { } }
    public class DownloadHandler { public byte[] data; }
    public class DownloadHandlerBuffer : DownloadHandler { }
    public class UnityWebRequestAsyncOperation : AsyncOperation { }
    public class UnityWebRequest : IDisposable
    {
        public enum Result { InProgress, Success, ConnectionError, ProtocolError, DataProcessingError }
        public UnityWebRequest(string url, string method) { }
        public UploadHandler uploadHandler { get; set; }
        public DownloadHandler downloadHandler { get; set; }
        public Result result { get { return Result.Success; } }
        public string error { get { return null; } }
        public long responseCode { get { return 0; } }
        public void SetRequestHeader(string name, string value) { }
        public string GetResponseHeader(string name) { return null; }
        public UnityWebRequestAsyncOperation SendWebRequest() { return null; }
        public void Dispose() { }
    }
}

namespace GLTFast
{
    public class GltfImport
    {
        public Task<bool> Load(byte[] data, Uri uri = null) { return null; }
        public Task<bool> InstantiateMainSceneAsync(UnityEngine.Transform parent) { return null; }
    }
}
