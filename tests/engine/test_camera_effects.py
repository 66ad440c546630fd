"""What a camera does to a picture: nothing where it is told so, and each effect as it is described."""

import cv2
import numpy as np
import pytest

from engine.camera_effects import apply_camera_effects
from engine.portrait_scenes import DomainRandomization

NO_FILM = {
    "blur": (0.0, 0.001), "defocused": 0.0, "moved": 0.0, "noise": (0.0, 0.001), "shrunk": 0.0, "sharpen": (0.0, 0.001),
    "cast": 0.0, "tint": 0.0, "low_light": 0.0, "contrast": 0.0, "vignette": (0.0, 0.001), "metering": 0.0,
    "monochrome": 0.0, "colour": (1.0, 1.0), "jpeg": (99, 100),
}  # fmt: skip  # fmt: skip


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
