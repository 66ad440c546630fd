"""What people see in photos beside what a character has: the rules, on constructed labels with known answers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.schema import Schema
from stages.data.appearance_labels import LENGTHS, STYLES, VALUES
from stages.evaluation import appearance as scoring
from stages.evaluation import groups
from stages.evaluation.report import Report
from tests.models.support import ROOT

SCHEMA = Schema.load(ROOT / "characters" / "embedded")


def labels(rows: list[dict[str, str]]) -> pd.DataFrame:
    """Two rows a photo are by a and by b."""
    seen: dict[str, int] = {}
    named = []
    for row in rows:
        seen[row["id"]] = seen.get(row["id"], -1) + 1
        named.append({**dict.fromkeys(VALUES), "annotator": "ab"[seen[row["id"]]], **row})
    return pd.DataFrame(named)


def parameters(count: int, **wanted: list[Any]) -> np.ndarray:
    """Neutral but for these sliders and choices."""
    sliders = np.repeat(SCHEMA.neutral_sliders()[None], count, axis=0)
    choices = np.repeat(SCHEMA.neutral_discrete()[None], count, axis=0)
    for name, values in wanted.items():
        if name in SCHEMA.slider_index:
            sliders[:, SCHEMA.slider_index[name]] = values
        else:
            choices[:, SCHEMA.group_index[name]] = [SCHEMA.choice(name, value) for value in values]
    return SCHEMA.pack(sliders, choices)


def scored(rows: list[dict[str, str]], **wanted: list[Any]) -> dict[str, Any]:
    table = labels(rows)
    photos = pd.DataFrame({"id": sorted({row["id"] for row in rows})})
    found, said = scoring.labelled_rows(photos, table)
    answers = scoring.answers_of(SCHEMA, parameters(len(photos), **wanted)[found])
    return scoring.score_all(answers, said, photos["id"].to_numpy()[found])


def test_every_hair_style_has_a_label_and_a_length() -> None:
    every = SCHEMA.group("hair").choices
    words = scoring.answers_of(SCHEMA, parameters(len(every), hair=[*every]))
    assert {*words["hair_style"]} == {*STYLES} == {*scoring.LENGTH_OF_STYLE}, (
        "say in the schema what a new style is like"
    )
    assert {*words["hair_length"]} <= {*LENGTHS}


def test_a_choice_is_right_when_any_labelling_says_it() -> None:
    rows = [
        {"id": "1", "hair_colour": "black"}, {"id": "1", "hair_colour": "brown"},
        {"id": "2", "hair_colour": "black"}, {"id": "2", "hair_colour": "black"},
        {"id": "3", "hair_colour": "blond"}, {"id": "3", "hair_colour": "unclear"},
        {"id": "4", "hair_colour": "blond", "hair_visible": "0"}, {"id": "4", "hair_colour": "blond"},
    ]  # fmt: skip
    found = scored(rows, hair_colour=["brown", "brown", "blond", "blond"])["hair_colour"]
    assert (found["value"], found["n"]) == (0.5, 2), "photos 3 and 4 do not count"
    assert found["bound"] == 0.5 and found["baseline"] == 1.0, "black suits both photos"


def test_yes_or_no_counts_where_all_labellings_agree() -> None:
    rows = [
        {"id": "1", "beard": "full"}, {"id": "1", "beard": "stubble"},
        {"id": "2", "beard": "none"}, {"id": "2", "beard": "stubble"},
        {"id": "3", "beard": "none"}, {"id": "3", "beard": "none"},
        {"id": "4", "beard": "goatee"}, {"id": "4", "beard": "goatee"},
    ]  # fmt: skip
    found = scored(rows, beard=["circle", "none", "none", "none"])
    assert found["beard"]["value"] == pytest.approx(2 / 3, abs=1e-4) and found["beard"]["n"] == 3
    assert (found["beard_found"]["value"], found["beard_found"]["n"]) == (0.5, 2)
    assert found["beard_found"]["bound"] == pytest.approx(0.8), "one of three photos with a beard for b has none for a"


def test_a_beard_is_of_a_kind_where_all_labellings_see_one() -> None:
    rows = [
        {"id": "1", "beard": "full"}, {"id": "1", "beard": "stubble"},
        {"id": "2", "beard": "none"}, {"id": "2", "beard": "stubble"},
        {"id": "3", "beard": "goatee"}, {"id": "3", "beard": "circle"},
        {"id": "4", "beard": "full"}, {"id": "4", "beard": "full"},
    ]  # fmt: skip
    found = scored(rows, beard=["short_full", "stubble", "moustache", "none"])["beard_kind"]
    assert found["value"] == pytest.approx(2 / 3, abs=1e-4) and found["n"] == 3, "none is no kind of beard"


def test_steps_are_counted_to_the_nearer_labelling() -> None:
    rows = [
        {"id": "1", "skin_tone": "tone2"}, {"id": "1", "skin_tone": "tone3"},
        {"id": "2", "skin_tone": "tone6"}, {"id": "3", "skin_tone": "tone6"},
    ]  # fmt: skip
    found = scored(rows, skin=["tone4", "tone6", "tone4"])
    assert found["skin_within_one"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["skin_error"]["value"] == 1.0 and found["skin_error"]["bound"] == 1.0
    assert found["skin_error"]["baseline"] == 1.0, "tone6 for all"


def test_sex_age_and_hair_length_follow_from_sliders_and_style() -> None:
    rows = [
        {"id": "1", "sex": "f", "age_band": "30-44", "hair_length": "tied"},
        {"id": "2", "sex": "m", "age_band": "60+", "hair_length": "bald"},
        {"id": "3", "sex": "m", "age_band": "18-29", "hair_length": "covered"},
    ]
    answers = {"sex": [0.49, 0.5, 0.1], "age": [4 / 65, 20 / 65, 20 / 65], "hair": ["ponytail01", "short04", "long01"]}
    words = scoring.answers_of(SCHEMA, parameters(3, **answers))
    assert words["age_band"] == ["18-29", "45-59", "45-59"] and words["sex"] == ["f", "m", "f"]
    found = scored(rows, **answers)
    assert found["sex"]["value"] == found["age_within_one"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert (found["hair_length"]["value"], found["hair_length"]["n"]) == (0.5, 2), "who is covered does not count"
    assert found["hair_short_or_long"]["value"] == 1.0, "bald is short, too"


def test_what_nobody_labelled_and_what_the_character_lacks_is_null_with_a_reason() -> None:
    found = scored([{"id": "1", "glasses": "clear"}])
    assert found["sex"]["value"] is None and "no photo has a label `sex`" in found["sex"]["reason"]
    if "glasses" not in SCHEMA.group_index:
        assert found["glasses"]["reason"] == "the character has no such choice: no group `glasses`"
    other = SimpleNamespace(
        slider_index={}, group_index={"beard": 0}, choose=lambda x: (x, np.zeros((1, 1), int)),
        group=lambda name: SimpleNamespace(choices=("none", "dwarf")),
    )  # fmt: skip
    assert "labels do not know: dwarf" in scoring.answers_of(other, np.zeros((1, 1)))["beard"]  # pyright: ignore[reportArgumentType]


def test_who_is_not_among_the_photos_is_said() -> None:
    _, said = scoring.labelled_rows(pd.DataFrame({"id": ["1"]}), labels([{"id": "1", "sex": "f", "glasses": "none"}]))
    assert scoring.lacking(said) == {"sex": ["m"], "glasses": ["clear", "sun"]}
    assert scoring.note(said) == "Nobody in these photos is labelled sex m; glasses clear or sun."


def test_networks_compare_photo_and_render() -> None:
    photos, renders = np.array([[3.0, 30], [-3, 40]]), np.array([[1.0, 33], [1, 45]])
    found = scoring.score_by_networks(photos, renders, np.array([[-1.0, 30]]), np.array(["a", "b"]))
    assert (found["network_sex"]["value"], found["network_sex"]["baseline"]) == (0.5, 0.5)
    assert (found["network_age_error"]["value"], found["network_age_error"]["baseline"]) == (4.0, 5.0)


def test_labelled_photos_are_grouped_beside_those_that_nobody_labelled(tmp_path: Path) -> None:
    count = 24
    photos = pd.DataFrame(
        {"id": [f"{k:02d}" for k in range(count + 2)], "person": [f"p{k:02d}" for k in range(count + 2)]}
    )
    rows = [{"id": f"{k:02d}", "sex": "fm"[k % 2], "skin_tone": "tone5"} for k in range(count)]
    evaluation: Any = SimpleNamespace(
        photos=photos, labels=labels(rows), schema=SCHEMA, photo_x=parameters(count + 2, sex=[0.1] * (count + 2)),
        engine=None, no_engine="only pairs", portraits_are_its_own=False,
    )  # fmt: skip
    report = Report(tmp_path)
    card = scoring.appearance(evaluation, report)
    assert card["labelled"]["photos"] == count and card["sex"]["value"] == 0.5
    assert card["network_sex"]["reason"] == "only pairs"
    found = groups.groups(evaluation, report)
    assert found["real_photos"]["n"] == 2 and "nobody noted" in found["real_photos"]["reason"]
    by_sex = found["labelled_photos"]["sex"]
    assert by_sex["f"]["appearance_sex"]["value"] == 1.0 and by_sex["m"]["appearance_sex"]["value"] == 0.0
    assert by_sex["m"]["people"] == 12 and by_sex["not_noted"]["appearance_sex"]["value"] is None
    assert found["labelled_photos"]["largest"]["appearance_sex"]["lowest"] == "m"
