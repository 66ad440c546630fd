from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from models.alignment import NoFace
from models.encoder import Architecture, Encoder
from models.images import BadImage, decode_photo, encode_jpeg
from models.predictor import Prediction, Predictor, remarks_of
from tests.models.support import LANDMARKER, PHOTOS, recogniser


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(0)
    with Predictor(LANDMARKER, recogniser(), Encoder(Architecture(5, (3,), 1024))) as ready:
        yield ready


def test_a_photo_gives_parameters_pose_and_box(predictor: Predictor) -> None:
    result = predictor.predict(PHOTOS[0].read_bytes())
    assert result.x.shape == (8,) and result.x.dtype == np.float32 and (result.x >= 0).all() and (result.x <= 1).all()
    assert result.aligned.shape == (256, 256, 3) and result.faces == 1 and result.boxes == (result.box,)
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


def _darkened(photo: np.ndarray) -> np.ndarray:
    return (photo * 0.15).astype(np.uint8)


def _overexposed(photo: np.ndarray) -> np.ndarray:
    return np.clip(photo * 0.15 + 225.0, 0, 255).astype(np.uint8)


def _blurred(photo: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(photo, (0, 0), 9)


def _small(photo: np.ndarray) -> np.ndarray:
    return cv2.resize(photo, None, fx=0.08, fy=0.08, interpolation=cv2.INTER_AREA)


def _two(photo: np.ndarray) -> np.ndarray:
    return np.hstack([photo, photo])


def _grey(photo: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (_darkened, "dark", "very dark"),
        (_overexposed, "overexposed", "overexposed"),
        (_blurred, "blurred", "blurred"),
        (_small, "small_face", "pixels apart"),
        (_two, "several_faces", "2 faces"),
        (_grey, "grey", "no colours"),
    ],
)
def test_what_is_wrong_with_a_photo_is_remarked_by_code_and_in_words(
    predictor: Predictor, change: Callable[[np.ndarray], np.ndarray], code: str, words: str
) -> None:
    (found,) = predictor.predict_pictures([change(decode_photo(PHOTOS[-1]))])
    assert isinstance(found, Prediction)
    remarks = dict(found.remarks)
    assert words in remarks[code] and found.warnings == tuple(text for _, text in found.remarks)


def test_a_large_jpeg_is_read_from_a_smaller_picture(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    large = cv2.resize(decode_photo(PHOTOS[-1]), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    data = encode_jpeg(large)
    (whole,) = predictor.predict_pictures([decode_photo(data)])
    assert isinstance(whole, Prediction)
    monkeypatch.setattr("models.predictor.decode_photo", None)  # whoever decodes all of it fails
    found = predictor.predict(data)
    assert np.abs(np.subtract(found.box, whole.box)).max() < 0.005 * max(large.shape) and found.boxes == (found.box,)
    assert np.abs(found.x - whole.x).max() < 0.01 and found.remarks == whole.remarks


def test_a_small_face_in_a_large_jpeg_is_read_from_the_photo_as_it_is(predictor: Predictor) -> None:
    photo = cv2.resize(decode_photo(PHOTOS[-1]), (400, 460), interpolation=cv2.INTER_AREA)
    large = np.full((2600, 3000, 3), 90, np.uint8)
    large[900 : 900 + 460, 1200 : 1200 + 400] = photo
    data = encode_jpeg(large)
    (whole,) = predictor.predict_pictures([decode_photo(data)])
    found = predictor.predict(data)
    assert isinstance(whole, Prediction) and found.box == whole.box
    assert np.array_equal(found.aligned, whole.aligned) and np.array_equal(found.x, whole.x)


def test_every_face_is_told_the_one_that_was_taken_first(predictor: Predictor) -> None:
    photo = decode_photo(PHOTOS[-1])
    (found,) = predictor.predict_pictures([_two(photo)])
    assert isinstance(found, Prediction) and found.faces == 2 == len(found.boxes) and found.boxes[0] == found.box
    assert abs(found.boxes[1][0] - found.boxes[0][0]) == pytest.approx(photo.shape[1], rel=0.05)


def test_a_wide_smile_is_remarked_and_a_calm_mouth_is_not(predictor: Predictor) -> None:
    by_name = {path.stem: path for path in PHOTOS}
    codes = [[code for code, _ in predictor.predict(by_name[name]).remarks] for name in ("ardern_2018", "macron_2014")]
    assert codes == [["wide_smile"], []]


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_turned_photo_gives_the_parameters_of_the_upright_one(predictor: Predictor, turn: int) -> None:
    photo = decode_photo(PHOTOS[2])
    upright, turned = predictor.predict_pictures([photo, np.ascontiguousarray(np.rot90(photo, turn))])
    assert isinstance(upright, Prediction) and isinstance(turned, Prediction)
    assert np.abs(turned.x - upright.x).max() < 0.01 and turned.remarks == upright.remarks
    assert (turned.yaw, turned.pitch) == pytest.approx((upright.yaw, upright.pitch), abs=0.5)


def test_a_face_that_may_be_none_is_remarked(predictor: Predictor) -> None:
    photo = decode_photo(next(p for p in PHOTOS if p.stem == "ardern_2018"))
    (found,) = predictor.predict_pictures([cv2.GaussianBlur(photo, (0, 0), 21)])
    assert isinstance(found, Prediction) and "which way up" in dict(found.remarks)["doubtful_face"]


@pytest.mark.parametrize(
    ("yaw", "pitch", "remark"),
    [
        (-42.4, 0.0, ("side_view", "side view: the head is turned by 42 degrees")),
        (0.0, 35.0, ("tilted", "the head is tilted up by 35 degrees")),
        (0.0, -35.0, ("tilted", "the head is tilted down by 35 degrees")),
    ],
)
def test_a_turned_head_is_remarked(predictor: Predictor, yaw: float, pitch: float, remark: tuple[str, str]) -> None:
    crop = predictor.predict(PHOTOS[0]).aligned
    assert remarks_of(1, yaw, pitch, 60.0, crop) == (remark,)


def test_several_photos_of_a_person_are_read_from_the_mean_of_what_each_shows(predictor: Predictor) -> None:
    first, second = predictor.predict(PHOTOS[0]), predictor.predict(PHOTOS[1])
    both = predictor.together([first, second])
    assert np.allclose(both.features, (first.features + second.features) / 2, atol=1e-6)
    with torch.no_grad():
        assert np.allclose(both.x, predictor.encoder(torch.from_numpy(both.features)[None])[0].numpy(), atol=1e-6)
    assert np.linalg.norm(both.embedding) == pytest.approx(1.0, abs=1e-5)
    assert both.aligned is min((first, second), key=lambda one: abs(one.yaw) + abs(one.pitch)).aligned
    assert np.allclose(predictor.together([first]).x, first.x, atol=1e-6)
    with pytest.raises(ValueError, match="no photo"):
        predictor.together([])


@pytest.mark.slow
def test_a_mirroring_encoder_reads_a_photo_and_its_mirror_image_alike() -> None:
    torch.manual_seed(0)
    encoder = Encoder(Architecture(5, (3,), 1024, mirror=True))
    identity = recogniser()
    faces = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(encoder.read(identity, faces), encoder.read(identity, faces.flip(-1)), atol=1e-5)
