"""The parameter schema: packing, documents, and errors that say what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine.schema import Schema, SchemaError, tidied

SAVED = Path(__file__).parents[1] / "data" / "registered_2026_11" / "answers.json"


@pytest.fixture
def schema(character: Path) -> Schema:
    return Schema.load(character)


def test_embedded_character_has_enough_to_set(schema: Schema) -> None:
    assert schema.n_sliders >= 100
    assert sum(schema.group_sizes) >= 60


def test_packing_then_choosing_gives_the_parameters_back(schema: Schema) -> None:
    rng = np.random.default_rng(0)
    sliders = rng.random((5, schema.n_sliders), dtype=np.float32)
    choices = np.stack([rng.integers(size, size=5) for size in schema.group_sizes], axis=1)
    again, chosen = schema.choose(schema.pack(sliders, choices))
    np.testing.assert_array_equal(again, sliders)
    np.testing.assert_array_equal(chosen, choices)


def test_characters_of_an_earlier_schema_go_on_loading(character: Path, schema: Schema) -> None:
    saved = json.loads(SAVED.read_text())["photo"]
    assert saved["schema_md5"] in Schema.md5s(character)
    x = schema.from_document(saved["parameters"], saved["discrete"])
    sliders, choices = schema.choose(x[None])
    assert schema.group("hair").choices[choices[0, schema.group_index["hair"]]] == saved["discrete"]["hair"]["choice"]
    added = [schema.slider_index[slider.name] for slider in schema.sliders if slider.added]
    np.testing.assert_array_equal(sliders[0, added], schema.neutral_sliders()[added])


def test_document_round_trip(schema: Schema) -> None:
    x = schema.neutral()
    document = schema.to_document(x)
    np.testing.assert_allclose(schema.from_document(**document), x, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["parameters"].pop("nose_width"), "nose_width"),
        (lambda d: d["parameters"].update(third_eye=0.5), "third_eye"),
        (lambda d: d["parameters"].update(nose_width=1.5), "outside"),
        (lambda d: d["discrete"]["hair"].update(choice="mohawk"), "mohawk"),
    ],
)
def test_invalid_document_is_refused_by_name(schema: Schema, change, message: str) -> None:
    document = schema.to_document(schema.neutral())
    change(document)
    with pytest.raises(SchemaError, match=message):
        schema.from_document(**document)


def test_broken_schema_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text("name: x\nlabel: x\nsliders: [{name: a, part: p, label: a, neutral: 7}]\n")
    with pytest.raises(SchemaError, match=r"schema\.yaml.*neutral"):
        Schema.load(tmp_path)
    with pytest.raises(SchemaError, match="no schema"):
        Schema.load(tmp_path / "nowhere")


# A schema and its md5 from before there were words for people.
OLD = """
name: x
label: X
phenotypes: [{name: sex, part: body, label: Sex}]
sliders: [{name: nose_width, part: nose, label: Nose width}]
groups: [{name: hair, label: Hair, choices: [none, long01], neutral: none}]
"""
OLD_MD5 = "94ea591e789c99cad190cc04b010fe52"


def test_words_for_people_are_no_part_of_what_parameters_mean(tmp_path: Path, character: Path) -> None:
    (tmp_path / "schema.yaml").write_text(OLD)
    md5 = Schema.md5(tmp_path)
    assert Schema.md5s(tmp_path) == {md5, OLD_MD5}, "documents from before name it by labels too"
    worded = OLD.replace("label: Nose width", "label: Nose width, ends: [narrow, wide]")
    worded = worded.replace("label: Sex", "label: Sex, ends: [female, male]")
    worded = worded.replace("label: Hair,", "label: Hair, part: hair, labels: {long01: Long},")
    (tmp_path / "schema.yaml").write_text(worded + "parts: {hair: Hair, nose: Nose}\n")
    schema = Schema.load(tmp_path)
    assert schema.local[0].ends == ("narrow", "wide") and schema.groups[0].part == "hair"
    assert Schema.md5s(tmp_path) == {md5, OLD_MD5}
    (tmp_path / "schema.yaml").write_text(OLD.replace("Nose width", "Width of the nose").replace("X", "Ex"))
    assert Schema.md5(tmp_path) == md5
    (tmp_path / "schema.yaml").write_text(OLD.replace("long01]", "short01]"))
    assert md5 not in Schema.md5s(tmp_path)


def test_a_choice_is_called_by_its_label_or_by_its_tidied_name(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text(OLD.replace("label: Hair,", "label: Hair, labels: {none: Bald},"))
    hair = Schema.load(tmp_path).groups[0]
    assert [hair.label_of(choice) for choice in hair.choices] == ["Bald", "Long 1"]
    assert tidied("light_blond") == "Light blond"
    (tmp_path / "schema.yaml").write_text(OLD.replace("label: Hair,", "label: Hair, labels: {mohawk: Mohawk},"))
    with pytest.raises(SchemaError, match="mohawk"):
        Schema.load(tmp_path)
