"""Photos become characters: one, several of a person, a batch, a job; what is kept of them."""

import base64
import hmac
import io
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from engine.character_json import read_document
from engine.schema import Schema
from models.images import encode_png
from serving.app import build
from serving.webhooks import Webhooks
from tests.serving import support
from tests.serving.api_client import SERVICE, post, problem, ready, refine
from tests.serving.support import EMBEDDED, OBAMA, Shelf, astronaut
from tests.serving.test_jobs import SECRET, listening

pytestmark = pytest.mark.slow
HEIC = Path(__file__).parent.with_name("astronaut.heic")


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


def test_phones_own_formats_are_read_whatever_the_name_says(client: TestClient) -> None:
    webp = io.BytesIO()
    Image.open(io.BytesIO(astronaut())).save(webp, "WEBP", quality=90)
    for photo in (webp.getvalue(), HEIC.read_bytes()):
        answer = post(client, photo, "me.jpg")
        assert answer.status_code == 201, answer.text
    assert problem(post(client, HEIC.read_bytes()[:5000])) == "bad-photo"


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
