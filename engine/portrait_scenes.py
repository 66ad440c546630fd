"""Random scenes of the portrait look: pose, lens, light, expression, gaze and background of a photo."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from engine import expressions
from engine.lights import LUMINANCE, Light, Panorama, auto_exposed, white_point
from engine.scenes import FRAME_WIDTH, PIVOT, Scenes, head_rotation, random_crop

SENSOR_WIDTH = 36.0  # millimetres: lenses are named by what they would be on full frame
FLASH_WIDTH, FLASH_RADIANCE = 0.98, 12.0  # cosine of the angle that a mirrored flash spans, and how bright it is
BACKGROUND_SIZE = 160
BRIGHTNESS = 1.2  # of the mean photo: faces of one skin tone come out as light as on photos of people


class DomainRandomization(BaseModel, frozen=True, extra="forbid"):
    """How much portraits of one person may differ: standard deviations, or ranges where two numbers are given.
    Pixels are those of a picture 256 wide."""

    yaw: float = 12.0  # degrees
    yaw_tail: float = 0.12  # share of heads turned anywhere up to max_yaw
    pitch: float = 6.0  # degrees
    roll: float = 5.0  # degrees
    max_yaw: float = 60.0  # degrees
    max_pitch: float = 25.0  # degrees
    expression: float = 0.7  # chance that a face is not neutral
    gaze: float = 7.0  # how far eyes look past the camera, degrees
    lens: tuple[float, float] = (24.0, 135.0)  # focal length, mm on full frame
    frame: tuple[float, float] = (0.4, 1.3)  # what the whole photo spans at the face, metres
    distance: tuple[float, float] = (0.35, 4.0)  # nearest and farthest camera, metres
    zoom: tuple[float, float] = (1.0, 1.3)  # width of the crop, 1 is the game's
    shift: float = 0.010  # of the face in the crop, metres
    saturation: tuple[float, float] = (0.3, 0.85)  # how much colour is left in the light
    exposure: float = 0.32  # natural logarithm
    flash: float = 0.08  # chance of a flash on the camera, mixed with what light there is
    cast: float = 30.0  # error of the white balance along the Planckian locus, mireds
    tint: float = 0.03  # the same between green and magenta, share
    colour: tuple[float, float] = (0.6, 1.5)  # how much colour a photo is left with, or given
    metering: float = 0.3  # how far the camera exposes for the middle; 1: always middle grey
    low_light: float = 0.10  # chance of a dim, noisy picture
    tone_curve: float = 0.45  # mean strength of the S-shaped curve that cameras give their pictures
    contrast: float = 0.25  # how much that varies
    vignette: tuple[float, float] = (0.0, 0.25)  # light lost in the corners
    blur: tuple[float, float] = (0.0, 0.9)  # Gaussian, sigma in pixels
    defocus: tuple[float, float] = (0.5, 2.5)  # radius of the disc, pixels
    defocused: float = 0.2  # chance of defocus
    motion: tuple[float, float] = (2.0, 7.0)  # length of the streak, pixels
    moved: float = 0.08  # chance of motion blur
    noise: tuple[float, float] = (0.0, 4.0)  # of 255 at middle grey
    shrink: tuple[float, float] = (0.35, 1.0)  # width at which some pictures were once stored
    shrunk: float = 0.25  # chance of such a past
    sharpen: tuple[float, float] = (0.0, 0.8)  # strength of the halo
    monochrome: float = 0.06  # chance
    jpeg: tuple[int, int] = (55, 96)  # quality
    occlusion: float = 0.1  # chance of something before the face
    cover: tuple[float, float] = (0.02, 0.35)  # share of the face that it hides
    tight: float = 0.2  # chance that a photo ends close to the face: its border is repeated beyond, as alignment does
    lost: float = 0.22  # the most that it lacks above, share of the height; at the sides and below half as much


def random_scene(
    rng: np.random.Generator,
    config: DomainRandomization,
    actions: Mapping[str, int],
    panoramas: Sequence[Panorama],
    backgrounds: Sequence[NDArray[np.uint8]],
) -> tuple[Scenes, dict[str, float | str]]:
    """One random scene and what describes it (degrees, metres, millimetres). `actions` numbers the face actions by
    name."""
    yaw, pitch, roll = _pose(rng, config)
    lens = float(np.exp(rng.uniform(*np.log(config.lens))))
    span = float(np.exp(rng.uniform(*np.log(config.frame))))
    distance = float(np.clip(span * lens / SENSOR_WIDTH, *config.distance))
    width = FRAME_WIDTH * float(rng.uniform(*config.zoom))
    shift = rng.normal(size=2) * config.shift
    panorama, turn = panoramas[int(rng.integers(len(panoramas)))], float(rng.random())
    flash = bool(rng.random() < config.flash)
    light = _desaturated(panorama.light(turn), float(rng.uniform(*config.saturation)))
    light = _with_flash(light, rng) if flash else light
    expression, weights = expressions.random_expression(rng, actions, config.expression)
    # Eyes mostly stay with the camera when the head turns away from it.
    kept = rng.uniform(0.0, 0.9)
    gaze_yaw, gaze_pitch = rng.normal(size=2) * config.gaze * (1.0, 0.6) + (-yaw * kept, pitch * kept)
    weights, gaze = expressions.turn_gaze(weights, actions, float(gaze_yaw), float(gaze_pitch))
    scene = Scenes(
        rotation=head_rotation(yaw, pitch, roll)[None],
        translation=np.array([[PIVOT[0] + shift[0], PIVOT[1] + 0.012 + shift[1], PIVOT[2] - distance]], np.float32),
        focal=np.array([distance / width], np.float32),
        expression=weights[None],
        gaze=gaze[None],
        sh=light.sh[None],
        key_direction=light.key_direction[None],
        key_colour=light.key_colour[None],
        exposure=np.array([BRIGHTNESS * np.exp(np.clip(rng.normal(), -2.0, 1.5) * config.exposure)], np.float32),
        environment=light.environment[None],
        background=_background(rng, panorama, turn, backgrounds)[None],
    )
    described = {
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "distance": distance,
        "lens": SENSOR_WIDTH * distance / span,
        "light": panorama.name + (" and flash" if flash else ""),
        "expression": expression,
        "exposure": float(scene.exposure[0]),
    }
    return scene, described


def _pose(rng: np.random.Generator, config: DomainRandomization) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees: most heads face the camera, some are turned anywhere."""
    turned = rng.random() < config.yaw_tail
    yaw = rng.uniform(-config.max_yaw, config.max_yaw) if turned and config.yaw else rng.normal() * config.yaw
    pitch, roll = rng.normal(size=2) * (config.pitch, config.roll)
    yaw = float(np.clip(yaw, -config.max_yaw, config.max_yaw))
    return yaw, float(np.clip(pitch, -config.max_pitch, config.max_pitch)), float(np.clip(roll, -30, 30))


def _desaturated(light: Light, saturation: float) -> Light:
    """Light with some of its colour taken out: a sky and a meadow colour a photographed face less than a render's,
    where they are all there is around it."""

    def less(colours: NDArray[np.float32]) -> NDArray[np.float32]:
        grey = (colours @ LUMINANCE)[..., None]
        return (grey + saturation * (colours - grey)).astype(np.float32)

    return Light(less(light.sh), light.key_direction, less(light.key_colour), less(light.environment).clip(0.0))


def _with_flash(light: Light, rng: np.random.Generator) -> Light:
    """A flash beside the lens takes the place of the strongest source; the surroundings keep their own colour."""
    towards = np.array([rng.normal() * 0.06, abs(rng.normal()) * 0.12, 1.0])
    towards = (towards / np.linalg.norm(towards)).astype(np.float32)
    share, colour = rng.uniform(0.4, 0.75), white_point(float(rng.uniform(0, 120)))
    environment = light.environment * (1 - share) * colour
    around = Panorama("flash", environment).directions
    environment[around @ towards > FLASH_WIDTH] += FLASH_RADIANCE * share
    return auto_exposed(
        Light(light.sh * np.float32(1 - share) * colour, towards, np.full(3, share, np.float32), environment)
    )


def _background(
    rng: np.random.Generator, panorama: Panorama, turn: float, backgrounds: Sequence[NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """The surroundings, another picture out of focus, or a wall [160, 160, 3]."""
    size, kind = BACKGROUND_SIZE, rng.random()
    if kind < 0.5:
        view = panorama.backdrop(turn, size, float(rng.uniform(0.4, 1.2)))
    elif kind < 0.82:
        part = random_crop(backgrounds, rng, (0.3, 1.0), (size, size))
        view = part[:, ::-1] if rng.random() < 0.5 else part
    else:
        towards, colour = rng.normal(size=2), rng.uniform(15, 245) * (1.0 + rng.normal(size=3) * 0.08)
        rows, columns = np.mgrid[:size, :size] / size - 0.5
        falloff = 1.0 + 0.35 * (towards[0] * rows + towards[1] * columns) - rng.uniform(0, 0.8) * (rows**2 + columns**2)
        view = (falloff[..., None] * colour + rng.normal(size=(size, size, 1)) * 2.0).clip(0, 255).astype(np.uint8)
    blur = float(np.exp(rng.uniform(np.log(0.4), np.log(7.0))))
    dimmed = view * rng.uniform(0.55, 1.1)
    return cv2.GaussianBlur(dimmed.clip(0, 255).astype(np.uint8), (0, 0), blur).astype(np.uint8)
