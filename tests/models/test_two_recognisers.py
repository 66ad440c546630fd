"""FaceRes and SFace side by side: what each sees is what it sees alone."""

import pytest
import torch
from torch import Tensor

from models.faceres import FaceRes
from models.identity import IdentityModel
from models.sface import SFace
from models.two_recognisers import SHARE, TwoRecognisers
from tests.models.support import FACERES, SFACE, aligned_photos

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def faces() -> Tensor:
    return torch.from_numpy(aligned_photos()[:3]).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def two() -> IdentityModel:
    model = IdentityModel(TwoRecognisers())
    backbone = model.backbone
    assert isinstance(backbone, TwoRecognisers)
    backbone.faceres.load_state_dict(FaceRes.read(FACERES))
    backbone.sface.load_state_dict(SFace.read(SFACE))
    return model.eval().requires_grad_(False)


def test_a_cosine_is_the_mean_of_both_weighted_by_their_share(two: IdentityModel, faces: Tensor) -> None:
    wide, close = (IdentityModel.from_file(kind, path) for kind, path in (("faceres", FACERES), ("sface", SFACE)))
    with torch.no_grad():
        both, first, second = (model(faces) for model in (two, wide, close))
    cosines = [embeddings @ embeddings.T for embeddings in (both, first, second)]
    assert torch.allclose(cosines[0], SHARE * cosines[1] + (1 - SHARE) * cosines[2], atol=0.01)
    assert torch.allclose(both.norm(dim=1), torch.ones(3), atol=1e-5)


def test_the_levels_end_in_the_map_that_the_embedding_is_made_of(two: IdentityModel, faces: Tensor) -> None:
    backbone = two.backbone
    assert isinstance(backbone, TwoRecognisers)
    crops = two.crop(faces)
    levels = backbone.levels(crops)
    assert [tuple(level.shape[1:]) for level in levels] == list(backbone.level_shapes)
    assert torch.allclose(levels[-1], backbone.features(crops), atol=1e-5)
    assert torch.equal(backbone.attributes(levels[-1]), backbone.faceres.attributes(backbone.faceres.features(crops)))


def test_centred_faceres_sees_nothing_in_the_mean_face_and_sface_is_left_alone(faces: Tensor) -> None:
    torch.manual_seed(0)
    model = IdentityModel(TwoRecognisers()).eval()
    backbone = model.backbone
    assert isinstance(backbone, TwoRecognisers)
    before = backbone.sface.state_dict()
    with torch.no_grad():
        seen = backbone.features(model.crop(faces))
        backbone.centre(seen)
        assert torch.allclose(backbone.faceres.head(seen[:, :1024]).mean(0), torch.zeros(1024), atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in backbone.sface.state_dict().items())
    assert {id(layer) for layer in backbone.last_layers} == {id(layer) for layer in backbone.sface.last_layers}
