"""Pictures and files: of a character, of values alone, of random people and presets."""

import io
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from engine.character_json import read_document
from tests.serving.api_client import gltf, post, problem
from tests.serving.support import astronaut

pytestmark = pytest.mark.slow


def test_values_alone_are_drawn_and_nothing_is_kept(client: TestClient, made: dict[str, Any]) -> None:
    kept = client.get(made["links"]["png"], params={"size": 96})
    drawn = client.post("/v1/render.png", params={"size": 96}, json=made)
    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/png")
    assert drawn.content == kept.content, "a character.json gives what it gave when it was kept"
    values = {"parameters": {"nose_width": 1.0}, "discrete": {"hair": "short02"}}
    changed = client.post("/v1/render.png", params={"size": 96}, json=values)
    neutral = client.post("/v1/render.png", params={"size": 96}, json={})
    assert changed.status_code == neutral.status_code == 200 and changed.content != neutral.content
    assert "short02" in client.post("/v1/render.mhm", json=values).text
    assert client.post("/v1/render.glb", json=values).content[:4] == b"glTF"
    named = {"name": "Ada", "author": ["Ann", "Ben"], "targets": "faces", "lod": 2}
    meta = gltf(client.post("/v1/render.vrm", params=named, json=values))["extensions"]["VRMC_vrm"]["meta"]
    assert (meta["name"], meta["authors"]) == ("Ada", ["Ann", "Ben"])


def test_a_picture_is_taken_as_it_is_asked_for(client: TestClient, made: dict[str, Any]) -> None:
    asked = {"size": "64", "yaw": "30", "expression": "smile", "crop": "face", "background": "transparent"}
    taken = client.get(made["links"]["webp"], params=asked)
    assert (taken.status_code, taken.headers["content-type"]) == (200, "image/webp"), taken.text
    picture = Image.open(io.BytesIO(taken.content))
    assert (picture.size, picture.mode) == ((64, 64), "RGBA")
    plain = client.post("/v1/render.png", params={"size": 64}, json=made).content
    turned = client.post("/v1/render.png", params={"size": 64, "yaw": 30}, json=made).content
    assert plain == client.get(made["links"]["png"], params={"size": 64}).content != turned
    for wrong in ({"yaw": 91}, {"background": "red"}, {"expression": "grin"}, {"crop": "bust"}, {"yawn": 1}):
        assert problem(client.get(made["links"]["png"], params=wrong)) == "invalid"
    unknown = client.get(made["links"]["png"], params={"expression": "jawOpenn:1"})
    assert problem(unknown) == "cannot-draw" and "jawOpen," in unknown.json()["detail"]


@pytest.mark.parametrize(
    ("values", "status", "kind"),
    [
        ({"parameters": {"nose_wdth": 0.5}}, 422, "bad-values"),
        ({"parameters": {"nose_width": 1.5}}, 422, "bad-values"),
        ({"discrete": {"hair": "mohawk99"}}, 422, "bad-values"),
        ({"character": "another"}, 409, "cannot-draw"),
        ({"schema_md5": "0" * 32}, 409, "cannot-draw"),
        ({"parameters": 5}, 422, "invalid"),
    ],
)
def test_values_that_do_not_fit_are_refused(client: TestClient, values: dict, status: int, kind: str) -> None:
    answer = client.post("/v1/render.png", json=values)
    assert (answer.status_code, problem(answer)) == (status, kind), answer.text


def test_a_file_that_the_client_has_is_not_drawn_again(client: TestClient) -> None:
    here = post(client, astronaut()).json()["links"]
    plain = client.get(here["glb"], headers={"accept-encoding": "identity"})
    zipped = client.get(here["glb"])
    assert zipped.headers["content-encoding"] == "gzip" and zipped.content == plain.content
    assert int(zipped.headers["content-length"]) < 0.8 * len(plain.content)
    for answer in (plain, zipped):
        again = client.get(here["glb"], headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    picture = client.get(here["png"], params={"size": 64}).headers["etag"]
    assert client.get(here["png"], params={"size": 64}, headers={"if-none-match": picture}).status_code == 304
    client.patch(here["self"], json={"parameters": {"nose_width": 0.9}})
    assert client.get(here["png"], params={"size": 64}, headers={"if-none-match": picture}).status_code == 200
    assert client.get(here["png"], params={"size": 65}, headers={"if-none-match": picture}).status_code == 200


def test_files_for_other_programs(client: TestClient, made: dict[str, Any]) -> None:
    glb = client.get(made["links"]["glb"])
    assert glb.headers["content-type"] == "model/gltf-binary" and glb.content[:4] == b"glTF"
    assert "attachment" in glb.headers["content-disposition"]
    assert gltf(glb)["scenes"][0]["extras"]["likeness"]["parameters"] == made["parameters"]
    faces = client.get(made["links"]["glb"], params={"targets": "faces", "lod": 2})
    assert len(faces.content) < 0.8 * len(glb.content) and faces.headers["etag"] != glb.headers["etag"]
    for wrong in ({"targets": "some"}, {"lod": 3}, {"texture": 700}, {"bones": "own"}):
        assert problem(client.get(made["links"]["glb"], params=wrong)) == "invalid"
    small = {"targets": "faces", "lod": 2}
    vrm = client.get(made["links"]["vrm"], params=small)
    assert vrm.headers["content-type"] == "model/gltf-binary" and vrm.headers["content-encoding"] == "gzip"
    assert gltf(vrm)["extensions"]["VRMC_vrm"]["meta"]["authors"] == ["unknown"]
    again = client.get(made["links"]["vrm"], params=small, headers={"if-none-match": vrm.headers["etag"]})
    assert again.status_code == 304
    for wrong in ({"bones": "mixamo"}, {"name": ""}, {"author": ["x"] * 17}):
        assert problem(client.get(made["links"]["vrm"], params=wrong)) == "invalid"
    assert client.get(made["links"]["mhm"]).text.startswith("#") or "version" in client.get(made["links"]["mhm"]).text


def test_a_random_character_comes_again_by_its_seed_and_can_be_drawn(client: TestClient, tmp_path: Path) -> None:
    first = client.get("/v1/random", params={"seed": 7})
    assert first.json() == client.get("/v1/random", params={"seed": 7}).json() != client.get("/v1/random").json()
    file = tmp_path / "character.json"
    file.write_text(first.text)
    assert read_document(file)["parameters"] == first.json()["parameters"]
    assert client.post("/v1/render.png", params={"size": 64}, json=first.json()).status_code == 200
    assert problem(client.get("/v1/random", params={"seed": -1})) == "invalid"


def test_a_preset_is_drawn_and_random_people_are_like_it(client: TestClient) -> None:
    presets = {preset["name"]: preset for preset in client.get("/v1/presets").json()["presets"]}
    assert {"average", "old_man", "cartoon"} <= set(presets)
    drawn = client.post("/v1/render.png", params={"size": 64}, json=presets["old_man"])
    assert drawn.status_code == 200, drawn.text
    one = client.get("/v1/random", params={"seed": 1, "preset": "old_man"}).json()
    assert one["parameters"]["age"] == presets["old_man"]["parameters"]["age"]
    locked = {"seed": 1, "preset": "old_man", "parameters": {"age": 0.5}, "discrete": {"hair": "afro01"}}
    other = client.post("/v1/random", json=locked).json()
    assert other["parameters"]["age"] == 0.5 and other["discrete"]["hair"]["choice"] == "afro01"
    assert problem(client.get("/v1/random", params={"preset": "orc"})) == "bad-values"
    assert problem(client.post("/v1/random", json={"parameters": {"age": 2}})) == "bad-values"
    assert problem(client.post("/v1/random", json={"sliders": {}})) == "invalid"


def test_head_is_answered_as_get_without_the_body(client: TestClient, made: dict[str, Any]) -> None:
    links = [
        f"{link}?targets=faces&lod=2" if link.endswith((".glb", ".vrm")) else link for link in made["links"].values()
    ]
    for path in ("/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/schema", *links, "/v1/characters/none"):
        got, head = client.get(path), client.head(path)
        assert head.status_code == got.status_code and head.content == b"", path
        assert head.headers["content-type"] == got.headers["content-type"]
        if path != "/metrics":  # counts this request too
            assert head.headers["content-length"] == got.headers["content-length"], path
    assert "head" not in {method for path in client.get("/openapi.json").json()["paths"].values() for method in path}
