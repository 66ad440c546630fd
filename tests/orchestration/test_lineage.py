"""What came from what, as `likeness lineage` tells it."""

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.event_log import sql_event_log
from dagster._serdes import deserialize_value
from PIL import Image

from orchestration.config.settings import Settings
from orchestration.storage.store import Store
from orchestration.storage.version_index import VersionIndex
from orchestration.storage.versions import observe
from serving.character_store import Caller, CharacterStore
from stages.identity_model import decides
from tests.orchestration.faces import PeopleProject

pytestmark = pytest.mark.slow


def told(project: PeopleProject, *arguments: str) -> dict:
    return json.loads(project("lineage", *arguments, "--json"))


def test_a_models_lineage_has_every_ancestor_with_where_it_is_recorded(made: PeopleProject) -> None:
    document = told(made, "production")
    nodes = {node["asset"]: node for node in document["nodes"]}
    assert set(nodes) == {stage.name for stage in made.stages} | {"embedded", "photos", "character"}
    assert nodes["production_encoder"]["model"]["aliases"] == ["production"]
    assert {name for name, node in nodes.items() if node["source"]} == {"embedded", "photos", "character"}
    for name, node in nodes.items():
        assert node["md5"] == made.md5("characters" if name == "character" else name) or name == "character"
        assert node["bytes"] == ["here", "remote"] and node["when"] and node["recorded"] == 1
        if not node["source"]:
            assert node["dagster_run"] and node["mlflow_run"] and node["git_commit"]
    assert nodes["aligned_faces"]["rows"] == {"faces": 4, "verification_pairs": 0}
    edges = {(edge["from"].split("@")[0], edge["to"].split("@")[0]) for edge in document["edges"]}
    assert ("photos", "aligned_faces") in edges and ("encoder", "production_encoder") in edges
    assert document["root"] == f"production_encoder@{made.md5('production_encoder')}"


def test_a_version_a_number_and_an_md5_name_the_same_model(made: PeopleProject) -> None:
    md5 = made.md5("production_encoder")
    assert told(made, "production") == told(made, "1") == told(made, "embedded/1") == told(made, md5[:6])


def test_an_md5_of_a_part_shows_that_part_alone(made: PeopleProject) -> None:
    document = told(made, made.md5("imitator").removesuffix(".dir"))
    assert {node["asset"] for node in document["nodes"]} == {"imitator", "embedded", "character"}


def test_a_beginning_of_several_md5s_is_refused_and_names_them(project: PeopleProject) -> None:
    for number in range(2):
        observe(project.instance, "photos", f"abcdef{number:026}.dir")
    project("lineage", "abcdef", status=1)
    assert "is the beginning of 2 md5s" in project.said


def test_what_nobody_knows_is_one_line(made: PeopleProject) -> None:
    made("lineage", "0123456789", status=1)
    assert made.said.count("\n") == 1 and "no photo 0123456789" in made.said
    made("lineage", "9", status=1)
    assert "has no version 9" in made.said


def test_a_model_is_traced_and_restored_after_its_characters_folder_was_removed(
    project: PeopleProject, tmp_path: Path
) -> None:
    before = told(project, "embedded/1")
    shutil.rmtree(project.settings.characters / "embedded")
    assert told(project, "embedded/1") == before
    project("restore", "1", "--out", str(tmp_path / "back"))
    assert (tmp_path / "back" / "character" / "schema.yaml").is_file()


def test_a_character_json_leads_to_its_model(made: PeopleProject, tmp_path: Path) -> None:
    (model,) = (node for node in told(made, "1")["nodes"] if node["model"])
    inputs = {node["asset"]: node["md5"] for node in told(made, "1")["nodes"] if not node["model"]}
    file = tmp_path / "character.json"
    origin = {"model": "likeness-embedded", "version": 1, "inputs": inputs}
    file.write_text(json.dumps({"format": 1, "character": "embedded", "provenance": origin}))
    document = told(made, str(file))
    assert document["character_json"] == str(file) and document["root"].endswith(model["md5"])
    assert str(file) in made("lineage", str(file))


def test_a_character_json_of_a_model_that_is_gone_still_tells_of_the_data(made: PeopleProject, tmp_path: Path) -> None:
    file = tmp_path / "character.json"
    origin = {"model": "likeness-embedded", "version": 7, "inputs": {"encoder": made.md5("encoder")}}
    file.write_text(json.dumps({"format": 1, "character": "embedded", "provenance": origin}))
    document = told(made, str(file))
    assert "version 7 is not the one in the registry" in document["notes"][0]
    assert {"encoder", "photos"} <= {node["asset"] for node in document["nodes"]}


def _served(made: PeopleProject, keep: timedelta = timedelta(days=1)) -> str:
    """The id of a character that the service made with version 1."""
    inputs = {node["asset"]: node["md5"] for node in told(made, "1")["nodes"] if not node["model"]}
    origin = {"model": "likeness-embedded", "version": 1, "inputs": inputs}
    store = CharacterStore(made.settings.home / "serving" / "embedded" / "characters", keep)
    while (
        id := store.add({"format": 1, "character": "embedded", "provenance": origin}, Caller("somebody")).id
    ) == id.lower():
        pass
    return id


def test_a_served_characters_id_or_address_leads_to_its_model(made: PeopleProject) -> None:
    id = _served(made)
    (model,) = (node for node in told(made, "1")["nodes"] if node["model"])
    for word in (id, f"http://127.0.0.1:8000/v1/characters/{id}"):
        document = told(made, word)
        assert document["root"].endswith(model["md5"]) and id in document["character_json"]


def test_a_served_character_that_is_gone_is_told_with_where_was_looked(made: PeopleProject) -> None:
    made("lineage", (expired := _served(made, timedelta(days=-1))), status=1)
    assert f"the character {expired} expired on" in made.said and made.said.count("\n") == 1
    made("lineage", "AAAAbbbbCCCCdddd000_-9", status=1)
    assert "there is no character AAAAbbbbCCCCdddd000_-9 in" in made.said and made.said.count("\n") == 1
    assert "serving/embedded/characters" in made.said and "LIKENESS_SERVE_STORE" in made.said


def test_only_what_differs_from_production_is_shown(project: PeopleProject) -> None:
    project.configure(encoder={"steps": 20})
    project.run()
    project.register("candidate")
    nodes = {node["asset"]: node for node in told(project, "candidate")["nodes"]}
    assert nodes["encoder"]["differences"] == {"steps": [20, 10]}
    assert [name for name, node in nodes.items() if node["differences"]] == ["encoder"]
    assert nodes["imitator"]["same_as_production"] and not nodes["encoder"]["same_as_production"]
    text = project("lineage", "candidate")
    assert "steps: 20, in production 10" in text and "1 configuration differs" in text
    assert "this is likeness-embedded version 1, which is in production" in project("lineage", "production")


def test_the_tree_shows_what_was_shown_before_by_reference(made: PeopleProject) -> None:
    text = made("lineage", "1")
    assert text.count(made.md5("aligned_faces")) == 1
    assert text.count("shown above") >= 3


def test_the_same_bytes_made_twice_are_one_node_that_says_so(project: PeopleProject) -> None:
    project.run(only="imitator", force=True)
    nodes = {node["asset"]: node for node in told(project, "1")["nodes"]}
    assert nodes["imitator"]["recorded"] == 2
    assert "2 times" in project("lineage", "1")


def test_bytes_that_are_only_in_the_remote_or_nowhere_are_told_apart(project: PeopleProject) -> None:
    store = Store.of(project.settings)
    store.remove({*store.listing(project.md5("encoder")).values()}, ("cache",))
    assert {n["asset"]: n["bytes"] for n in told(project, "1")["nodes"]}["encoder"] == ["remote"]
    store.remove({*store.listing(project.md5("encoder")).values()}, ("remote",))
    assert {n["asset"]: n["bytes"] for n in told(project, "1")["nodes"]}["encoder"] == ["gone"]


def test_a_picture_is_drawn_in_both_formats_and_no_other(made: PeopleProject, tmp_path: Path) -> None:
    made("lineage", "1", "--picture", str(tmp_path / "tree.svg"))
    drawn = (tmp_path / "tree.svg").read_text()
    assert all(stage.name in drawn for stage in made.stages)
    made("lineage", "1", "--picture", str(tmp_path / "tree.png"))
    with Image.open(tmp_path / "tree.png") as picture:
        assert picture.width > 1000
    made("lineage", "1", "--picture", str(tmp_path / "tree.pdf"), status=1)
    assert not list(tmp_path.glob(".tree*"))


def test_a_remote_that_is_down_makes_availability_unknown_and_nothing_else(
    made: PeopleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.storage.remote.ATTEMPTS", 1)
    monkeypatch.setenv("LIKENESS_DVC_REMOTE", "http://127.0.0.1:9/nothing")
    assert all(node["bytes"] in (["here"], ["unknown"]) for node in told(made, "1")["nodes"])


def test_of_a_thousand_events_only_the_one_with_the_md5_is_read(
    project: PeopleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(text: str, *types: Any) -> Any:
        read.append(text)
        return deserialize_value(text, *types)

    for number in range(1000):
        md5 = f"{number:032x}.dir"
        project.instance.report_runless_asset_event(
            dg.AssetMaterialization("portraits", tags={"dagster/data_version": md5})
        )
    monkeypatch.setattr(sql_event_log, "deserialize_value", counted)
    version_index = VersionIndex(project.instance)
    (ref,) = version_index.refs(prefix=f"{500:032x}")
    (version,) = version_index.versions([ref])
    assert version.md5 == f"{500:032x}.dir"
    assert len(read) == 1 and version.md5 in read[0]


def test_a_photo_leads_to_versions_models_and_what_they_did_with_it(project: PeopleProject) -> None:
    project.configure(aligned_faces={"official": True})
    project.run()
    project.register("candidate")
    scored = told(project, "ann/one.jpg")
    assert scored["rows"][project.md5("aligned_faces")] == {"ann/one.jpg": "test"}
    (model,) = (model for model in scored["models"] if model["version"] == 2)
    assert model["use"] == "only scored on it" and not model["retrain"]
    project.configure(aligned_faces={"split": "train"})
    project.run()
    project.register("candidate")
    uses = {model["version"]: model["use"] for model in told(project, "ann/one.jpg")["models"]}
    chooses = decides("photos", "test")
    assert uses == {1: "chosen by it" if chooses else "only scored on it", 2: "only scored on it", 3: "trained on it"}
    for word in (scored["photos"][0]["md5"], scored["photos"][0]["sha256"], str(project.photos / "ann" / "one.jpg")):
        assert told(project, word)["photos"] == scored["photos"]
    assert "trained on it" in project("lineage", "ann/one.jpg")


def test_a_photo_in_quarantine_was_not_used(settings: Settings, instance: dg.DagsterInstance) -> None:
    project = PeopleProject(settings, instance)
    project.configure(aligned_faces={"refused": ["two"]})
    project.run()
    project.register()
    document = told(project, "ann/two.jpg")
    assert document["photo_versions"] and not document["rows"]
    assert document["models"][0]["use"] == "not used"


def test_a_photo_that_was_deleted_by_hand_is_still_found_by_its_name(project: PeopleProject) -> None:
    shutil.rmtree(project.photos / "bob")
    document = told(project, "bob/one.jpg")
    assert document["photos"][0]["here"] == [] and len(document["photo_versions"]) == 1
