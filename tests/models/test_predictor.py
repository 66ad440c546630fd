import numpy as np
import pytest
import torch

from models.alignment import NoFace
from models.encoder import Encoder
from models.identity import IdentityModel
from models.images import BadImage, encode_jpeg
from models.predictor import Prediction, Predictor
from tests.models.support import LANDMARKER, PHOTOS, SFACE


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(0)
    with Predictor(LANDMARKER, IdentityModel.from_onnx(SFACE), Encoder(5, (3,))) as ready:
        yield ready


def test_a_photo_gives_parameters_pose_and_box(predictor: Predictor) -> None:
    result = predictor.predict(PHOTOS[0].read_bytes())
    assert result.x.shape == (8,) and result.x.dtype == np.float32 and (result.x >= 0).all() and (result.x <= 1).all()
    assert result.aligned.shape == (256, 256, 3) and result.faces == 1 and result.warnings == ()
    assert result.box[0] < result.box[2] and result.box[1] < result.box[3] and abs(result.yaw) < 20
    assert np.linalg.norm(result.embedding) == pytest.approx(1.0, abs=1e-5)


def test_one_bad_photo_does_not_stop_the_others(predictor: Predictor) -> None:
    blank = encode_jpeg(np.full((300, 300, 3), 90, np.uint8))
    results = predictor.predict_many([PHOTOS[0], b"no picture", blank, PHOTOS[1]])
    assert [type(result) for result in results] == [Prediction, BadImage, NoFace, Prediction]
    alone = predictor.predict(PHOTOS[1])
    assert isinstance(results[3], Prediction) and np.allclose(results[3].x, alone.x, atol=1e-5)


def test_a_single_bad_photo_raises(predictor: Predictor) -> None:
    with pytest.raises(BadImage):
        predictor.predict(b"")


def test_a_blurred_photo_is_warned_about(predictor: Predictor) -> None:
    import cv2

    from models.images import decode_photo

    blurred = cv2.GaussianBlur(decode_photo(PHOTOS[-1]), (0, 0), 9)
    assert any("blurred" in warning for warning in predictor.predict(encode_jpeg(blurred)).warnings)
