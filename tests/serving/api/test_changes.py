"""Characters are changed, and what is kept of changes by those who agree."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from tests.serving.api_client import edit, post, problem
from tests.serving.support import astronaut

pytestmark = pytest.mark.slow


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


def test_half_a_surrogate_pair_is_a_bad_edit_like_any_other(client: TestClient) -> None:
    here = post(client, astronaut()).json()["links"]["self"]
    sent = client.patch(
        here, content=rb'{"discrete": {"skin": "\ud800"}}', headers={"Content-Type": "application/json"}
    )
    assert (sent.status_code, problem(sent)) == (422, "bad-edit")


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
