"""Random photographers: scenes for the portrait look, and what a camera does to a picture after the lens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from engine import expressions
from engine.lights import LUMINANCE, Light, Panorama, scaled
from engine.scenes import FRAME_WIDTH, PIVOT, Scenes

SENSOR_WIDTH = 36.0  # millimetres: lenses are named by what they would be on full frame
DAYLIGHT = 6500.0  # kelvin, what sRGB calls white
MAX_MIREDS = 80.0  # no automatic white balance is farther off
FLASH_WIDTH, FLASH_RADIANCE = 0.98, 12.0  # cosine of the angle that a mirrored flash spans, and how bright it is
MIDDLE_GREY = 0.22  # linear, under a tone curve that is a square root
METERED = (0.6, 1.7)  # the least and the most that metering changes the light by
BACKGROUND_SIZE = 160


class Nuisance(BaseModel, frozen=True, extra="forbid"):
    """How much portraits of one person may differ: standard deviations, or ranges where two numbers are given.
    Pixels are those of a picture 256 wide."""

    yaw: float = Field(default=12.0, description="degrees")
    yaw_tail: float = Field(default=0.12, description="share of heads turned anywhere up to max_yaw")
    pitch: float = Field(default=6.0, description="degrees")
    roll: float = Field(default=5.0, description="degrees")
    max_yaw: float = Field(default=60.0, description="degrees")
    max_pitch: float = Field(default=25.0, description="degrees")
    expression: float = Field(default=0.7, description="chance that a face is not neutral")
    gaze: float = Field(default=7.0, description="how far eyes look past the camera, degrees")
    lens: tuple[float, float] = Field(default=(24.0, 135.0), description="focal length, mm on full frame")
    frame: tuple[float, float] = Field(default=(0.4, 1.3), description="what the whole photo spans at the face, metres")
    distance: tuple[float, float] = Field(default=(0.35, 4.0), description="nearest and farthest camera, metres")
    zoom: tuple[float, float] = Field(default=(1.0, 1.3), description="width of the crop, 1 is the game's")
    shift: float = Field(default=0.010, description="of the face in the crop, metres")
    saturation: tuple[float, float] = Field(default=(0.3, 0.85), description="how much colour is left in the light")
    exposure: float = Field(default=0.18, description="natural logarithm")
    flash: float = Field(default=0.08, description="chance of a flash on the camera, mixed with what light there is")
    cast: float = Field(default=14.0, description="error of the white balance along the Planckian locus, mireds")
    tint: float = Field(default=0.012, description="the same between green and magenta, share")
    metering: float = Field(default=0.3, description="how far the camera exposes for the middle; 1: always middle grey")
    low_light: float = Field(default=0.10, description="chance of a dim, noisy picture")
    contrast: float = Field(default=0.25, description="strength of a camera's tone curve, both ways")
    vignette: tuple[float, float] = Field(default=(0.0, 0.25), description="light lost in the corners")
    blur: tuple[float, float] = Field(default=(0.0, 0.9), description="Gaussian, sigma in pixels")
    defocus: tuple[float, float] = Field(default=(0.5, 2.5), description="radius of the disc, pixels")
    defocused: float = Field(default=0.2, description="chance of defocus")
    motion: tuple[float, float] = Field(default=(2.0, 7.0), description="length of the streak, pixels")
    moved: float = Field(default=0.08, description="chance of motion blur")
    noise: tuple[float, float] = Field(default=(0.0, 4.0), description="of 255 at middle grey")
    shrink: tuple[float, float] = Field(
        default=(0.35, 1.0), description="width at which some pictures were once stored"
    )
    shrunk: float = Field(default=0.25, description="chance of such a past")
    sharpen: tuple[float, float] = Field(default=(0.0, 0.8), description="strength of the halo")
    monochrome: float = Field(default=0.03, description="chance")
    jpeg: tuple[int, int] = Field(default=(55, 96), description="quality")
    occlusion: float = Field(default=0.1, description="chance of something before the face")
    cover: tuple[float, float] = Field(default=(0.02, 0.35), description="share of the face that it hides")


def portrait(
    rng: np.random.Generator,
    nuisance: Nuisance,
    actions: Mapping[str, int],
    panoramas: Sequence[Panorama],
    backgrounds: Sequence[NDArray[np.uint8]],
) -> tuple[Scenes, dict[str, float | str]]:
    """One random scene and what describes it (degrees, metres, millimetres). `actions` numbers the face actions by
    name."""
    yaw, pitch, roll = _pose(rng, nuisance)
    lens = float(np.exp(rng.uniform(*np.log(nuisance.lens))))
    span = float(np.exp(rng.uniform(*np.log(nuisance.frame))))
    distance = float(np.clip(span * lens / SENSOR_WIDTH, *nuisance.distance))
    width = FRAME_WIDTH * float(rng.uniform(*nuisance.zoom))
    shift = rng.normal(size=2) * nuisance.shift
    panorama, turn = panoramas[int(rng.integers(len(panoramas)))], float(rng.random())
    flash = bool(rng.random() < nuisance.flash)
    light = _muted(panorama.light(turn), float(rng.uniform(*nuisance.saturation)))
    light = _with_flash(light, rng) if flash else light
    expression, weights = expressions.draw(rng, actions, nuisance.expression)
    # Eyes mostly stay with the camera when the head turns away from it.
    kept = rng.uniform(0.0, 0.9)
    gaze_yaw, gaze_pitch = rng.normal(size=2) * nuisance.gaze * (1.0, 0.6) + (-yaw * kept, pitch * kept)
    weights, gaze = expressions.look(weights, actions, float(gaze_yaw), float(gaze_pitch))
    scene = Scenes(
        rotation=_rotation(yaw, pitch, roll)[None],
        translation=np.array([[PIVOT[0] + shift[0], PIVOT[1] + 0.012 + shift[1], PIVOT[2] - distance]], np.float32),
        focal=np.array([distance / width], np.float32),
        expression=weights[None],
        gaze=gaze[None],
        sh=light.sh[None],
        key_direction=light.key_direction[None],
        key_colour=light.key_colour[None],
        exposure=np.array([0.9 * np.exp(rng.normal() * nuisance.exposure)], np.float32),
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


def _pose(rng: np.random.Generator, nuisance: Nuisance) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees: most heads face the camera, some are turned anywhere."""
    turned = rng.random() < nuisance.yaw_tail
    yaw = rng.uniform(-nuisance.max_yaw, nuisance.max_yaw) if turned and nuisance.yaw else rng.normal() * nuisance.yaw
    pitch, roll = rng.normal(size=2) * (nuisance.pitch, nuisance.roll)
    yaw = float(np.clip(yaw, -nuisance.max_yaw, nuisance.max_yaw))
    return yaw, float(np.clip(pitch, -nuisance.max_pitch, nuisance.max_pitch)), float(np.clip(roll, -30, 30))


def _rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float32]:
    """Head to camera, degrees: yaw turns the head to its left (the image's right), pitch up, roll to the image's
    left."""
    y, p, r = np.radians([yaw, -pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (about_z @ about_x @ about_y).astype(np.float32)


def _muted(light: Light, saturation: float) -> Light:
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
    return scaled(Light(light.sh * np.float32(1 - share) * colour, towards, np.full(3, share, np.float32), environment))


def white_point(mireds: float) -> NDArray[np.float32]:
    """Linear sRGB [3], luminance 1, of a black body that many mireds warmer (cooler if negative) than daylight.

    The Planckian locus as Kim et al. 2002 approximate it, from 1667 to 25000 kelvin, is divided by its own colour at
    daylight, so that no shift is white.
    """
    colour = _black_body(mireds) / _black_body(0.0)
    return (colour / (colour @ LUMINANCE)).astype(np.float32)


def _black_body(mireds: float) -> NDArray[np.float64]:
    kelvin = float(np.clip(1e6 / (1e6 / DAYLIGHT + mireds), 1667.0, 25000.0))
    t = 1000.0 / kelvin
    if kelvin < 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if kelvin < 2222:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif kelvin < 4000:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    to_srgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    return (to_srgb @ [x / y, 1.0, (1 - x - y) / y]).clip(0.02)


def _background(
    rng: np.random.Generator, panorama: Panorama, turn: float, backgrounds: Sequence[NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """The surroundings, another picture out of focus, or a wall [160,160,3]."""
    size, kind = BACKGROUND_SIZE, rng.random()
    if kind < 0.5:
        view = panorama.backdrop(turn, size, float(rng.uniform(0.4, 1.2)))
    elif kind < 0.82:
        source = backgrounds[int(rng.integers(len(backgrounds)))]
        side = int(min(source.shape[:2]) * rng.uniform(0.3, 1.0))
        row, column = (int(rng.integers(length - side + 1)) for length in source.shape[:2])
        part = cv2.resize(source[row : row + side, column : column + side], (size, size), interpolation=cv2.INTER_AREA)
        view = part[:, ::-1] if rng.random() < 0.5 else part
    else:
        towards, colour = rng.normal(size=2), rng.uniform(15, 245) * (1.0 + rng.normal(size=3) * 0.08)
        rows, columns = np.mgrid[:size, :size] / size - 0.5
        falloff = 1.0 + 0.35 * (towards[0] * rows + towards[1] * columns) - rng.uniform(0, 0.8) * (rows**2 + columns**2)
        view = (falloff[..., None] * colour + rng.normal(size=(size, size, 1)) * 2.0).clip(0, 255).astype(np.uint8)
    blur = float(np.exp(rng.uniform(np.log(0.4), np.log(7.0))))
    dimmed = view * rng.uniform(0.55, 1.1)
    return cv2.GaussianBlur(dimmed.clip(0, 255).astype(np.uint8), (0, 0), blur).astype(np.uint8)


@dataclass(frozen=True)
class Shot:
    """How one picture was taken and stored; pixels are those of a picture 256 wide."""

    gains: NDArray[np.float32]  # [3] linear
    mireds: float  # how much too warm the picture is
    gain: float  # brightness, linear, 1 as exposed
    vignette: float
    blur: float
    defocus: float
    motion: float
    direction: float  # radians
    noise: float  # of 255 at middle grey
    chroma: float  # the same of colour
    contrast: float
    shrink: float
    sharpen: float
    monochrome: bool
    jpeg: int

    @classmethod
    def random(cls, rng: np.random.Generator, nuisance: Nuisance) -> "Shot":
        """Dim pictures are noisier, warmer and more often moved."""
        dim = bool(rng.random() < nuisance.low_light)
        mireds = float(np.clip(rng.normal() * nuisance.cast + 20.0 * dim, -MAX_MIREDS, MAX_MIREDS))
        gains = white_point(mireds) * (1.0, 1.0 + np.clip(rng.normal(), -2, 2) * nuisance.tint, 1.0)
        gain = float(rng.uniform(0.45, 0.85)) if dim else 1.0
        noise = float(rng.uniform(*nuisance.noise) * (rng.uniform(1.3, 2.2) if dim else 1.0))
        return cls(
            gains=np.asarray(gains * gain, np.float32),
            mireds=mireds,
            gain=gain,
            vignette=float(rng.uniform(*nuisance.vignette)),
            blur=float(rng.uniform(*nuisance.blur)),
            defocus=float(rng.uniform(*nuisance.defocus)) if rng.random() < nuisance.defocused else 0.0,
            motion=float(rng.uniform(*nuisance.motion)) if rng.random() < nuisance.moved * (1 + 2 * dim) else 0.0,
            direction=float(rng.uniform(0, np.pi)),
            noise=noise,
            chroma=noise * float(rng.uniform(0.2, 0.8)),
            contrast=float(np.clip(rng.normal() * nuisance.contrast, -0.5, 0.8)),
            shrink=float(rng.uniform(*nuisance.shrink)) if rng.random() < nuisance.shrunk else 1.0,
            sharpen=float(rng.uniform(*nuisance.sharpen)),
            monochrome=bool(rng.random() < nuisance.monochrome),
            jpeg=int(rng.integers(*nuisance.jpeg)),
        )

    def described(self) -> dict[str, float]:
        """What a table keeps of it: blur is what all three kinds amount to, sigma in pixels at 256."""
        blur = np.sqrt(self.blur**2 + self.defocus**2 / 4 + self.motion**2 / 12)
        return {
            "mireds": self.mireds,
            "gain": self.gain,
            "blur": float(blur),
            "noise": self.noise,
            "jpeg": float(self.jpeg),
        }


def develop(image: NDArray[np.uint8], rng: np.random.Generator, nuisance: Nuisance) -> tuple[bytes, dict[str, float]]:
    """A render [H,W,3] as a camera would store it: colour cast, vignette, blur, noise, tone curve, rescaling,
    sharpening, JPEG. Returns the file's bytes and what describes them."""
    shot = Shot.random(rng, nuisance)
    pixel = image.shape[1] / 256
    linear = _exposed(image, shot, nuisance.metering)
    linear = _lens_blur(linear, shot, pixel)
    _add_noise(linear, shot, rng)
    display = cv2.convertScaleAbs(cv2.sqrt(np.maximum(linear, 0.0)), alpha=255.0)
    stored = _processed(np.asarray(display, np.uint8), shot, pixel)
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        shot.jpeg,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(stored, cv2.COLOR_RGB2BGR), options)[1]
    return encoded.tobytes(), shot.described()


def _exposed(image: NDArray[np.uint8], shot: Shot, metering: float) -> NDArray[np.float32]:
    """Linear light [H,W,3], metered in the middle, with the colour cast and the vignette in it."""
    height, width = image.shape[:2]
    middle = image[height // 4 : 3 * height // 4 : 4, width // 4 : 3 * width // 4 : 4].astype(np.float32) / 255.0
    metered = (MIDDLE_GREY / max(float(np.square(middle).mean()), 0.01)) ** metering
    gains = shot.gains * np.float32(np.clip(metered, *METERED))
    table = np.square(np.arange(256, dtype=np.float32) / 255.0)[None, :, None] * gains
    linear = cv2.LUT(image, table.astype(np.float32)).astype(np.float32, copy=False)
    if shot.vignette > 0.02:
        linear *= 1.0 - shot.vignette * _corners(*image.shape[:2])
    return linear


@cache
def _corners(height: int, width: int) -> NDArray[np.float32]:
    """Squared distance to the centre [H,W,3], 1 in the corners."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    distance = np.square((rows + 0.5) / height - 0.5) + np.square((columns + 0.5) / width - 0.5)
    return np.repeat(2.0 * distance[..., None], 3, axis=2)


def _lens_blur(linear: NDArray[np.float32], shot: Shot, pixel: float) -> NDArray[np.float32]:
    """Defocus as a disc, motion as a streak and the rest as a Gaussian, where they can be seen."""
    if shot.defocus * pixel > 0.4:
        linear = _spread(linear, _disc(shot.defocus * pixel))
    if shot.motion * pixel > 1.0:
        linear = _spread(linear, _streak(shot.motion * pixel, shot.direction))
    if shot.blur * pixel > 0.25:
        linear = np.asarray(cv2.GaussianBlur(linear, (0, 0), shot.blur * pixel), np.float32)
    return linear


def _spread(linear: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.filter2D(linear, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float32)


def _disc(radius: float) -> NDArray[np.float32]:
    reach = int(np.ceil(radius))
    offsets = np.arange(-reach, reach + 1, dtype=np.float32)
    kernel = (radius + 0.5 - np.hypot(*np.meshgrid(offsets, offsets))).clip(0.0, 1.0)
    return (kernel / kernel.sum()).astype(np.float32)


def _streak(length: float, direction: float) -> NDArray[np.float32]:
    reach = int(np.ceil(length / 2))
    x, y = np.meshgrid(*[np.arange(-reach, reach + 1, dtype=np.float32)] * 2)
    along, across = x * np.cos(direction) + y * np.sin(direction), y * np.cos(direction) - x * np.sin(direction)
    kernel = (length / 2 + 0.5 - np.abs(along)).clip(0.0, 1.0) * (1.0 - np.abs(across)).clip(0.0)
    return (kernel / kernel.sum()).astype(np.float32)


def _add_noise(linear: NDArray[np.float32], shot: Shot, rng: np.random.Generator) -> None:
    """Shot noise grows with the root of the light, read noise is always there; colour noise is coarser than grey
    noise, as cameras smooth it."""
    if shot.noise < 0.3:
        return
    height, width = linear.shape[:2]
    # At middle grey g the display value moves by 1/(2·√g) of a change in linear light.
    at_grey = 2.0 * np.sqrt(MIDDLE_GREY) / 255.0
    amount = cv2.sqrt(
        np.maximum(cv2.extractChannel(linear, 1), 0.0) * np.float32(0.95 / MIDDLE_GREY) + np.float32(0.05)
    )
    grey = amount * rng.standard_normal((height, width), dtype=np.float32) * np.float32(shot.noise * at_grey)
    coarse = rng.standard_normal((height // 3, width // 3, 3), dtype=np.float32) * np.float32(shot.chroma * at_grey)
    coarse *= cv2.resize(amount, (width // 3, height // 3), interpolation=cv2.INTER_NEAREST)[..., None]
    noise = cv2.add(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), cv2.merge([grey] * 3))
    cv2.add(linear, noise, dst=linear)


def _processed(picture: NDArray[np.uint8], shot: Shot, pixel: float) -> NDArray[np.uint8]:
    """What the camera and later owners do to the stored picture [H,W,3]."""
    height, width = picture.shape[:2]
    if shot.shrink < 0.98:
        small = (max(round(width * shot.shrink), 16), max(round(height * shot.shrink), 16))
        picture = cv2.resize(
            cv2.resize(picture, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC
        ).astype(np.uint8)
    if shot.sharpen > 0.05:
        soft = cv2.GaussianBlur(picture, (0, 0), 1.1 * pixel)
        picture = cv2.addWeighted(picture, 1.0 + shot.sharpen, soft, -shot.sharpen, 0.0).astype(np.uint8)
    if abs(shot.contrast) > 0.02:
        value = np.arange(256) / 255.0
        curve = value + shot.contrast * (value * value * (3 - 2 * value) - value)
        picture = cv2.LUT(picture, (255.0 * curve + 0.5).clip(0, 255).astype(np.uint8)).astype(np.uint8)
    if shot.monochrome:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8)
    return picture
