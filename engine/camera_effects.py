"""What a camera does to a picture after the lens: exposure, blur, noise, tone curve, JPEG."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.lights import white_point
from engine.portrait_scenes import DomainRandomization

MAX_MIREDS = 150.0  # lamp light on a picture that a camera took for daylight
MIDDLE_GREY = 0.22  # linear, under a tone curve that is a square root
METERED = (0.6, 1.7)  # the least and the most that metering changes the light by


@dataclass(frozen=True)
class CameraEffects:
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
    colour: float
    shrink: float
    sharpen: float
    monochrome: bool
    jpeg: int

    @classmethod
    def random(cls, rng: np.random.Generator, config: DomainRandomization) -> "CameraEffects":
        """Dim pictures are noisier, warmer and more often moved."""
        dim = bool(rng.random() < config.low_light)
        mireds = float(np.clip(rng.normal() * config.cast + 20.0 * dim, -MAX_MIREDS, MAX_MIREDS))
        gains = white_point(mireds) * (1.0, 1.0 + np.clip(rng.normal(), -2, 2) * config.tint, 1.0)
        gain = float(rng.uniform(0.45, 0.85)) if dim else 1.0
        noise = float(rng.uniform(*config.noise) * (rng.uniform(1.3, 2.2) if dim else 1.0))
        return cls(
            gains=np.asarray(gains * gain, np.float32),
            mireds=mireds,
            gain=gain,
            vignette=float(rng.uniform(*config.vignette)),
            blur=float(rng.uniform(*config.blur)),
            defocus=float(rng.uniform(*config.defocus)) if rng.random() < config.defocused else 0.0,
            motion=float(rng.uniform(*config.motion)) if rng.random() < config.moved * (1 + 2 * dim) else 0.0,
            direction=float(rng.uniform(0, np.pi)),
            noise=noise,
            chroma=noise * float(rng.uniform(0.2, 0.8)),
            contrast=float(np.clip(config.tone_curve + rng.normal() * config.contrast, -0.3, 1.0)),
            colour=float(np.exp(rng.uniform(*np.log(config.colour)))),
            shrink=float(rng.uniform(*config.shrink)) if rng.random() < config.shrunk else 1.0,
            sharpen=float(rng.uniform(*config.sharpen)),
            monochrome=bool(rng.random() < config.monochrome),
            jpeg=int(rng.integers(*config.jpeg)),
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


def apply_camera_effects(
    image: NDArray[np.uint8], rng: np.random.Generator, config: DomainRandomization
) -> tuple[bytes, dict[str, float]]:
    """A render [H, W, 3] as a camera would store it: colour cast, vignette, blur, noise, tone curve, rescaling,
    sharpening, JPEG. Returns the file's bytes and what describes them."""
    effects = CameraEffects.random(rng, config)
    pixel = image.shape[1] / 256
    linear = _exposed(image, effects, config.metering)
    linear = _lens_blur(linear, effects, pixel)
    _add_noise(linear, effects, rng)
    display = cv2.convertScaleAbs(cv2.sqrt(np.maximum(linear, 0.0)), alpha=255.0)
    stored = _processed(np.asarray(display, np.uint8), effects, pixel)
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        effects.jpeg,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(stored, cv2.COLOR_RGB2BGR), options)[1]
    return encoded.tobytes(), effects.described()


def crop_tightly(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator, config: DomainRandomization
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture [H, W, 3] that ends close to the face, with its border repeated beyond, and labels [H, W] that are 0
    there."""
    height, width = labels.shape
    lost = rng.uniform(0.0, config.lost, size=4) * (1.0, 0.5, 0.5, 0.5) * (height, height, width, width)
    top, bottom, left, right = (lost * (rng.random(4) < (0.8, 0.3, 0.3, 0.3))).astype(int)
    edges = {"top": top, "bottom": bottom, "left": left, "right": right}
    inside = np.s_[top : height - bottom, left : width - right]
    cropped = cv2.copyMakeBorder(image[inside], **edges, borderType=cv2.BORDER_REPLICATE)
    told = cv2.copyMakeBorder(labels[inside], **edges, borderType=cv2.BORDER_CONSTANT, value=[0])
    return cropped.astype(np.uint8), told.astype(np.uint8)


def _exposed(image: NDArray[np.uint8], effects: CameraEffects, metering: float) -> NDArray[np.float32]:
    """Linear light [H, W, 3], metered in the middle, with the colour cast and the vignette in it."""
    height, width = image.shape[:2]
    middle = image[height // 4 : 3 * height // 4 : 4, width // 4 : 3 * width // 4 : 4].astype(np.float32) / 255.0
    metered = (MIDDLE_GREY / max(float(np.square(middle).mean()), 0.01)) ** metering
    gains = effects.gains * np.float32(np.clip(metered, *METERED))
    table = np.square(np.arange(256, dtype=np.float32) / 255.0)[None, :, None] * gains
    linear = cv2.LUT(image, table.astype(np.float32)).astype(np.float32, copy=False)
    if effects.vignette > 0.02:
        linear *= 1.0 - effects.vignette * _corners(*image.shape[:2])
    return linear


@cache
def _corners(height: int, width: int) -> NDArray[np.float32]:
    """Squared distance to the centre [H, W, 3], 1 in the corners."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    distance = np.square((rows + 0.5) / height - 0.5) + np.square((columns + 0.5) / width - 0.5)
    return np.repeat(2.0 * distance[..., None], 3, axis=2)


def _lens_blur(linear: NDArray[np.float32], effects: CameraEffects, pixel: float) -> NDArray[np.float32]:
    """Defocus as a disc, motion as a streak and the rest as a Gaussian, where they can be seen."""
    if effects.defocus * pixel > 0.4:
        linear = _spread(linear, _disc(effects.defocus * pixel))
    if effects.motion * pixel > 1.0:
        linear = _spread(linear, _streak(effects.motion * pixel, effects.direction))
    if effects.blur * pixel > 0.25:
        linear = np.asarray(cv2.GaussianBlur(linear, (0, 0), effects.blur * pixel), np.float32)
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


def _add_noise(linear: NDArray[np.float32], effects: CameraEffects, rng: np.random.Generator) -> None:
    """Shot noise grows with the root of the light, read noise is always there; colour noise is coarser than grey
    noise, as cameras smooth it."""
    if effects.noise < 0.3:
        return
    height, width = linear.shape[:2]
    # At middle grey g the display value moves by 1/(2·√g) of a change in linear light.
    at_grey = 2.0 * np.sqrt(MIDDLE_GREY) / 255.0
    amount = cv2.sqrt(
        np.maximum(cv2.extractChannel(linear, 1), 0.0) * np.float32(0.95 / MIDDLE_GREY) + np.float32(0.05)
    )
    grey = amount * rng.standard_normal((height, width), dtype=np.float32) * np.float32(effects.noise * at_grey)
    coarse = rng.standard_normal((height // 3, width // 3, 3), dtype=np.float32) * np.float32(effects.chroma * at_grey)
    coarse *= cv2.resize(amount, (width // 3, height // 3), interpolation=cv2.INTER_NEAREST)[..., None]
    noise = cv2.add(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), cv2.merge([grey] * 3))
    cv2.add(linear, noise, dst=linear)


def _processed(picture: NDArray[np.uint8], effects: CameraEffects, pixel: float) -> NDArray[np.uint8]:
    """What the camera and later owners do to the stored picture [H, W, 3]."""
    height, width = picture.shape[:2]
    if effects.shrink < 0.98:
        small = (max(round(width * effects.shrink), 16), max(round(height * effects.shrink), 16))
        picture = cv2.resize(
            cv2.resize(picture, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC
        ).astype(np.uint8)
    if effects.sharpen > 0.05:
        soft = cv2.GaussianBlur(picture, (0, 0), 1.1 * pixel)
        picture = cv2.addWeighted(picture, 1.0 + effects.sharpen, soft, -effects.sharpen, 0.0).astype(np.uint8)
    if abs(effects.contrast) > 0.02:
        value = np.arange(256) / 255.0
        curve = value + effects.contrast * (value * value * (3 - 2 * value) - value)
        picture = cv2.LUT(picture, (255.0 * curve + 0.5).clip(0, 255).astype(np.uint8)).astype(np.uint8)
    colour = 0.0 if effects.monochrome else effects.colour
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(picture, colour, grey, 1.0 - colour, 0.0).astype(np.uint8)
