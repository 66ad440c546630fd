"""A training step of every network on another device than the CPU: nothing that it needs is left behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor, nn

from models.identity import IdentityModel
from models.identity_imitator import IdentityImitator
from models.imitator import Imitator
from models.parsing import FaceParser
from stages import encoder, identity_imitator, identity_model, imitator, parsing_model
from stages.context import Context
from stages.training import Training, encoder_config
from stages.training.choice_readings import Look
from tests.other_device import DEVICE, other_device, step_there
from tests.stages import small_tables

pytestmark = pytest.mark.slow
TRAINING = Training(steps=1, batch=4)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_tables.encoder_inputs(tmp_path_factory.mktemp("devices"))


class _Trained(Exception):
    """The stage came to its training; the rest of it is of no interest here."""


def _trained_there(stage: Any, monkeypatch: pytest.MonkeyPatch, run: Callable[[], object]) -> set[str]:
    """The parameters that a stage's own training step gives a gradient on the other device."""
    found: list[set[str]] = []

    def train(name: str, module: nn.Module, batch_at: Callable, loss_of: Callable, *_: object) -> NoReturn:
        found.append(step_there(module, batch_at(0), loss_of))
        raise _Trained

    monkeypatch.setattr(stage, "train", train)
    with pytest.raises(_Trained):
        run()
    return found[0]


def test_a_step_of_the_imitator(inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, there = imitator.Config(size=32, width=0.125, training=TRAINING), Context(device=DEVICE)
    found = _trained_there(imitator, monkeypatch, lambda: imitator.run(inputs, config, tmp_path, there))
    assert found == {name for name, _ in Imitator(1, 32, 0.125).named_parameters()}


def test_a_step_of_the_parser(inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parsing_model.Config(depth=18, width=0.125, dilate=False, size=64, training=TRAINING)
    there = Context(device=DEVICE)
    found = _trained_there(parsing_model, monkeypatch, lambda: parsing_model.run(inputs, config, tmp_path, there))
    assert found == {name for name, _ in FaceParser(18, 0.125, False).named_parameters()}


def test_a_step_of_the_identity_imitator(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = identity_imitator.Config(hidden=16, training=TRAINING)
    run = lambda: identity_imitator.run(inputs, config, tmp_path, Context())  # noqa: E731
    found = _trained_there(identity_imitator, monkeypatch, run)
    assert found == {name for name, _ in IdentityImitator(1, 8, 16).named_parameters()}


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_a_step_of_the_recognisers(inputs: dict[str, Path], trainable: str) -> None:
    config = identity_model.Config(trainable=trainable, training=TRAINING)  # pyright: ignore[reportArgumentType]
    faces = identity_model.FACES.read(inputs["aligned_faces"])
    model = identity_model._start(inputs, config)
    tuner = identity_model._Tuner(model, config, Context(), faces)
    found = step_there(tuner, tuner.batch_at(0), tuner.loss_of)
    learning = {name for name, value in tuner.named_parameters() if value.requires_grad}
    assert found == {name for name in learning if "sex_and_age" not in name}  # which no embedding is made of
    assert "margin_head.directions" in found and (len(found) > 20) == (trainable == "all")


def test_a_step_of_the_encoder_by_every_term(inputs: dict[str, Path]) -> None:
    terms = encoder_config.Terms(decay=0.01, recognised=0.1)
    config = encoder.Config(
        training=TRAINING, content_size=64, supervised_batch=8, hidden=32, terms=terms, map_features=4, map_channels=4,
        mirror=True, align_domains=True, linear_start=True, feature_noise=0.1,
        appearance=Look(channels=8, features=6),
    )  # fmt: skip
    stage = encoder._Stage(inputs, config, Context())
    batch = stage.batch_at(0)
    found = step_there(stage.encoder, batch, stage.loss_of, stage.loss)
    assert {"linear.weight", "sliders.weight"} <= found
    assert all(value.grad is None for value in stage.loss.parameters())


@pytest.mark.parametrize("by", ["product", "index"])
def test_a_tensor_left_on_the_cpu_is_found(by: str) -> None:
    """The tests' own check."""
    layer, left = nn.Linear(2, 2), torch.ones(2, 2)

    def loss_of(batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        found = layer(batch["x"]) @ left if by == "product" else layer(left[batch["at"]])
        return found.sum(), {}

    with pytest.raises(RuntimeError, match="same device"):
        step_there(layer, {"x": torch.ones(1, 2), "at": torch.zeros(1, dtype=torch.long)}, loss_of)


def test_a_photo_is_read_there(inputs: dict[str, Path]) -> None:
    config = encoder.Config(
        training=TRAINING, map_features=4, map_channels=4, hidden=32, content_size=64,
        appearance=Look(channels=8, features=6),
    )  # fmt: skip
    stage, identity = encoder._Stage(inputs, config, Context()), IdentityModel.load(inputs["identity_model"])
    with other_device(), torch.no_grad():
        read = stage.encoder.to(DEVICE).read(identity.to(DEVICE), torch.rand(2, 3, 256, 256).to(DEVICE))
        assert read.device.type == DEVICE and read.shape == (2, stage.schema.width)
