from pathlib import Path

import numpy as np
import pytest
import torch

from engine.schema import Schema
from models.identity_imitator import IdentityImitator
from models.weights import save_model
from stages import identity_imitator
from stages.context import Context
from stages.identity_imitator import Config, baseline, score
from stages.training import Optimiser, Training
from tests.models.support import recogniser
from tests.stages import small_tables


@pytest.mark.slow
def test_a_tiny_run_learns_repeats_and_loads_again(tmp_path: Path) -> None:
    inputs = {"rendered_pairs": small_tables.pairs(tmp_path / "pairs"), "character": small_tables.CHARACTER}
    inputs["identity_model"] = tmp_path / "identity"
    inputs["identity_model"].mkdir()
    save_model(inputs["identity_model"], recogniser(), {"model": "faceres"})
    config = Config(hidden=32, training=Training(steps=60, batch=8, optimiser=Optimiser(kind="adamw", rate=5e-3)))
    losses: list[float] = []

    def on_metrics(values, step) -> None:
        if "identity_imitator/distance" in values:
            losses.append(values["identity_imitator/distance"])

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        metrics = identity_imitator.run(inputs, config, tmp_path / name, Context(on_metrics=on_metrics))
    assert losses[5] < 0.8 * losses[0]
    assert set(metrics) == {"similarity", "rank1", "similarity_mean_embedding"}
    assert np.isfinite(list(metrics.values())).all()
    for file in ("model.safetensors", "meta.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    network = IdentityImitator.load(tmp_path / "one")
    x = torch.from_numpy(Schema.load(small_tables.CHARACTER).neutral())[None]
    assert not network.training and torch.allclose(network(x).norm(dim=1), torch.ones(1))


def test_scores_are_of_the_true_embedding_and_the_baseline_of_the_mean_one() -> None:
    seen = torch.eye(4)[:3]
    found = score(torch.stack([seen[0], seen[1], seen[1]]), seen)
    assert found == pytest.approx({"similarity": 2 / 3, "rank1": 2 / 3})
    assert baseline(seen[:2], seen)["similarity_mean_embedding"] == pytest.approx(2 * 0.5**0.5 / 3)
