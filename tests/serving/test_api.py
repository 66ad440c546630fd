"""The API, with real workers and the real engine behind it."""

import base64
import hmac
import io
import json
import random
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image

from engine.character_json import read_document
from engine.schema import Schema
from models.images import encode_png
from serving.app import build
from serving.configuration import ServiceSettings
from serving.problems import MEDIA_TYPE
from serving.webhooks import Webhooks
from tests.serving import support
from tests.serving.support import EMBEDDED, OBAMA, Shelf, astronaut
from tests.serving.test_jobs import SECRET, listening
from tests.serving.test_photos import bomb

pytestmark = pytest.mark.slow
HERE = "http://127.0.0.1"
HEIC = Path(__file__).with_name("astronaut.heic")
# On a busy machine an answer may take long, and a search that ends by time ends elsewhere.
SERVICE = ServiceSettings(
    workers=1, photo_megabytes=2, batch_megabytes=5, batch_photos=4, timeout=600, refine_seconds=300, corrections=True
)


@pytest.fixture(scope="module")
def app(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    app = build(SERVICE, Shelf({1: saved}), support.paths(tmp_path_factory.mktemp("service")))
    app.state.serving.rendering.timeout = 600.0
    return app


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with ready(app) as client:
        yield client


@contextmanager
def ready(app: FastAPI) -> Iterator[TestClient]:
    """A client of a service that is ready."""
    with TestClient(app, HERE, raise_server_exceptions=False) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.1)
        yield client


@pytest.fixture(scope="module")
def made(client: TestClient) -> dict[str, Any]:
    """A character of a portrait."""
    answer = post(client, astronaut(), aligned="true")
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == answer.json()["links"]["self"]
    return answer.json()


def post(client: TestClient, photo: bytes, name: str = "me.png", **form: str) -> Response:
    return client.post("/v1/characters", files={"photo": (name, photo, "image/png")}, data=form)


def refine(client: TestClient, method: str) -> Response:
    files = {"photo": ("me.png", astronaut(), "image/png")}
    return client.post("/v1/characters", params={"refine": method}, files=files)


def gltf(answer: Response) -> dict[str, Any]:
    """The document in a .glb or .vrm."""
    length = int.from_bytes(answer.content[12:16], "little")
    return json.loads(answer.content[20 : 20 + length])


def problem(answer: Response) -> str:
    """The last part of a problem's type."""
    assert answer.headers["content-type"] == MEDIA_TYPE, answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["title"] and document["detail"] and document["instance"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text and ".py" not in answer.text
    return document["type"].removeprefix("/problems/")


def test_a_photo_becomes_a_character_that_the_commands_read(
    client: TestClient, made: dict[str, Any], tmp_path: Path
) -> None:
    schema = Schema.load(EMBEDDED)
    assert list(made["parameters"]) == [slider.name for slider in schema.sliders]
    for group in schema.groups:
        probabilities = made["discrete"][group.name]["probabilities"]
        assert list(probabilities) == list(group.choices)
        assert max(probabilities, key=lambda choice: probabilities[choice]) == made["discrete"][group.name]["choice"]
    assert made["schema_md5"] == Schema.md5(EMBEDDED)
    assert made["photo"]["faces"] == 1 and len(made["photo"]["box"]) == 4
    assert made["provenance"] == {"model": "likeness-embedded", "version": 1, "run": "0" * 32, "inputs": {}}
    stored = client.get(made["links"]["self"])
    (tmp_path / "character.json").write_text(stored.text)
    document = read_document(tmp_path / "character.json")
    assert schema.from_document(document["parameters"], document["discrete"]).shape == (schema.width,)
    assert "aligned" not in stored.json(), "nothing of the photo is kept"


def test_a_refined_character_has_other_sliders_and_the_same_choices(client: TestClient, made: dict[str, Any]) -> None:
    refined = refine(client, "gradient")
    assert refined.status_code == 201, refined.text
    assert refined.json()["discrete"] == made["discrete"] and refined.json()["parameters"] != made["parameters"]
    assert problem(refine(client, "magic")) == "invalid"


def test_the_engine_refines_a_photo_and_each_of_a_batch(client: TestClient, made: dict[str, Any]) -> None:
    refined = refine(client, "engine")
    assert refined.status_code == 201, refined.text
    files = [("photo", (name, astronaut())) for name in "ab"]
    results = client.post("/v1/characters:batch", params={"refine": "engine"}, files=files).json()["results"]
    for character in (refined.json(), *(result["character"] for result in results)):
        assert character["discrete"] == made["discrete"]
        assert character["parameters"] == refined.json()["parameters"], "nothing of a search is random"


def test_what_has_pairs_alone_cannot_be_refined_by_an_engine(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "embedded"
    shutil.copytree(EMBEDDED, folder)
    schema = folder / "schema.yaml"
    schema.write_text(f"{schema.read_text()}\npairs: {{table: pairs.csv}}\n")
    with ready(build(SERVICE, Shelf({1: saved}), support.paths(tmp_path / "service", folder))) as client:
        refused = refine(client, "engine")
        assert (refused.status_code, problem(refused)) == (409, "cannot-refine")
        assert "embedded has only pairs" in refused.json()["detail"]
        assert refine(client, "gradient").status_code == 201


def test_the_aligned_face_comes_with_the_answer_alone(made: dict[str, Any]) -> None:
    head, _, data = made["aligned"].partition(",")
    assert head == "data:image/jpeg;base64"
    face = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert face is not None and face.shape == (128, 128, 3)


def test_a_photo_is_kept_only_where_it_is_asked_for(client: TestClient, made: dict[str, Any]) -> None:
    assert problem(client.get(f"{made['links']['self']}.photo")) == "photo-not-kept"
    kept = post(client, OBAMA.read_bytes(), keep_photo="true").json()
    photo = client.get(kept["links"]["photo"])
    assert (photo.content, photo.headers["content-type"]) == (OBAMA.read_bytes(), "image/jpeg")
    assert client.delete(kept["links"]["self"]).status_code == 204
    assert problem(client.get(kept["links"]["photo"])) == "unknown-character"


def edit(client: TestClient, made: dict[str, Any], **parameters: float) -> None:
    assert client.patch(made["links"]["self"], json={"parameters": parameters}).status_code == 200


def test_what_is_changed_is_kept_of_those_who_agree_until_they_take_it_back(client: TestClient, app: FastAPI) -> None:
    made = post(client, astronaut(), share_corrections="true", player="ann@example.com").json()
    kept = made["links"]["corrections"]
    assert client.get("/v1/service").json()["keeps_corrections"]
    before = client.get(kept).json()
    assert "after" not in before and before["before"]["parameters"] == made["parameters"]
    edit(client, made, nose_width=0.9)
    edit(client, made, nose_width=0.25)
    row = client.get(kept).json()
    assert row["after"]["parameters"] == {**made["parameters"], "nose_width": 0.25}
    assert row["after"]["discrete"] == {group: entry["choice"] for group, entry in made["discrete"].items()}
    features = np.frombuffer(base64.b64decode(row["features"]), "<f2")
    assert features.shape == (1024,) and np.isfinite(features).all() and features.std() > 0
    store = app.state.serving.corrections
    (file,) = store.folder.glob("*/*.json")
    text = file.read_text()
    assert "ann" not in text and made["photo"]["sha256"] not in text, "neither the player's id nor the photo's digest"
    assert client.delete(kept).status_code == 204 and client.get(kept).status_code == 404
    assert client.delete(kept).status_code == 404
    assert client.get(made["links"]["self"]).json()["parameters"]["nose_width"] == 0.25, "the character stays"
    edit(client, made, nose_width=0.5)
    assert list(store.rows()) == [] and store.withdrawn() == [made["id"]]


def test_erasing_a_character_takes_back_what_is_kept_of_its_changes(client: TestClient, app: FastAPI) -> None:
    made = post(client, astronaut(), share_corrections="true").json()
    edit(client, made, nose_width=0.9)
    store = app.state.serving.corrections
    assert client.delete(made["links"]["self"]).status_code == 204
    assert client.get(made["links"]["corrections"]).status_code == 404
    assert list(store.rows()) == [] and made["id"] in store.withdrawn()


def test_nothing_is_kept_without_consent_or_where_the_service_keeps_none(client: TestClient, app: FastAPI) -> None:
    state = app.state.serving
    silent = post(client, astronaut()).json()
    edit(client, silent, nose_width=0.9)
    app.state.serving = replace(state, service=state.service.model_copy(update={"corrections": False}))
    try:
        off = post(client, astronaut(), share_corrections="true").json()
        edit(client, off, nose_width=0.9)
    finally:
        app.state.serving = state
    for made in (silent, off):
        assert "corrections" not in made["links"]
        assert client.get(f"{made['links']['self']}.corrections").status_code == 404
    assert list(state.corrections.rows()) == []


def test_phones_own_formats_are_read_whatever_the_name_says(client: TestClient) -> None:
    webp = io.BytesIO()
    Image.open(io.BytesIO(astronaut())).save(webp, "WEBP", quality=90)
    for photo in (webp.getvalue(), HEIC.read_bytes()):
        answer = post(client, photo, "me.jpg")
        assert answer.status_code == 201, answer.text
    assert problem(post(client, HEIC.read_bytes()[:5000])) == "bad-photo"


def test_an_edit_changes_what_is_drawn_and_is_written_down(client: TestClient) -> None:
    character = post(client, astronaut()).json()
    here = character["links"]["self"]
    before = client.get(f"{here}.png?size=64")
    changed = client.patch(here, json={"parameters": {"nose_width": 1.0}, "discrete": {"hair": "afro01"}})
    assert changed.status_code == 200, changed.text
    assert changed.json()["edited"] == ["hair", "nose_width"]
    assert changed.json()["parameters"] == character["parameters"] | {"nose_width": 1.0}
    assert changed.json()["discrete"]["hair"]["choice"] == "afro01"
    hair = character["discrete"]["hair"]["choice"]
    read = {"parameters": {"nose_width": character["parameters"]["nose_width"]}, "discrete": {"hair": hair}}
    assert changed.json()["read"] == read and "read" not in character
    again = client.patch(here, json={"parameters": {"nose_width": 0.9}}).json()
    assert again["read"] == read, "the first change's value is what the photo gave"
    changed = client.patch(here, json={"parameters": {"nose_width": 1.0}})
    assert client.get(here).json() == changed.json()
    after = client.get(f"{here}.png?size=64")
    assert before.headers["content-type"] == "image/png" and before.content != after.content
    assert np.asarray(Image.open(io.BytesIO(after.content))).shape == (64, 64, 3)


def test_edits_at_once_are_all_kept_and_one_that_is_too_late_can_be_refused(client: TestClient) -> None:
    character = post(client, astronaut()).json()
    here, names = character["links"]["self"], list(character["parameters"])[:12]
    before = client.get(here).headers["etag"]
    with ThreadPoolExecutor(12) as pool:
        answers = pool.map(lambda name: client.patch(here, json={"parameters": {name: 0.125}}), names)
        assert [answer.status_code for answer in answers] == [200] * 12
    after = client.get(here)
    assert [after.json()["parameters"][name] for name in names] == [0.125] * 12
    changes = {"parameters": {names[0]: 0.5}}
    assert problem(client.patch(here, json=changes, headers={"If-Match": before})) == "changed-since"
    kept = client.patch(here, json=changes, headers={"If-Match": f"{before}, {after.headers['etag']}"})
    assert kept.status_code == 200 and kept.headers["etag"] == client.get(here).headers["etag"]


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {"nose_width": 1.5}},
        {"parameters": {"nose_width": -0.1}},
        {"parameters": {"no_such_slider": 0.5}},
        {"discrete": {"hair": "no_such_hair"}},
        {"discrete": {"no_such_group": "none"}},
    ],
)
def test_a_value_that_the_creator_does_not_have_is_refused(
    client: TestClient, made: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert problem(client.patch(made["links"]["self"], json=changes)) == "bad-edit"
    assert (
        "edited" not in client.get(made["links"]["self"]).json()
        or not client.get(made["links"]["self"]).json()["edited"]
    )


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


def test_a_request_that_is_sent_again_makes_no_second_character(client: TestClient) -> None:
    headers, photo = {"idempotency-key": "upload 1"}, {"photo": ("me.png", astronaut(), "image/png")}
    first = client.post("/v1/characters", files=photo, headers=headers)
    again = client.post("/v1/characters", files=photo, headers=headers)
    assert first.status_code == again.status_code == 201 and first.json() == again.json()
    assert "idempotency-replayed" not in first.headers and again.headers["idempotency-replayed"] == "true"
    other = client.post("/v1/characters", files=photo, headers=headers, data={"keep_photo": "true"})
    assert (other.status_code, problem(other)) == (422, "key-reused")
    blank = {"photo": ("me.png", encode_png(np.zeros((64, 64, 3), np.uint8)), "image/png")}
    for _ in range(2):
        failed = client.post("/v1/characters", files=blank, headers={"idempotency-key": "upload 3"})
        assert problem(failed) == "no-face", "what failed is tried again"
    client.delete(first.json()["links"]["self"])
    assert problem(client.post("/v1/characters", files=photo, headers=headers)) == "unknown-character"


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


def test_a_random_character_comes_again_by_its_seed_and_can_be_drawn(client: TestClient, tmp_path: Path) -> None:
    first = client.get("/v1/random", params={"seed": 7})
    assert first.json() == client.get("/v1/random", params={"seed": 7}).json() != client.get("/v1/random").json()
    file = tmp_path / "character.json"
    file.write_text(first.text)
    assert read_document(file)["parameters"] == first.json()["parameters"]
    assert client.post("/v1/render.png", params={"size": 64}, json=first.json()).status_code == 200
    assert problem(client.get("/v1/random", params={"seed": -1})) == "invalid"


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


def test_a_batch_answers_for_each_photo(client: TestClient) -> None:
    grey = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(grey, "PNG")
    files = [("photo", (name, photo)) for name, photo in (("a", astronaut()), ("b", b"text"), ("c", grey.getvalue()))]
    results = client.post("/v1/characters:batch", files=files).json()["results"]
    assert [result["name"] for result in results] == ["a", "b", "c"]
    assert results[0]["character"]["photo"]["faces"] == 1
    assert [result["problem"]["type"] for result in results[1:]] == ["/problems/not-an-image", "/problems/no-face"]
    many = [("photo", ("x", b"x"))] * 5
    assert problem(client.post("/v1/characters:batch", files=many)) == "too-large"


def test_several_photos_of_a_person_make_one_character(client: TestClient, made: dict[str, Any]) -> None:
    grey = encode_png(np.full((64, 64, 3), 128, np.uint8))
    files = [("photo", (name, photo)) for name, photo in (("a", astronaut()), ("b", OBAMA.read_bytes()), ("c", grey))]
    answer = client.post("/v1/characters:person", files=files)
    assert answer.status_code == 201, answer.text
    character = client.get(answer.headers["location"]).json()
    assert [photo.get("faces") for photo in character["photos"]] == [1, 1, None]
    assert "error" in character["photos"][2] and character["photo"] in character["photos"]
    alone = client.post("/v1/characters:person", files=[files[0], files[2]]).json()
    assert (alone["parameters"], alone["discrete"]) == (made["parameters"], made["discrete"])
    assert problem(client.post("/v1/characters:person", files=files[2:])) == "no-face"
    assert problem(client.post("/v1/characters:person", files=[files[0], ("photo", ("x", b"text"))])) == "not-an-image"
    assert problem(client.post("/v1/characters:person", files=[("photo", ("x", b"x"))] * 9)) == "too-large"


def test_a_job_reads_photos_one_by_one_and_tells_the_game_by_a_signed_message(client: TestClient, app: FastAPI) -> None:
    jobs, webhooks = app.state.serving.jobs, app.state.serving.jobs.webhooks
    grey = encode_png(np.full((64, 64, 3), 128, np.uint8))
    files = [("photo", (name, photo)) for name, photo in (("a", astronaut()), ("b", grey))]
    players = {"player": ["ann", "bob"]}
    refused = client.post("/v1/jobs", files=files, data={"callback": "http://169.254.169.254/latest"})
    assert (refused.status_code, problem(refused)) == (403, "not-allowed"), "nobody is told unless he is named"
    with listening() as (site, heard):
        jobs.webhooks = Webhooks((site,), SECRET)
        try:
            headers = {"idempotency-key": "job 1"}
            sent = {"files": files, "data": {**players, "callback": f"{site}/done"}, "headers": headers}
            begun, again = client.post("/v1/jobs", **sent), client.post("/v1/jobs", **sent)
            assert begun.status_code == 202, begun.text
            assert again.json()["id"] == begun.json()["id"] and again.headers["idempotency-replayed"] == "true"
            headers, body = heard.get(timeout=60)
        finally:
            jobs.webhooks = webhooks
    job = client.get(begun.headers["location"]).json()
    assert (job["state"], job["photos"], job["callback"]["url"]) == ("done", 2, f"{site}/done")
    read, failed = job["results"]
    assert (read["name"], failed["name"], failed["problem"]["type"]) == ("a", "b", "/problems/no-face")
    assert client.get(read["self"]).json()["id"] == read["id"]
    assert [one["id"] for one in client.get("/v1/players/ann/characters").json()["characters"]] == [read["id"]]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = hmac.digest(base64.b64decode(SECRET.removeprefix("whsec_")), signed, "sha256")
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert json.loads(body)["data"]["results"] == job["results"]
    assert client.delete(job["links"]["self"]).status_code == 204
    assert problem(client.get(job["links"]["self"])) == "unknown-job"
    assert problem(client.post("/v1/jobs", files=files * 129)) == "too-large"


def test_an_answer_says_how_sure_it_is_and_what_the_photo_may_mean_as_well(client: TestClient) -> None:
    made = post(client, astronaut()).json()
    chosen = made["discrete"]
    assert made["confidence"] == {group: one["probabilities"][one["choice"]] for group, one in chosen.items()}
    for other in made["alternatives"]:
        assert 0 < other["relative"] <= 1 and all(
            chosen[name]["choice"] != one for name, one in other["discrete"].items()
        )
    changed = client.patch(made["links"]["self"], json={"discrete": {"hair": "afro01"}}).json()
    assert changed["confidence"]["hair"] == 1 and all(
        "hair" not in other["discrete"] for other in changed["alternatives"]
    )


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


def broken() -> list[tuple[str, bytes]]:
    """Files that are nearly photos."""
    whole, generator = OBAMA.read_bytes(), random.Random(0)
    cases = [(f"cut at {share:.0%}", whole[: int(len(whole) * share)]) for share in (0.001, 0.01, 0.1, 0.5, 0.95)]
    for number in range(12):
        damaged = bytearray(whole)
        for _ in range(200):
            damaged[generator.randrange(2, len(damaged))] = generator.randrange(256)
        cases.append((f"damaged {number}", bytes(damaged)))
    png = astronaut()
    cases += [("png cut", png[: len(png) // 2]), ("png damaged", png[:200] + b"\0" * 200 + png[400:])]
    cases += [("noise", generator.randbytes(5000)), ("zeros", b"\0" * 5000), ("bomb", bomb(50_000, 50_000))]
    cases += [("html", b"<html><script>alert(1)</script></html>"), ("zip", b"PK\x03\x04" + b"\0" * 100)]
    return cases


@pytest.mark.parametrize(("name", "photo"), broken(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_broken_file_is_a_problem_of_whoever_sent_it(client: TestClient, name: str, photo: bytes) -> None:
    answer = post(client, photo)
    # Some damage leaves a picture that decodes: then it is a character, or has no face.
    assert answer.status_code == 201 or (400 <= answer.status_code < 500 and problem(answer))
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda client: client.post("/v1/characters"), "invalid"),
        (lambda client: client.post("/v1/characters", data={"photo": "text"}), "invalid"),
        (lambda client: client.post("/v1/characters", content=b"x", headers={"content-type": "text/plain"}), "invalid"),
        (
            lambda client: client.post(
                "/v1/characters",
                content=b"--b\r\nnonsense",
                headers={"content-type": "multipart/form-data; boundary=b"},
            ),
            "",
        ),
        (lambda client: post(client, b"\0" * 2_100_000), "too-large"),
        (lambda client: post(client, b"\0" * 6_000_000), "too-large"),
        (lambda client: client.patch("/v1/characters/" + "x" * 22, content=b"{" * 1_100_000), "too-large"),
        (lambda client: client.get("/v1/characters/x", headers={"host": "evil.example"}), "other-site"),
        (lambda client: client.get("/v1/characters/nothing"), "unknown-character"),
        (lambda client: client.get("/v1/characters/..%2f..%2fkeys"), ""),
        (lambda client: client.get("/nowhere"), "not-found"),
        (lambda client: client.put("/v1/schema"), "method-not-allowed"),
        (lambda client: client.patch("/v1/characters/" + "x" * 22, content=b"{"), "invalid"),
        (
            lambda client: client.post("/v1/characters", headers={"origin": "https://evil.example"}),
            "other-site",
        ),
    ],
)
def test_a_request_that_is_wrong_is_told_so(client: TestClient, answer: Any, kind: str) -> None:
    given = answer(client)
    assert 400 <= given.status_code < 500
    assert problem(given).startswith(kind)


def test_a_body_without_a_length_is_cut_off_at_the_limit(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        yield b"--b\r\ncontent-disposition: form-data; name=photo; filename=x\r\n\r\n"
        for _ in range(100):
            yield b"\0" * 100_000

    answer = client.post(
        "/v1/characters", content=endless(), headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert problem(answer) == "too-large"


def test_what_goes_wrong_inside_is_logged_and_not_told(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("a secret of this machine")

    monkeypatch.setattr(type(app.state.serving.characters), "get", breaks)
    answer = client.get("/v1/characters/" + "x" * 22)
    assert (answer.status_code, problem(answer)) == (500, "internal")
    assert "secret" not in answer.text and "a secret of this machine" in caplog.text


def test_half_a_surrogate_pair_is_a_bad_edit_like_any_other(client: TestClient) -> None:
    here = post(client, astronaut()).json()["links"]["self"]
    sent = client.patch(
        here, content=rb'{"discrete": {"skin": "\ud800"}}', headers={"Content-Type": "application/json"}
    )
    assert (sent.status_code, problem(sent)) == (422, "bad-edit")


def test_a_disk_that_is_full_is_told(client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.character_store.write_durable", full)
    answer = post(client, astronaut())
    assert (answer.status_code, problem(answer)) == (503, "no-storage")
    assert int(answer.headers["retry-after"]) > 0


def test_prometheus_sees_requests_photos_and_the_release(client: TestClient, made: dict[str, Any]) -> None:
    text = client.get("/metrics").text
    for line in (
        'likeness_requests_total{route="/v1/characters",status="201"}',
        'likeness_photos_total{outcome="read"}',
        'likeness_release{model="likeness-embedded",version="1"} 1.0',
        "likeness_waiting_photos 0.0",
        "likeness_registry_up 1.0",
    ):
        assert line in text
    assert made["id"] not in text


def test_answers_about_people_are_stored_nowhere_on_the_way(client: TestClient, made: dict[str, Any]) -> None:
    answer = client.get(made["links"]["self"])
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


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
