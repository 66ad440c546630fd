"""The benchmark on real people: its people, its baseline, its judges, and the documented document."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks import expression, judges, landmark_fit, likeness, people
from engine.schema import Schema
from models.reference import REFERENCE
from stages.evaluation import appearance
from stages.evaluation.report import Report
from tests.models.support import LANDMARKER, ROOT, aligned_photos

SCHEMA = Schema.load(ROOT / "characters" / "embedded")


def test_every_photo_has_two_labellings_that_follow_the_rules() -> None:
    labels = people.labels()
    assert len(labels) == 290 and labels["id"].nunique() == 145
    assert (labels.groupby("id")["annotator"].agg("".join) == "ab").all()
    rows, said = appearance.labelled_rows(labels[["id"]].drop_duplicates(), labels)
    assert len(rows) == 145 and "skin mst 9 or 10; skin tone tone1" in appearance.note(said)
    agreed = {question.name: appearance.agreement(question, said[question.column]) for question in appearance.QUESTIONS}
    assert agreed["sex"] == 1.0 and agreed["hair_style"] == pytest.approx(0.903, abs=0.001)


def test_photos_that_are_here_are_not_brought_again(tmp_path: Path) -> None:
    (tmp_path / "000f").mkdir()
    (tmp_path / "000f" / "000f.jpg").write_bytes(b"photo")
    assert people.photos(["000f.jpg"], tmp_path, pytest.fail) == [tmp_path / "000f" / "000f.jpg"]


def test_distances_do_not_depend_on_size_or_place() -> None:
    moved = 3.0 * REFERENCE + 7.0
    assert np.allclose(landmark_fit.distances(moved), landmark_fit.distances(REFERENCE))
    wider = REFERENCE * [1.0, 1.1]
    assert (landmark_fit.distances(wider) >= landmark_fit.distances(REFERENCE) - 1e-9).all()


@pytest.mark.slow
def test_a_landmark_fit_finds_the_way_that_sliders_were_moved() -> None:
    from engine.engines import EmbeddedEngine
    from models.images import encode_png

    embedded = ROOT / "data" / "embedded"
    engine = EmbeddedEngine(ROOT / "characters" / "embedded", embedded, "cpu")
    fit = landmark_fit.LandmarkFit(engine, LANDMARKER)
    column, sliders = SCHEMA.slider_index["head_width"], np.repeat(SCHEMA.neutral_sliders()[None], 2, axis=0)
    sliders[:, column] = (0.0, 1.0)
    choices = np.repeat(SCHEMA.neutral_discrete()[None], 2, axis=0)
    pictures = engine.draw(sliders, choices, 256).image
    narrow, wide = SCHEMA.choose(fit.fit([encode_png(picture) for picture in pictures]))[0][:, column]
    assert narrow < SCHEMA.neutral_sliders()[column] < wide


def test_a_photo_is_found_by_its_own_render_and_a_constant_finds_nothing() -> None:
    photos, names = np.random.default_rng(0).normal(size=(20, 8)), [f"{k}" for k in range(20)]
    right = judges.retrieval(judges.similarities(photos, photos + 0.01), names)
    assert right["rank1"]["value"] == right["auc"]["value"] == 1.0
    constant = judges.retrieval(judges.similarities(photos, np.ones_like(photos)), names)
    assert constant["rank1"]["value"] == 0.05 and constant["auc"]["value"] == 0.5


def test_judges_that_see_the_same_agree() -> None:
    similarity = np.random.default_rng(0).normal(size=(20, 20))
    same = judges.agreement({judges.DLIB: similarity, judges.FACENET: 2 * similarity + 1})
    assert same == {"all_pairs": pytest.approx(1), "own_pairs": pytest.approx(1), "rank1_agrees": 1.0}
    assert "reason" in judges.agreement({judges.DLIB: similarity})


def test_the_worst_group_comes_first() -> None:
    labels = people.labels()
    names = np.array(sorted(labels["id"].unique()))
    sexes = np.array([name[-5] for name in names])
    report = Report(Path())
    report.by_mean("appearance_sex", np.where(sexes == "f", 0.9, 0.4), names, photos=True)
    report.by_mean("appearance_skin_error", np.where(sexes == "f", 0.9, 0.4), names, photos=True)
    found = likeness.grouped(labels, names, report)
    assert [row["group"] for row in found["sex"]["sex"]] == ["m", "f"]
    assert [row["group"] for row in found["sex"]["skin_error"]] == ["f", "m"], "an error: more is worse"
    assert found["sex"]["sex"][0]["n"] == 74 and found["sex"]["sex"][0]["ci"] is None


def document() -> dict[str, Any]:
    """As it is made, of four portraits that stand for people, read as the average face."""
    labels, photos = people.labels(), aligned_photos()[:4]
    names = sorted(labels["id"].unique())[:4]
    x = np.repeat(SCHEMA.neutral()[None], 4, axis=0)
    reading = likeness.Reading(names, [], photos, x, {"x.jpg": "no face was found"})
    _, said = appearance.labelled_rows(labels[labels["id"].isin(names)][["id"]].drop_duplicates(), labels)
    report = Report(Path())
    found = likeness.appearances(SCHEMA, {"model": x, "average_face": x}, said, names, report)
    similarity = {"model": np.eye(4), "average_face": np.ones((4, 4))}
    made = {
        "machine": {"processor": "a processor", "cores": 2, "load_before": 0.1},
        "model": {"name": "likeness-embedded", "version": 3},
        "people": {"photos": 5, "read": 4, "refused": reading.refused, "note": appearance.note(said)},
        "appearance": found,
        "likeness": {"dlib": likeness.likenesses(similarity, np.array(names))},
        "refined": {
            "gradient": {
                "dlib": likeness.likenesses({"model": np.eye(4)}, np.array(names)),
                "cost": {"seconds": 0.1},
            }
        },
        "expression": expression.compared(
            [{"brow_height": 0.27, "brow_down": 0.1, "smile": smile} for smile in (0.0, 0.1, 0.9)] + [None],
            [{"brow_height": 0.26, "brow_down": 0.2, "smile": 0.0}] * 4,
        ),
        "judges": judges.agreement({judges.DLIB: np.eye(4)}),
        "groups": likeness.grouped(labels, np.array(names), report),
    }
    sheet = likeness.sheet(reading, photos, SCHEMA, said)
    assert len(sheet) == 256 and sheet.shape[1] >= 8 * 256, "four pairs in a row"
    assert (sheet[:128, :256] == photos[0][:128]).all() and (sheet[:, :256] != photos[0]).any(), "the name is below"
    return made | {"targets": likeness.targets(made)}


def test_the_document_is_as_described_and_is_shown_with_every_score() -> None:
    described = re.search(r"The document:\n\n(.*)", likeness.__doc__ or "", re.DOTALL)
    assert described is not None
    made = document()
    assert list(made) == re.findall(r"^ {4}([a-z]+) ", described[1], re.MULTILINE)
    json.dumps(made)
    screen = StringIO()
    likeness.show(made, Console(file=screen, width=140))
    shown = screen.getvalue()
    assert (
        "version 3 on 4 of 5 photos" in shown and "no face was found" in shown and "Nobody in these photos is" in shown
    )
    for name in made["appearance"]:
        assert name.replace("_", " ") in shown
    assert [made["expression"][who]["n"] for who in ("everybody", "calm")] == [3, 2]
    assert "Brows of calm (2)" in shown and "brow_height 0.270, 0.260" in shown
    assert (
        made["likeness"]["dlib"]["rank1"]["value"] == 1.0 and made["likeness"]["dlib"]["rank1"]["average_face"] == 0.0
    )
    assert {row["target"] for row in made["targets"] if row["reached"]} >= {"likeness.dlib.rank1 ≥ 0.55"}
