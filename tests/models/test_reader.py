"""Networks prepared to read photos: what rounding changes, where half precision is taken, and what it costs."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from models.encoder import Architecture, Encoder
from models.identity import IdentityModel
from models.precision import best_precision, read_in
from models.predictor import Predictor
from models.reader import Reader
from tests.models.support import FACERES, LANDMARKER, PHOTOS, aligned_photos

PARSER = {"depth": 18, "width": 0.25, "dilate": True, "stages": 3}
needs_bfloat16 = pytest.mark.skipif(
    best_precision() != "bfloat16", reason="this processor has no instructions for bfloat16"
)


@pytest.fixture(scope="module")
def identity() -> IdentityModel:
    return IdentityModel.from_file("faceres", FACERES)


@pytest.fixture(scope="module")
def encoder(identity: IdentityModel) -> Encoder:
    """Untrained, but for what is read of maps: there every number is seen."""
    torch.manual_seed(0)
    shapes = identity.backbone.level_shapes
    readings = {"level_shapes": shapes, "level_features": (8, 6), "choice_families": [[0, 1, 1]], "scales": [False]}
    architecture = Architecture(
        5, (3,), 1024, shapes[-1], map_channels=8, map_features=7, mirror=True, parser=PARSER, sex_and_age_of_maps=True,
        **readings,
    )  # fmt: skip
    found = Encoder(architecture).eval()
    for name, buffer in found.named_buffers():
        if name.endswith("_basis"):
            nn.init.normal_(buffer, std=0.1)
    return found


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.from_numpy(aligned_photos()[:2]).permute(0, 3, 1, 2).contiguous().float() / 255


@pytest.fixture(scope="module")
def plain(identity: IdentityModel, encoder: Encoder, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        return encoder.look(identity, faces)


def test_in_single_precision_a_reader_gives_what_the_networks_give(
    identity: IdentityModel, encoder: Encoder, faces: torch.Tensor, plain: tuple[torch.Tensor, torch.Tensor]
) -> None:
    before = {name: value.clone() for name, value in (*identity.state_dict().items(), *encoder.state_dict().items())}
    reader = Reader(identity, encoder)
    with torch.inference_mode():
        embeddings, features = reader.look(faces)
    assert torch.allclose(embeddings, plain[0], atol=1e-5)
    assert torch.allclose(features, plain[1], atol=1e-4, rtol=1e-4)
    after = {**identity.state_dict(), **encoder.state_dict()}
    assert all(torch.equal(after[name], value) for name, value in before.items())


@needs_bfloat16
def test_half_precision_changes_little_and_depthwise_convolutions_have_none_of_it(
    identity: IdentityModel, encoder: Encoder, faces: torch.Tensor, plain: tuple[torch.Tensor, torch.Tensor]
) -> None:
    reader = Reader(identity, encoder, "bfloat16")
    with torch.inference_mode():
        embeddings, features = reader.look(faces)
        again = reader.look(faces)[1]
    assert torch.equal(features, again)
    assert functional.cosine_similarity(embeddings, plain[0]).min() > 0.9995
    seen, change = plain[1][:, :-2], (features - plain[1])[:, :-2]  # without sex and age, in other units
    assert 0 < change.norm() / seen.norm() < 0.04
    packed: list[Any] = [layer for layer in reader.identity.modules() if hasattr(layer, "plain")]
    assert {str(layer.plain.dtype) for layer in packed if layer.how[-1] > 1} == {"torch.float32"}
    assert {str(layer.plain.dtype) for layer in packed if layer.plain.shape[2:] == (1, 1)} == {"torch.bfloat16"}


@pytest.mark.parametrize(
    ("known", "expected"),
    [({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({"avx512_f": True}, "float32")],
)
def test_half_precision_is_taken_where_the_processor_has_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, bool], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert best_precision() == expected


@needs_bfloat16
def test_a_predictor_is_told_to_read_fast_and_its_answers_say_so(identity: IdentityModel, encoder: Encoder) -> None:
    with Predictor(LANDMARKER, identity, encoder) as predictor:
        exact = predictor.predict(PHOTOS[0])
        read_in(predictor, "float32")
        assert np.array_equal(predictor.predict(PHOTOS[0]).x, exact.x)
        read_in(predictor, "auto")
        fast = predictor.predict(PHOTOS[0])
    assert (exact.precision, fast.precision) == ("float32", "bfloat16")
    assert 0 < np.abs(fast.x - exact.x).max() < 0.02


def test_a_version_of_before_reads_as_it_did() -> None:
    read_in(old := SimpleNamespace(), "auto")
    assert vars(old) == {}
