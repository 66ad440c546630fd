"""A character that has only exported pairs, through encoder and scorecard: untrained networks, real pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.schema import Schema
from models.imitator import Imitator
from models.losses import LossWeights, Photos
from models.parsing import FaceParser
from models.weights import save_model
from orchestration.registry import gate
from stages import encoder, identity_imitator, imitator, rendered_pairs, scorecard
from stages.context import Context
from stages.data.dataset import ImageDataset
from stages.data.pictures import IMITATOR_MARK, marked
from stages.training import Optimiser, Training
from tests.models.support import recogniser
from tests.stages import small_tables

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
QUICK = Training(steps=40, batch=8, evaluate_every=40, optimiser=Optimiser(rate=3e-3))


@pytest.fixture(scope="module")
def inputs(marble_character: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("other")
    torch.manual_seed(0)
    folders = {"character": marble_character, "embedded": ROOT / "data" / "embedded"}
    folders["photos"] = small_tables.PHOTO_FOLDER
    for name in ("identity_model", "parsing_model", "rendered_pairs", "imitator", "identity_imitator"):
        folders[name] = root / name
        folders[name].mkdir()
    verification = {"steps_kept": 0, "steps_trained": 0}
    save_model(folders["identity_model"], recogniser(), {"model": "faceres", "verification": verification})
    parsed = {"model": "resnet", "depth": 18, "width": 0.125, "dilate": False, "stages": 4}
    save_model(folders["parsing_model"], FaceParser(18, 0.125, False), parsed)
    folders["aligned_faces"] = small_tables.faces(root / "aligned_faces")
    rendered_pairs.run(folders, rendered_pairs.Config(pairs=40, size=64), folders["rendered_pairs"], Context())
    config = imitator.Config(size=64, width=0.125, training=QUICK)
    imitator.run(folders, config, folders["imitator"], Context())
    recognised = identity_imitator.Config(hidden=32, training=QUICK)
    identity_imitator.run(folders, recognised, folders["identity_imitator"], Context())
    return folders


def encoder_config(**changes: Any) -> encoder.Config:
    training = Training(steps=4, batch=2, log_every=1, optimiser=Optimiser(rate=1e-3))
    return encoder.Config(**{"training": training, "content_size": 64, "supervised_batch": 8, "hidden": 32, **changes})


@pytest.fixture(scope="module")
def card(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The scorecard's sections that the character makes a difference to."""
    folder = tmp_path_factory.mktemp("encoder")
    encoder.run(inputs, encoder_config(), folder, Context())
    out = tmp_path_factory.mktemp("scorecard")
    config = scorecard.Config(people=4, judged=4, pairs=4)
    evaluation = scorecard.EvaluationContext.load({**inputs, "encoder": folder}, config, Context())
    # The small tables have portraits of one split; the sections under test want some that never trained.
    report = scorecard.Report(out)
    found = {section.__name__: section(evaluation, report) for section in (scorecard.recovery, scorecard.imitator)}
    return found | {"likeness": _likeness(evaluation, out), "out": out}


def _likeness(evaluation: scorecard.EvaluationContext, out: Path) -> dict[str, Any]:
    from dataclasses import replace

    from stages.data import tables
    from stages.evaluation.context import predict

    faces = tables.read(evaluation.inputs["aligned_faces"] / "faces.parquet")
    portraits = faces[faces["source"] == "portraits"].reset_index(drop=True)
    x = predict(evaluation.identity, evaluation.encoder, portraits["image"], "cpu")
    return scorecard.likeness(replace(evaluation, faces=portraits, x=x), scorecard.Report(out))


def test_its_imitator_learns_from_exported_pairs(inputs: dict[str, Path]) -> None:
    """Forty steps on forty pictures: nearer than a grey picture is."""
    drawn = Imitator.load(inputs["imitator"])
    schema = Schema.load(inputs["character"])
    rows = imitator.tables.read(inputs["rendered_pairs"] / "pairs.parquet")
    truth = ImageDataset(rows["image"].tolist(), 64)[range(8)].float() / 255
    with torch.no_grad():
        error = (drawn(imitator.pair_parameters(schema, rows[:8])) - truth).abs().mean()
    assert error < 0.8 * (truth - truth.mean()).abs().mean()


@pytest.fixture(scope="module")
def stage(inputs: dict[str, Path]) -> Any:
    return encoder._Stage(inputs, encoder_config(), Context())


@pytest.mark.parametrize("term", ["identity", "content", "loop", "decay", "supervised", "recognised"])
def test_its_encoder_gets_a_gradient_from_every_term(stage: Any, term: str) -> None:
    batch = stage.batch_at(0)
    stage.loss.weights = LossWeights(**dict.fromkeys(("identity", "content", "loop"), 0.0) | {term: 1.0})
    content, probabilities = (batch[name].float() for name in ("content", "probabilities"))
    photos = Photos(batch["embeddings"], batch["features"], content, probabilities)
    known = (batch["known_features"], batch["known_x"])
    given = {"supervised": (None, known), "recognised": (None, None, (batch["features"], batch["embeddings"]))}
    stage.encoder.zero_grad()
    total, _ = stage.loss(stage.encoder, *given.get(term, (photos,)))
    total.backward()
    assert sum(p.grad.abs().sum().item() for p in stage.encoder.sliders.parameters() if p.grad is not None) > 0


def test_portraits_of_another_character_teach_it_no_parameters(stage: Any) -> None:
    assert len(stage.supervision) == 1
    assert len(stage.supervision[0]) == len(stage.renders["train"])
    assert len(stage.train_rows), "they still serve as photos"


def test_it_learns_from_its_renders_where_the_embedded_character_learns_from_portraits(inputs: dict[str, Path]) -> None:
    quick = encoder_config(supervise_pairs=None, linear_start=True, map_features=8, map_channels=4)
    its_own = encoder._Stage(inputs, quick, Context())
    assert [len(known) for known in its_own.supervision] == [len(its_own.renders["train"])]
    assert len(its_own._start_linear()) == its_own.encoder.architecture.prior


@pytest.mark.filterwarnings("ignore:Mean of empty slice")  # two renders, drawn twice, do not vary
def test_known_parameters_are_those_of_its_own_unseen_renders(card: dict[str, Any]) -> None:
    recovery = card["recovery"]
    assert recovery["on"] == "unseen renders" and recovery["all"]["n"] == 2
    assert set(recovery["groups"]) == {"stone", "hair", "pupils"}
    assert recovery["phenotypes"]["reason"] == "the character has no phenotype sliders"
    assert recovery["skin_within_one"] == {
        "value": None, "baseline": None, "bound": None, "ci": None, "n": 0,
        "reason": "the character has no group `skin`",
    }  # fmt: skip


def test_scores_that_need_the_engine_are_null_with_the_reason(card: dict[str, Any]) -> None:
    likeness = card["likeness"]
    for name in ("similarity", "rank1", "rank5", "real_photos"):
        assert likeness[name]["value"] is None
        assert likeness[name]["reason"] == "marble has only exported pairs: this score needs its engine"
        stand_in = likeness[f"imitator_{name}"]
        assert stand_in["value"] is not None and stand_in["by"] == "imitator" and stand_in["bound"] is None
    assert card["imitator"]["psnr"]["value"] > 5
    assert card["imitator"]["psnr_head"]["reason"] == "the pairs have no label maps"


def test_the_reports_pictures_are_marked(card: dict[str, Any]) -> None:
    from models.images import decode

    sheet = decode((card["out"] / "real_photos.png").read_bytes())
    corner = sheet[256 - 14 : 256, 260 + 200 : 260 + 256]
    assert (corner > 240).all(axis=2).any() and (corner < 90).all(axis=2).any(), "white letters on a dark strip"


def test_a_mark_changes_the_corner_alone() -> None:
    image = np.full((256, 256, 3), 120, np.uint8)
    changed = (marked(image, IMITATOR_MARK) != image).any(axis=2)
    assert changed[200:, 150:].any() and not changed[:200].any() and not changed[:, :150].any()
    assert marked(image, "") is image


def test_the_gate_judges_by_stand_ins_and_never_by_nothing(card: dict[str, Any]) -> None:
    rule = gate.Config.model_validate(
        {"beats_baseline": ["recovery.visible", "likeness.similarity"], "not_worse": {"likeness.similarity": 0.02}}
    )

    def with_scores(recovery: dict[str, Any], similarity: float) -> dict[str, Any]:
        likeness = card["likeness"] | {"imitator_similarity": {"value": similarity, "baseline": 0.8}}
        return {"recovery": {"visible": recovery}, "likeness": likeness}

    def refusals(card: dict[str, Any]) -> list[str]:
        return gate.evaluate(rule, card).refusals

    good = with_scores({"value": 0.3, "baseline": 0.0}, 0.9)
    assert refusals(good) == []
    assert refusals(with_scores({"value": 0.3, "baseline": 0.0}, 0.7)) == [
        "likeness.imitator_similarity 0.7 does not beat the average face's 0.8"
    ]
    worse = with_scores({"value": 0.3}, 0.85) | {"production": good}
    assert refusals(worse) == ["likeness.imitator_similarity 0.85 is worse than production's 0.9 by more than 0.02"]
    assert gate.replaced(rule, good)["likeness.similarity"].startswith(
        "judged by likeness.imitator_similarity: marble has only"
    )
    unmeasured = with_scores({"value": None, "baseline": None}, 0.9)
    assert refusals(unmeasured) == ["recovery.visible None does not beat the average face's None"]
    alone = gate.Config(beats_baseline={"likeness.rank1": "value"}, not_worse={})
    assert "no score that can be judged" in gate.evaluate(alone, good).refusals[0]
