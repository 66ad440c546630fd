"""Networks prepared for inference: same answers, less work, the network itself left alone."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from models.encoder import Architecture, Encoder
from models.identity import IdentityModel, Kind, build
from models.inference import optimize_for_inference
from models.predictor import Predictor
from tests.models.support import LANDMARKER, PHOTOS, SFACE, recogniser

TOLERANCE = 1e-4
"""Of parameters, all in [0, 1]."""


def _identity(kind: str) -> IdentityModel:
    torch.manual_seed(0)
    return IdentityModel.from_file("sface", SFACE) if kind == "sface" else build(kind).eval()


@pytest.mark.slow
@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_prepared_model_gives_the_same_maps_and_embeddings(kind: str) -> None:
    model, faces = _identity(kind), torch.rand(3, 3, 96, 96)
    ready = optimize_for_inference(model)
    with torch.inference_mode():
        crops = model.crop(faces)
        assert torch.allclose(ready.backbone.features(crops), model.backbone.features(crops), atol=1e-4)
        assert torch.allclose(ready(faces), model(faces), atol=1e-5)


def test_no_batch_normalisation_is_left_between_convolutions() -> None:
    ready = optimize_for_inference(_identity("sface"))
    kinds = [type(layer) for layer in ready.backbone.get_submodule("convolutions").modules()]
    assert nn.BatchNorm2d not in kinds and nn.Conv2d not in kinds and kinds.count(nn.PReLU) == 27


@pytest.mark.slow
def test_the_model_stays_as_it_was_and_shares_what_was_not_rewritten() -> None:
    model = _identity("sface")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ready = optimize_for_inference(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert before.keys() == model.state_dict().keys()
    assert ready.backbone.fc.weight is model.backbone.fc.weight
    faces = torch.rand(1, 3, 96, 96, requires_grad=True)
    model(faces).sum().backward()
    assert faces.grad is not None and faces.grad.abs().sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize("mirror", [False, True])
def test_a_predictor_answers_as_its_networks_do(mirror: bool) -> None:
    torch.manual_seed(0)
    encoder = Encoder(Architecture(5, (3,), 1024, map_shape=(1024, 7, 7), map_features=9, mirror=mirror))
    nn.init.normal_(encoder.features.directions.channel_basis, std=0.01)
    nn.init.normal_(encoder.features.directions.map_basis, std=0.01)
    with Predictor(LANDMARKER, recogniser(), encoder) as predictor, torch.inference_mode():
        found = predictor.predict(PHOTOS[0])
        face = torch.from_numpy(found.aligned).permute(2, 0, 1)[None].float() / 255
        plain = encoder.read(predictor.identity, face)[0].numpy()
    assert np.ptp(plain[:5]) > 100 * TOLERANCE
    assert np.abs(found.x - plain).max() <= TOLERANCE


@pytest.mark.slow
def test_a_photo_is_read_alike_whatever_is_read_beside_it() -> None:
    torch.manual_seed(0)
    with Predictor(LANDMARKER, recogniser(), Encoder(Architecture(5, (3,), 1024, mirror=True))) as predictor:
        together = predictor.predict_many(PHOTOS[:3])
        for photo, found in zip(PHOTOS[:3], together, strict=True):
            alone = predictor.predict(photo)
            assert not isinstance(found, Exception) and np.abs(alone.x - found.x).max() <= 1e-6
