"""Random photographers: poses, lenses, light and film keep their ranges, and one seed always takes one picture."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine import expressions
from engine.camera import Nuisance, develop, portrait, white_point
from engine.head import LEFT_EYE, RIGHT_EYE
from engine.lights import LUMINANCE, Panorama
from engine.renderer import Renderer
from engine.scenes import FRAME_WIDTH, Scenes, load_backgrounds, load_panoramas

NO_FILM = {
    "blur": (0.0, 0.001), "defocused": 0.0, "moved": 0.0, "noise": (0.0, 0.001), "shrunk": 0.0, "sharpen": (0.0, 0.001),
    "cast": 0.0, "tint": 0.0, "low_light": 0.0, "contrast": 0.0, "vignette": (0.0, 0.001), "metering": 0.0,
    "monochrome": 0.0, "jpeg": (99, 100),
}  # fmt: skip


@pytest.fixture(scope="module")
def panoramas(embedded: Path) -> list[Panorama]:
    return load_panoramas(embedded)


@pytest.fixture(scope="module")
def backgrounds(embedded: Path) -> list[NDArray[np.uint8]]:
    return load_backgrounds(embedded)


@pytest.fixture(scope="module")
def many(
    renderer: Renderer, panoramas: list[Panorama], backgrounds: list[NDArray[np.uint8]]
) -> list[tuple[Scenes, dict[str, float | str]]]:
    rng = np.random.default_rng(3)
    return [portrait(rng, Nuisance(), renderer.blend.actions, panoramas, backgrounds) for _ in range(400)]


def test_most_heads_face_the_camera_and_some_are_turned_up_to_the_limit(many: list) -> None:
    yaw, pitch = (np.array([described[name] for _, described in many]) for name in ("yaw", "pitch"))
    assert (np.abs(yaw) < 20).mean() > 0.6
    assert 0.03 < (np.abs(yaw) > 35).mean() < 0.2 and np.abs(yaw).max() > 50
    assert np.abs(yaw).max() <= 60 and np.abs(pitch).max() <= 25


def test_a_face_keeps_its_place_in_the_frame_whatever_the_lens(many: list) -> None:
    """The crop spans the same width at the face from .35 to 4 metres."""
    for scene, described in many:
        assert 1.0 <= described["distance"] / scene.focal[0] / FRAME_WIDTH <= 1.301
    lenses = np.array([described["lens"] for _, described in many])
    assert lenses.min() < 32 and lenses.max() > 120
    assert np.ptp([described["distance"] for _, described in many]) > 2.5


def test_every_panorama_lights_some_portrait_and_none_lights_it_black(many: list) -> None:
    assert len({str(described["light"]).removesuffix(" and flash") for _, described in many}) == 18
    for scene, described in many:
        sh, towards = scene.sh[0], float(scene.key_direction[0, 2])
        facing = sh[0] + sh[2] + 2 * sh[6] + scene.key_colour[0] * max(towards, 0.0)
        level = float(scene.exposure[0] * (facing @ LUMINANCE))
        assert 0.3 < max(level, float(scene.exposure[0] * (sh[0] @ LUMINANCE))) < 2.6, described


def test_a_flash_lights_from_the_camera(renderer: Renderer, panoramas: list, backgrounds: list) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        scene, described = portrait(rng, Nuisance(flash=1.0), renderer.blend.actions, panoramas, backgrounds)
        assert scene.key_direction[0, 2] > 0.85 and str(described["light"]).endswith(" and flash")


def test_the_same_seed_takes_the_same_picture(renderer: Renderer, panoramas: list, backgrounds: list) -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    for seed in range(12):
        scenes = [
            portrait(np.random.default_rng(seed), Nuisance(), renderer.blend.actions, panoramas, backgrounds)
            for _ in range(2)
        ]
        assert scenes[0][1] == scenes[1][1]
        np.testing.assert_array_equal(scenes[0][0].background, scenes[1][0].background)
        first, second = (develop(image, np.random.default_rng(seed), Nuisance()) for _ in range(2))
        assert first == second


def test_every_action_occurs_within_its_limit_and_no_tongue_goes_through_lips(renderer: Renderer) -> None:
    actions, rng = renderer.blend.actions, np.random.default_rng(5)
    seen = np.stack([_expression(rng, actions) for _ in range(3000)])
    assert (seen.max(axis=0) > 0.15).all(), [name for name, k in actions.items() if seen[:, k].max() <= 0.15]
    for name, limit in expressions.LIMITS.items():
        assert seen[:, actions[name]].max() <= limit + 1e-6
    assert (seen[:, actions["mouthClose"]] <= seen[:, actions["jawOpen"]] + 1e-6).all()
    assert (seen[seen[:, actions["tongueOut"]] > 0, actions["jawOpen"]] > 0.05).all()
    left, right = seen[:, actions["mouthSmileLeft"]], seen[:, actions["mouthSmileRight"]]
    assert np.corrcoef(left, right)[0, 1] > 0.8, "both sides smile together"


def _expression(rng: np.random.Generator, actions: dict[str, int]) -> NDArray[np.float32]:
    weights = expressions.draw(rng, actions, 1.0)[1]
    return expressions.look(weights, actions, float(rng.normal() * 15), float(rng.normal() * 10))[0]


def test_lids_follow_eyes_that_look_down(renderer: Renderer) -> None:
    """Less of the eyes shows when they look down, but they do not close."""
    actions = renderer.blend.actions
    scene = Scenes.game(1)
    sliders, choices = renderer.schema.neutral_sliders()[None], renderer.schema.neutral_discrete()[None]
    opening = []
    for pitch in (0.0, 16.0):
        weights, gaze = expressions.look(np.zeros(len(actions), np.float32), actions, 0.0, pitch)
        looking = replace(scene, expression=weights[None], gaze=gaze[None])
        labels = renderer.render(sliders, choices, looking, 256).labels[0]
        opening.append(int(np.isin(labels, (LEFT_EYE, RIGHT_EYE)).sum()))
    assert 0.3 * opening[0] < opening[1] < 0.85 * opening[0]


def test_a_camera_that_does_nothing_changes_nothing() -> None:
    image = cv2.resize(np.random.default_rng(1).integers(30, 220, (8, 8, 3), dtype=np.uint8), (128, 128))
    data, described = develop(np.asarray(image, np.uint8), np.random.default_rng(0), Nuisance(**NO_FILM))
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert stored is not None and np.abs(stored.astype(int) - image).mean() < 2.0
    assert described["gain"] == 1 and described["blur"] < 0.01


@pytest.mark.parametrize("kind", [{"blur": (1.5, 1.6)}, {"defocused": 1.0, "defocus": (3.0, 3.1)}, {"moved": 1.0}])
def test_each_kind_of_blur_takes_detail_and_is_described(kind: dict) -> None:
    image = np.random.default_rng(2).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    data, described = develop(image, np.random.default_rng(0), Nuisance(**(NO_FILM | kind)))
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert stored is not None and stored.std() < 0.75 * cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).std()
    assert described["blur"] > 0.5


def test_dim_pictures_are_darker_and_noisier() -> None:
    image = np.full((128, 128, 3), 120, np.uint8)
    grey = []
    for chance in (0.0, 1.0):
        film = NO_FILM | {"low_light": chance, "noise": (4.0, 4.1)}
        data, _ = develop(image, np.random.default_rng(0), Nuisance(**film))
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert stored is not None
        grey.append((stored.mean(), stored.std()))
    assert grey[1][0] < 0.95 * grey[0][0] and grey[1][1] > 1.15 * grey[0][1]


def test_white_points_follow_the_planckian_locus() -> None:
    """Candle light, 1850 K, is orange: linear sRGB about (1, .23, 0) by Planck's law and the CIE 1931 observer."""
    candle = white_point(1e6 / 1850 - 1e6 / 6500)
    assert candle[1] / candle[0] == pytest.approx(0.23, abs=0.06) and candle[2] / candle[0] < 0.05
    np.testing.assert_allclose(white_point(0.0), 1.0, atol=1e-6)
    cool = white_point(-60.0)
    assert cool[0] < 1 < cool[2]
