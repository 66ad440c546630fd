"""Random photographers: poses, lenses and light keep their ranges, and one seed always takes one picture."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.camera_effects import apply_camera_effects
from engine.lights import LUMINANCE, Panorama
from engine.portrait_scenes import DomainRandomization, random_scene
from engine.renderer import Renderer
from engine.scenes import FRAME_WIDTH, Scenes, load_backgrounds, load_panoramas


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
    return [
        random_scene(rng, DomainRandomization(), renderer.blend.actions, panoramas, backgrounds) for _ in range(400)
    ]


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
        assert 0.3 < max(level, float(scene.exposure[0] * (sh[0] @ LUMINANCE))) < 3.4, described


def test_a_flash_lights_from_the_camera(renderer: Renderer, panoramas: list, backgrounds: list) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        scene, described = random_scene(
            rng, DomainRandomization(flash=1.0), renderer.blend.actions, panoramas, backgrounds
        )
        assert scene.key_direction[0, 2] > 0.85 and str(described["light"]).endswith(" and flash")


def test_the_same_seed_takes_the_same_picture(renderer: Renderer, panoramas: list, backgrounds: list) -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    for seed in range(12):
        scenes = [
            random_scene(
                np.random.default_rng(seed), DomainRandomization(), renderer.blend.actions, panoramas, backgrounds
            )
            for _ in range(2)
        ]
        assert scenes[0][1] == scenes[1][1]
        np.testing.assert_array_equal(scenes[0][0].background, scenes[1][0].background)
        first, second = (
            apply_camera_effects(image, np.random.default_rng(seed), DomainRandomization()) for _ in range(2)
        )
        assert first == second
