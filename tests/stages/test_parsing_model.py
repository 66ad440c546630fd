import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from models import images
from models.face_parts import CLASSES, MIRRORED
from models.parsing import FaceParser
from models.weights import read_meta
from stages import parsing_model
from stages.context import Context
from stages.data.dataset import ImageDataset
from stages.evaluation.metrics import confusion
from stages.parsing_model import Config, augment, f1_scores, mean_f1
from stages.training import Optimiser, Training, generator_for
from tests.stages import small_tables

pytestmark = pytest.mark.slow


def test_a_mirrored_face_swaps_its_left_and_right_classes() -> None:
    faces = torch.arange(8, dtype=torch.uint8).expand(32, 3, 4, 8)
    labels = torch.tensor([0, 3, 4, 5, 6, 7, 1, 2], dtype=torch.uint8).expand(32, 4, 8)
    pictures, classes = augment(faces, labels, Config(brightness=0.0), generator_for(0, 0))
    flipped = (pictures[:, 0, 0, 0] * 255).round() == 7
    assert 4 < int(flipped.sum()) < 28
    assert torch.equal(classes[~flipped], labels[~flipped])
    assert torch.equal(classes[flipped].long(), torch.tensor(MIRRORED)[labels[flipped].long()].flip(-1))


def test_f1_of_a_perfect_and_of_a_half_right_answer() -> None:
    truth, guess = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 1, 0]], np.uint8)
    perfect = f1_scores(confusion(truth, truth, len(CLASSES)))
    assert perfect["face"] == 1.0 and perfect["hair"] is None and mean_f1(perfect) == 1.0
    assert f1_scores(confusion(truth, guess, len(CLASSES)))["face"] == pytest.approx(2 / 3)


def test_augmentation_repeats_and_stays_in_range() -> None:
    faces, labels = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8), torch.zeros(4, 16, 16, dtype=torch.uint8)
    one, _ = augment(faces, labels, Config(shift=3), generator_for(5, 1))
    two, _ = augment(faces, labels, Config(shift=3), generator_for(5, 1))
    assert torch.equal(one, two) and one.min() >= 0 and one.max() <= 1


def test_a_tiny_run_learns_and_loads_again(tmp_path: Path) -> None:
    logged: list[float] = []

    def on_metrics(values, step) -> None:
        if "parsing_model/cross_entropy" in values:
            logged.append(values["parsing_model/cross_entropy"])

    training = Training(steps=12, batch=4, log_every=3, optimiser=Optimiser(kind="adamw", rate=3e-3))
    config = Config(depth=18, width=0.125, size=64, training=training)
    inputs, out = {"aligned_faces": small_tables.faces(tmp_path / "faces")}, tmp_path / "out"
    out.mkdir()
    metrics = parsing_model.run(inputs, config, out, Context(on_metrics=on_metrics))
    assert logged[-1] < 0.7 * logged[0]
    assert 0 < metrics["mean_f1"] <= 1 and 0 < metrics["mean_f1_average_map"] <= 1
    assert FaceParser.load(out)(torch.rand(1, 3, 64, 64)).shape == (1, 11, 8, 8)
    assert {p.name for p in out.glob("*.png")} == {"parsing_portraits.png"}


def test_a_run_starts_from_a_file_of_imagenet_weights_and_says_which(tmp_path: Path) -> None:
    torch.manual_seed(7)
    weights = FaceParser(18).state_dict()
    classifier = {name: weights.pop(name) for name in ("classifier.weight", "classifier.bias")}
    path = tmp_path / "resnet18.pth"
    torch.save({**weights, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, path)
    config = Config(depth=18, size=64, stages=3, pretrained=path, training=Training(steps=0))
    inputs, out = {"aligned_faces": small_tables.faces(tmp_path / "faces")}, tmp_path / "out"
    out.mkdir()
    parsing_model.run(inputs, config, out, Context())
    kept = FaceParser.load(out).state_dict()
    assert all(torch.equal(kept[name], weights[name]) for name in kept if name in weights)
    assert len(kept) < len(weights), "three of the four stages"
    assert kept["classifier.weight"].shape != classifier["classifier.weight"].shape
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_meta(out)["pretrained"] == {"file": "resnet18.pth", "sha256": sha256}


def test_the_baseline_says_at_each_place_what_most_training_maps_have_there() -> None:
    usual, rare = np.ones((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    usual[:4] = 7
    usual_map, rare_map = images.encode_png(usual), images.encode_png(rare)
    train = ImageDataset([usual_map, rare_map, usual_map], 8, labels=True)
    pictures = [images.encode_png(np.zeros((8, 8, 3), np.uint8))]
    seen = pd.DataFrame({"image": pictures, "labels": [usual_map]})
    assert parsing_model.baseline(train, seen, 8) == {"mean_f1_average_map": 1.0}
    unseen = pd.DataFrame({"image": pictures, "labels": [images.encode_png(usual[::-1])]})
    assert parsing_model.baseline(train, unseen, 8) == {"mean_f1_average_map": 0.0}
