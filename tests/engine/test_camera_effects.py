"""What a camera does to a picture: nothing where it is told so, and each effect as it is described."""

import cv2
import numpy as np
import pytest

from engine.camera_effects import apply_camera_effects, crop_tightly
from engine.portrait_scenes import DomainRandomization

NO_FILM = {
    "blur": (0.0, 0.001), "defocused": 0.0, "moved": 0.0, "noise": (0.0, 0.001), "shrunk": 0.0, "sharpen": (0.0, 0.001),
    "cast": 0.0, "tint": 0.0, "low_light": 0.0, "tone_curve": 0.0, "contrast": 0.0, "vignette": (0.0, 0.001),
    "metering": 0.0, "monochrome": 0.0, "colour": (1.0, 1.0), "jpeg": (99, 100),
}  # fmt: skip


def test_a_camera_that_does_nothing_changes_nothing() -> None:
    image = cv2.resize(np.random.default_rng(1).integers(30, 220, (8, 8, 3), dtype=np.uint8), (128, 128))
    data, described = apply_camera_effects(
        np.asarray(image, np.uint8), np.random.default_rng(0), DomainRandomization(**NO_FILM)
    )
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert stored is not None and np.abs(stored.astype(int) - image).mean() < 2.0
    assert described["gain"] == 1 and described["blur"] < 0.01


@pytest.mark.parametrize("kind", [{"blur": (1.5, 1.6)}, {"defocused": 1.0, "defocus": (3.0, 3.1)}, {"moved": 1.0}])
def test_each_kind_of_blur_takes_detail_and_is_described(kind: dict) -> None:
    image = np.random.default_rng(2).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    data, described = apply_camera_effects(image, np.random.default_rng(0), DomainRandomization(**(NO_FILM | kind)))
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert stored is not None and stored.std() < 0.75 * cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).std()
    assert described["blur"] > 0.5


def test_dim_pictures_are_darker_and_noisier() -> None:
    image = np.full((128, 128, 3), 120, np.uint8)
    grey = []
    for chance in (0.0, 1.0):
        film = NO_FILM | {"low_light": chance, "noise": (4.0, 4.1)}
        data, _ = apply_camera_effects(image, np.random.default_rng(0), DomainRandomization(**film))
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert stored is not None
        grey.append((stored.mean(), stored.std()))
    assert grey[1][0] < 0.95 * grey[0][0] and grey[1][1] > 1.15 * grey[0][1]


def test_cameras_deepen_shadows_and_lift_lights() -> None:
    image = np.repeat(np.array([[60, 128, 200]], np.uint8), 64, axis=0).repeat(64, axis=1)[..., None].repeat(3, axis=2)
    kind: dict = NO_FILM | {"tone_curve": 0.6}
    film = DomainRandomization(**kind)
    stored = cv2.imdecode(
        np.frombuffer(apply_camera_effects(image, np.random.default_rng(0), film)[0], np.uint8), cv2.IMREAD_GRAYSCALE
    )
    assert stored is not None
    dark, middle, light = (int(stored[32, column]) for column in (32, 96, 160))
    assert dark < 50 and abs(middle - 128) < 5 and light > 210


def test_a_tight_photo_repeats_its_border_and_is_not_labelled_there() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 255, (100, 100, 3), dtype=np.uint8)
    labels = np.full((100, 100), 2, np.uint8)
    config = DomainRandomization(tight=1.0, lost=0.3)
    cut = [crop_tightly(image, labels, rng, config) for _ in range(20)]
    tops = []
    for cropped, told in cut:
        rows, columns = (told == 2).any(1), (told == 2).any(0)
        top = int(rows.argmax())
        tops.append(top)
        inside = np.ix_(rows, columns)
        assert (cropped[inside] == image[inside]).all() and (told[inside] == 2).all()
        assert (cropped[:top] == cropped[top]).all() and rows.sum() > 50 and columns.sum() > 60
    assert 0 in tops and max(tops) > 10
