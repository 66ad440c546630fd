from pathlib import Path

import numpy as np
import pytest
import torch

from models.identity import IdentityModel
from stages import identity_model
from stages.context import Context
from stages.identity_model import Config, MarginHead, verification
from stages.training import Optimiser, Training, read_meta
from tests.models.support import SFACE
from tests.stages import small_tables


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("identity")
    return {"embedded": small_tables.embedded(root / "embedded"), "aligned_faces": small_tables.faces(root / "faces")}


def _config(trainable, rate: float) -> Config:
    optimiser = Optimiser(kind="sgd", rate=rate)
    return Config(trainable=trainable, training=Training(steps=4, batch=4, evaluate_every=2, optimiser=optimiser))


def test_verification_of_known_embeddings() -> None:
    directions = np.eye(4)
    people = np.array(["a", "a", "b", "b"])
    assert verification(directions[[0, 0, 1, 1]], people)["auc"] == 1.0
    assert verification(directions[[0, 0, 1, 1]], people)["accuracy"] == 1.0
    assert verification(directions[[0, 1, 0, 1]], people)["auc"] == pytest.approx(0.25)
    assert verification(directions, np.array(list("abcd"))) == {}
    random = np.random.default_rng(0).normal(size=(200, 16))
    assert verification(random, np.arange(200) // 4)["auc"] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("loss", ["softmax", "cosface", "arcface"])
def test_a_margin_makes_the_right_answer_harder_not_wrong(loss: str) -> None:
    torch.manual_seed(0)
    head, people = MarginHead(4, 3, loss, 0.2, 16.0), torch.arange(3)
    own = torch.nn.functional.normalize(head.directions.detach(), dim=1)
    plain = MarginHead(4, 3, "softmax", 0.2, 16.0)
    plain.load_state_dict(head.state_dict())
    assert head(own, people) >= plain(own, people)
    assert head(own, people) < head(own, people.roll(1))


@pytest.mark.parametrize(("trainable", "rate"), [("head", 5.0), ("all", 0.2)])
def test_weights_that_make_held_out_pairs_worse_are_not_kept(inputs, tmp_path: Path, trainable, rate: float) -> None:
    metrics = identity_model.run(inputs, _config(trainable, rate), tmp_path, Context())
    assert metrics["steps_trained"] == 4 and metrics["steps_kept"] == 0
    meta = read_meta(tmp_path)["verification"]
    assert meta["before"] == meta["after"] and meta["before"]["photos"]["auc"] == 1.0
    kept, pretrained = identity_model.load(tmp_path), IdentityModel.from_onnx(SFACE)
    face = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        assert torch.allclose(kept(face), pretrained(face), atol=1e-5)


def test_better_weights_are_kept_and_the_best_survives_a_checkpoint() -> None:
    module = torch.nn.Linear(1, 1)
    best = identity_model._Best(module, 0.0)
    best.offer(0, {"portraits": 0.8, "photos": 0.99})
    module.weight.data.fill_(7.0)
    best.offer(10, {"portraits": 0.9, "photos": 0.99})
    module.weight.data.fill_(9.0)
    best.offer(20, {"portraits": 0.95, "photos": 0.98})
    again = identity_model._Best(module, 0.0)
    again.load_tensors(best.tensors())
    assert again.step == 10 and again.weights["weight"].item() == 7.0
    assert again.best == {"portraits": 0.9, "photos": 0.99} and again.start == {"portraits": 0.8, "photos": 0.99}
