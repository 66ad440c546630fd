"""The stages that render: same bytes again, people disjoint between splits, pictures that a detector agrees with."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.alignment import FaceLandmarker, eye_distance
from models.images import decode, decode_labels
from models.reference import five_points
from stages import portraits, rendered_pairs
from stages.context import Context

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
INPUTS = {"embedded": ROOT / "data" / "embedded", "character": ROOT / "characters" / "embedded"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("portraits")
    portraits.run(INPUTS, portraits.Config(people=18, shots=2, size=192), out, Context())
    return out


def test_two_runs_give_the_same_bytes_whatever_the_workers(made: Path, tmp_path: Path) -> None:
    portraits.run(INPUTS, portraits.Config(people=18, shots=2, size=192), tmp_path, Context(workers=2))
    for path in made.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_another_seed_gives_other_people(made: Path, tmp_path: Path) -> None:
    portraits.run(INPUTS, portraits.Config(people=18, shots=2, size=192, seed=9), tmp_path, Context())
    assert (made / "portraits.parquet").read_bytes() != (tmp_path / "portraits.parquet").read_bytes()


def test_people_are_in_one_split_each(made: Path) -> None:
    table = pd.read_parquet(made / "portraits.parquet")
    assert table.groupby("person")["split"].nunique().max() == 1
    assert set(table["split"]) == {"train", "val", "test"}
    same_person = table.groupby("person")["parameters"].agg(lambda column: len({tuple(row) for row in column}))
    assert same_person.max() == 1, "all shots of a person have the same parameters"
    assert table["id"].is_unique


def test_of_ten_people_one_is_tested_on_and_that_does_not_depend_on_how_many_there_are() -> None:
    splits = [portraits.split_of(person, seed=1) for person in range(1000)]
    for ten in range(0, 1000, 10):
        found = splits[ten : ten + 10]
        assert (found.count("test"), found.count("val")) == (1, 1)
    assert splits[:100] != splits[100:200] and splits != [portraits.split_of(person, seed=2) for person in range(1000)]
    assert {portraits.split_of(portraits.FIRST_SINGLE + person, seed=1) for person in range(100)} == {"train"}


def test_what_stands_before_a_face_is_named_and_measured(tmp_path: Path) -> None:
    config = portraits.Config(people=10, shots=1, size=128, nuisance=portraits.DomainRandomization(occlusion=1.0))
    portraits.run(INPUTS, config, tmp_path, Context())
    table = pd.read_parquet(tmp_path / "portraits.parquet")
    covered = table["occluder"] != "none"
    assert covered.mean() > 0.5
    low, high = config.nuisance.cover
    assert table["occluded"][covered].between(low - 1e-6, high + 1e-6).all()
    assert (table["occluded"][~covered] == 0).all()
    assert np.isfinite(np.stack(table["landmarks"].tolist())).all()


def test_detector_finds_the_five_points_where_the_render_has_them() -> None:
    """Within 5 % of the eye distance on average, on frontal renders of plausible people."""
    from engine import sampler
    from engine.renderer import Renderer
    from engine.scenes import Scenes

    renderer = Renderer(INPUTS["character"], INPUTS["embedded"])
    sliders, choices = sampler.plausible(renderer.schema, 16, np.random.default_rng(2))
    drawn = renderer.render(sliders, choices, Scenes.game(16), 256)
    errors = []
    with FaceLandmarker(INPUTS["embedded"] / "landmarks" / "face_landmarker.task") as landmarker:
        for image, truth in zip(drawn.image, drawn.landmarks, strict=True):
            found = landmarker.find(image)[0].landmarks
            errors.append(np.linalg.norm(five_points(found) - five_points(truth), axis=1) / eye_distance(truth))
    assert np.mean(errors) < 0.05


def test_pairs_hold_parameters_in_range_and_pictures_of_the_size(tmp_path: Path) -> None:
    rendered_pairs.run(INPUTS, rendered_pairs.Config(pairs=40, size=64), tmp_path, Context())
    table = pd.read_parquet(tmp_path / "pairs.parquet")
    parameters = np.stack(table["parameters"].tolist())
    assert len(table) == 40 and parameters.min() >= 0 and parameters.max() <= 1
    assert parameters.std() > 0.2, "uniform as in the papers"
    assert decode(table["image"][0]).shape == (64, 64, 3)
    assert set(np.unique(decode_labels(table["labels"][0]))) <= set(range(11))
    assert set(table["split"]) == {"train", "val", "test"}
