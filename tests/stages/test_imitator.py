from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from engine.schema import Schema
from models import images
from models.imitator import Imitator
from stages import imitator
from stages.context import Context
from stages.data.dataset import ImageDataset
from stages.imitator import Config
from stages.training import Optimiser, Training
from tests.stages import small_tables


@pytest.mark.slow
def test_a_tiny_run_learns_repeats_and_loads_again(tmp_path: Path) -> None:
    inputs = {"rendered_pairs": small_tables.pairs(tmp_path / "pairs"), "character": small_tables.CHARACTER}
    training = Training(steps=30, batch=4, log_every=10, optimiser=Optimiser(kind="adam", rate=5e-3))
    config = Config(size=32, width=0.25, training=training)
    logged: list[float] = []

    def on_metrics(values, step) -> None:
        if "imitator/l1" in values and "imitator/loss" in values:
            logged.append(values["imitator/loss"])

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        metrics = imitator.run(inputs, config, tmp_path / name, Context(on_metrics=on_metrics))
    assert logged[2] < 0.8 * logged[0]
    assert (
        set(metrics) == {"l1", "psnr", "psnr_head", "psnr_mean_picture"} and np.isfinite(list(metrics.values())).all()
    )
    for file in ("model.safetensors", "meta.json", "imitator.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    model = Imitator.load(tmp_path / "one")
    assert not model.training
    drawn = model(torch.from_numpy(Schema.load(small_tables.CHARACTER).neutral())[None])
    assert drawn.shape == (1, 3, 32, 32)


def test_the_baseline_is_what_the_mean_training_picture_scores() -> None:
    grey = [images.encode_png(np.full((8, 8, 3), level, np.uint8)) for level in (100, 140, 171)]
    found = imitator.baseline(ImageDataset(grey[:2], 8), pd.DataFrame({"image": grey[2:]}))
    assert found["psnr_mean_picture"] == pytest.approx(-20 * np.log10((171 - 120) / 255), abs=0.01)
