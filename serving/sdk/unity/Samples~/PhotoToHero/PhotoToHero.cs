// A photo becomes a head in the scene. Needs the package com.unity.cloud.gltfast, which reads the .glb.
//
// Put this on an empty GameObject, say where the service is, and press play. The token comes from your game's server
// (POST /v1/tokens); for a first try on your own machine, where `likeness serve` asks for no key, leave it empty.

using System.Collections.Generic;
using System.IO;
using GLTFast;
using Likeness;
using UnityEngine;

public sealed class PhotoToHero : MonoBehaviour
{
    [SerializeField] private string service = "http://127.0.0.1:8000";
    [SerializeField] private string token = "";
    [SerializeField] private string photoFile = "me.jpg";

    private LikenessClient client;
    private Character hero;
    private string said = "";

    private async void Start()
    {
        client = new LikenessClient(service, token, new UnityTransport());
        try
        {
            said = "reading the photo";
            hero = await client.Create(File.ReadAllBytes(photoFile));
            await Show();
        }
        catch (LikenessException refused)
        {
            // refused.Kind tells what to do: no-face, too-large, no-key, over-limit…
            said = refused.Message;
        }
    }

    private async System.Threading.Tasks.Task Show()
    {
        // Without the sliders' morph targets: face actions (jawOpen, mouthSmileLeft…) are blend shapes of 0 to 1.
        var glb = await client.Render(hero.Json, "glb", "targets=faces");
        foreach (Transform before in transform) Destroy(before.gameObject);
        var gltf = new GltfImport();
        if (await gltf.Load(glb)) await gltf.InstantiateMainSceneAsync(transform);
        said = hero.Photo == null || hero.Photo.Remarks.Count == 0 ? "" : hero.Photo.Remarks[0].Text;
    }

    private async void OnGUI()
    {
        GUILayout.Label(said);
        if (hero == null) return;
        foreach (var other in hero.Alternatives)
        {
            if (!GUILayout.Button(string.Join(", ", other.Discrete.Values))) continue;
            hero = await client.Change(hero.Id, discrete: other.Discrete);
            await Show();
            return;
        }
        if (!GUILayout.Button("Wider nose")) return;
        hero = await client.Change(hero.Id, new Dictionary<string, float> { { "nose_width", 0.8f } });
        await Show();
    }

    private void Update()
    {
        // The head talks: any blend shape of an ARKit name can be driven so.
        foreach (var mesh in GetComponentsInChildren<SkinnedMeshRenderer>())
        {
            var jaw = mesh.sharedMesh.GetBlendShapeIndex("jawOpen");
            if (jaw >= 0) mesh.SetBlendShapeWeight(jaw, 0.3f * Mathf.Abs(Mathf.Sin(4f * Time.time)));
        }
    }
}
