"""The section `search` with untrained networks, real pictures and the real judge; few steps, for the clock's sake."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.schema import Schema
from models.identity_imitator import IdentityImitator
from models.images import decode
from models.imitator import Imitator
from models.parsing import FaceParser
from models.weights import save_model
from stages import encoder, rendered_pairs
from stages.context import Context
from stages.data import tables
from stages.evaluation.context import FACE_SIZE, EvaluationContext, ScorecardConfig
from stages.evaluation.search import compare
from stages.training import Training
from tests.models.support import ROOT, recogniser
from tests.stages import small_tables

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evaluation(marble_character: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluationContext:
    """A character without an engine, so that nothing has to be rendered; twelve portraits of six people."""
    root = tmp_path_factory.mktemp("search")
    torch.manual_seed(0)
    names = ("identity_model", "parsing_model", "rendered_pairs", "imitator", "identity_imitator", "encoder")
    inputs = {name: root / name for name in names}
    for folder in inputs.values():
        folder.mkdir()
    inputs |= {"character": marble_character, "embedded": ROOT / "data" / "embedded"}
    inputs |= {"aligned_faces": small_tables.faces(root / "faces"), "photos": small_tables.PHOTO_FOLDER}
    width = Schema.load(marble_character).width
    save_model(inputs["identity_model"], recogniser(), {"model": "faceres"})
    parser = {"model": "resnet", "depth": 18, "width": 0.125, "dilate": False, "stages": 2}
    save_model(inputs["parsing_model"], FaceParser(18, 0.125, False, 2), parser)
    imitator = {"n_parameters": width, "size": 64, "width": 0.125, "drop": "first"}
    save_model(inputs["imitator"], Imitator(width, 64, 0.125), imitator)
    recognised = {"n_parameters": width, "dim": 1024, "hidden": 16}
    save_model(inputs["identity_imitator"], IdentityImitator(**recognised), {"architecture": recognised})
    rendered_pairs.run(inputs, rendered_pairs.Config(pairs=40, size=64), inputs["rendered_pairs"], Context())
    training = Training(steps=1, batch=2)
    config = encoder.Config(training=training, content_size=64, supervised_batch=8, hidden=16)
    encoder.run(inputs, config, inputs["encoder"], Context())
    evaluation = EvaluationContext.load(inputs, ScorecardConfig(people=4, searched=3, search_steps=2), Context())
    # the small tables have no portraits of people who never trained
    faces = tables.read(inputs["aligned_faces"] / "faces.parquet")
    faces = faces[faces["source"] == "portraits"].reset_index(drop=True)
    return replace(evaluation, faces=faces, x=evaluation.predict(faces))


@pytest.fixture(scope="module")
def found(
    evaluation: EvaluationContext, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, float], Path]:
    out = tmp_path_factory.mktemp("out")
    with torch.no_grad():  # the scorecard runs without gradients
        return *compare(evaluation, out), out


def test_each_way_has_its_scores_and_says_that_the_imitator_drew(found: tuple) -> None:
    scores, _, _ = found
    for name in ("one_shot", "from_average", "refined"):
        assert set(scores[name]) == {"similarity", "rank1", "own_similarity"}
        assert all(entry["n"] == 3 and entry["by"] == "imitator" for entry in scores[name].values())
        assert scores[name]["rank1"]["baseline"] == pytest.approx(1 / 3, abs=1e-4)
    difference = scores["one_shot"]["similarity"]["value"] - scores["from_average"]["similarity"]["value"]
    assert scores["one_shot_minus_from_average"]["value"] == pytest.approx(difference, abs=1e-4)


def test_the_clock_is_in_the_metrics_and_not_in_the_scores(found: tuple) -> None:
    scores, metrics, _ = found
    ways = {f"search.{name}_seconds" for name in ("one_shot", "from_average", "refined")}
    assert set(metrics) == ways | {"search.speedup"} and all(value > 0 for value in metrics.values())
    assert "engine" in scores["refined_by_engine"]["reason"]
    assert "seconds" not in str(scores)


def test_the_sheet_shows_photo_and_three_answers_of_each_person(found: tuple) -> None:
    sheet = decode((found[2] / "search.png").read_bytes())
    assert sheet.shape == (3 * FACE_SIZE + 2 * 4, 4 * FACE_SIZE + 3 * 4, 3)


def test_nobody_to_search_for_is_no_score_and_says_why(evaluation: EvaluationContext, tmp_path: Path) -> None:
    scores, metrics = compare(replace(evaluation, config=ScorecardConfig(searched=0)), tmp_path)
    assert metrics == {} and scores["one_shot"]["value"] is None and "searched" in scores["one_shot"]["reason"]
