"""The engine's own names, units and ranges."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from engine.schema import Group, Schema, SchemaError, Slider
from tests.marble import EXAMPLE


@pytest.fixture
def schema() -> Schema:
    return Schema.load(EXAMPLE)


def test_parameters_survive_the_way_to_the_engine_and_back(schema: Schema) -> None:
    rng = np.random.default_rng(0)
    sliders = rng.random((5, schema.n_sliders), dtype=np.float32)
    choices = np.stack([rng.integers(size, size=5) for size in schema.group_sizes], axis=1)
    for row, values, chosen in zip(schema.to_engine(sliders, choices), sliders, choices, strict=True):
        again = [s.from_engine(float(row[s.known_as.name])) for s in schema.sliders]
        np.testing.assert_allclose(again, values, atol=1e-6)
        assert [g.from_engine(row[g.engine_name]) for g in schema.groups] == list(chosen)


def test_the_ends_of_a_slider_are_the_ends_of_the_engines_range(schema: Schema) -> None:
    years = schema.sliders[schema.slider_index["years"]]
    assert (years.to_engine(0.0), years.to_engine(0.5), years.to_engine(1.0)) == (20.0, 55.0, 90.0)


def test_a_range_may_run_downwards() -> None:
    slider = Slider.model_validate(
        {"name": "a", "part": "p", "label": "a", "engine": {"name": "A", "range": [100, -100]}}
    )
    assert slider.from_engine(100) == 0.0 and slider.from_engine(-50) == 0.75 and slider.to_engine(1.0) == -100


def test_a_value_outside_the_range_is_refused_with_range_and_unit(schema: Schema) -> None:
    slider = schema.sliders[schema.slider_index["eye_spacing"]]
    with pytest.raises(SchemaError, match=r"EyeSpacing is 5\.5: outside its range -5 to 5 mm"):
        slider.from_engine(5.5)
    assert slider.from_engine(5.00001) == 1.0, "a rounding error of the engine's is no error"


@pytest.mark.parametrize("written", [2, 2.0, "2", " 2 ", np.float64(2), "2.0"])
def test_a_choice_is_known_however_a_table_writes_its_number(schema: Schema, written: object) -> None:
    hair = schema.groups[schema.group_index["hair"]]
    assert hair.choices[hair.from_engine(written)] == "curls"


def test_an_unknown_choice_is_refused_with_those_that_are_known(schema: Schema) -> None:
    with pytest.raises(SchemaError, match=r"Stone is 'jade': not one of \['carrara', 'verde'"):
        schema.groups[schema.group_index["stone"]].from_engine("jade")


def test_two_choices_cannot_have_one_engine_value() -> None:
    with pytest.raises(ValueError, match="same engine value"):
        Group.model_validate(
            {"name": "g", "label": "g", "choices": ["a", "b"], "neutral": "a",
             "engine": {"name": "G", "values": {"a": 1, "b": "1.0"}}}
        )  # fmt: skip


def test_a_document_says_the_same_in_both_units(schema: Schema) -> None:
    document = schema.to_document(schema.neutral())
    assert document["engine"]["values"]["Years"] == 55.0 and document["engine"]["units"]["Years"] == "years"
    assert document["engine"]["values"]["HairMass"] == 1
    assert document["parameters"]["years"] == 0.5
    assert set(document["engine"]["values"]) == set(schema.engine_columns)


def test_a_character_without_engine_names_has_no_engine_section(character: Path) -> None:
    schema = Schema.load(character)
    assert "engine" not in schema.to_document(schema.neutral())


def test_only_what_parameters_mean_changes_the_md5(tmp_path: Path) -> None:
    content = yaml.safe_load((EXAMPLE / "schema.yaml").read_text())

    def md5(**changes: object) -> str:
        (tmp_path / "schema.yaml").write_text("# said\n" + yaml.safe_dump({**content, **changes}))
        return Schema.md5(tmp_path)

    before = Schema.md5(EXAMPLE)
    assert md5(pairs={"table": "other.csv"}, reference=None) == before
    sliders = [dict(slider) for slider in content["sliders"]]
    sliders[0]["engine"] = {**sliders[0]["engine"], "range": [0, 1]}
    assert md5(sliders=sliders) != before
