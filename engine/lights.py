"""Light from HDR panoramas: a diffuse part in spherical harmonics, the strongest source as a directional light, and a
small picture of the surroundings for what mirrors."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
WHITE_BALANCE = 0.75
KEY_SHARE = 0.003  # share of the sphere that counts as the strongest source
ENVIRONMENT = (32, 16)  # columns and rows of what mirrors show
DAYLIGHT = 6500.0  # kelvin, what sRGB calls white
# By how much a diffuse surface weakens harmonics of degree 0, 1 and 2 (Ramamoorthi and Hanrahan 2001), over π.
COSINE_LOBE = np.array([1.0, *[2 / 3] * 3, *[1 / 4] * 5])
BRIGHTEST = 25.0  # radiance above which a mirrored lamp would only flicker


PICTURE_ITSELF = ("", "rgb", "rgba", "beauty", "combined")
"""What programs call the layer that is the picture, where they write others beside it."""


class LightError(ValueError):
    """An HDR map is none that can be used; the message names it and says what to do."""


@dataclass(frozen=True)
class Light:
    """What falls on a face, scaled so that a white surface facing the camera sends back about 1."""

    sh: NDArray[np.float32]  # [9, 3], see engine.kernels.light.irradiance
    key_direction: NDArray[np.float32]  # [3] unit vector towards the source
    key_colour: NDArray[np.float32]  # [3]
    environment: NDArray[np.float32]  # [16, 32, 3] radiance by direction, equirectangular like a Panorama


@dataclass(frozen=True)
class Panorama:
    """An equirectangular HDR picture [H, 2H, 3], linear RGB; the middle column lies behind the subject (−Z)."""

    name: str
    pixels: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path) -> "Panorama":
        """Read an OpenEXR file, of its layers only the picture's own, without opacity. Raises LightError."""
        pixels = _colours(_layers(path), path)
        return cls(path.stem, np.nan_to_num(pixels.astype(np.float32), posinf=65504.0).clip(0.0))

    @cached_property
    def coarse(self) -> "Panorama":
        """The same at 128×64, all that diffuse light needs."""
        return Panorama(self.name, cv2.resize(self.pixels, (128, 64), interpolation=cv2.INTER_AREA).astype(np.float32))

    @cached_property
    def directions(self) -> NDArray[np.float32]:
        """Unit vectors [H, W, 3] of the pixels."""
        height, width = self.pixels.shape[:2]
        polar = (np.arange(height) + 0.5) / height * np.pi
        azimuth = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
        x = np.sin(polar)[:, None] * np.sin(azimuth)
        z = -np.sin(polar)[:, None] * np.cos(azimuth)
        return np.stack([x, np.broadcast_to(np.cos(polar)[:, None], x.shape), z], axis=-1).astype(np.float32)

    @cached_property
    def solid_angles(self) -> NDArray[np.float32]:
        """What each pixel covers of the sphere [H, W], steradians."""
        height, width = self.pixels.shape[:2]
        rows = np.sin((np.arange(height) + 0.5) / height * np.pi) * (np.pi / height) * (2 * np.pi / width)
        return np.broadcast_to(rows[:, None], (height, width)).astype(np.float32)

    def light(self, turn: float) -> Light:
        """The light when the panorama is turned by `turn` (share of a full turn)."""
        pixels = np.roll(self.coarse.pixels, round(turn * self.coarse.pixels.shape[1]), axis=1)
        brightness = pixels @ LUMINANCE
        order = np.argsort(-brightness, axis=None)
        directions, solid_angles = self.coarse.directions, self.coarse.solid_angles
        covered = np.cumsum(solid_angles.ravel()[order]) / (4 * np.pi)
        limit = brightness.ravel()[order][np.searchsorted(covered, KEY_SHARE)]
        excess = pixels * np.maximum(1.0 - limit / np.maximum(brightness, 1e-6), 0.0)[..., None]
        key = (excess * solid_angles[..., None]).sum(axis=(0, 1)) / np.pi
        towards = ((excess @ LUMINANCE * solid_angles)[..., None] * directions).sum(axis=(0, 1))
        towards = towards / max(float(np.linalg.norm(towards)), 1e-6)
        sh = project_sh(pixels - excess, directions, solid_angles)
        environment = cv2.resize(pixels, ENVIRONMENT, interpolation=cv2.INTER_AREA).astype(np.float32)
        return auto_exposed(Light(sh, towards.astype(np.float32), key.astype(np.float32), environment))

    def backdrop(self, turn: float, size: int, field: float) -> NDArray[np.uint8]:
        """What a camera with a field of view of `field` radians sees behind the subject, sRGB [size, size, 3]."""
        height, width = self.pixels.shape[:2]
        offset = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
        x, y = np.meshgrid(2 * offset * np.tan(field / 2), -2 * offset * np.tan(field / 2))
        azimuth, elevation = np.arctan(x), np.arctan(y / np.sqrt(1 + x**2))
        columns = ((azimuth / (2 * np.pi) + 0.5 - turn) % 1.0) * width
        rows = (0.5 - elevation / np.pi) * height
        view = cv2.remap(
            self.pixels,
            columns.astype(np.float32),
            rows.astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        view = view / max(float(np.percentile(view @ LUMINANCE, 75)) * 1.6, 1e-4)
        return (255.0 * (view / (1.0 + 0.25 * view)).clip(0, 1) ** (1 / 2.2) + 0.5).clip(0, 255).astype(np.uint8)


def _layers(path: Path) -> dict[str, dict[str, NDArray]]:
    """The channels [H, W] of an OpenEXR file by layer and name in capitals; the picture itself has no layer's name."""
    import OpenEXR

    try:
        # Apart: together they must be of one type, and are named by the set of them (RGB, RGBA).
        parts = OpenEXR.File(str(path), separate_channels=True).parts
    except (OSError, RuntimeError, ValueError) as error:
        raise LightError(f"{path} cannot be read as OpenEXR: {error}") from error
    if not parts:  # the library says no more
        raise LightError(f"{path} is damaged or cut short: fetch it again")
    layers: dict[str, dict[str, NDArray]] = {}
    for part in parts:
        for name, channel in part.channels.items():
            layer, _, short = name.rpartition(".")
            whole = ".".join(filter(None, [part.name() if len(parts) > 1 else "", layer]))
            layers.setdefault(whole, {})[short.upper()] = channel.pixels
    return layers


def _colours(layers: dict[str, dict[str, NDArray]], path: Path) -> NDArray:
    """[H, W, 3] of the layer that is the picture: the one with colours, or a grey one. Raises LightError."""
    channels = _picture(layers, path)
    found = [channels[name] if name in channels else channels["Y"] for name in "RGB"]
    if len({plane.shape for plane in found}) != 1 or found[0].ndim != 2:
        raise LightError(f"{path}: its channels differ in size: save it as one plain picture with R, G and B")
    return np.stack(found, axis=-1)


def _picture(layers: dict[str, dict[str, NDArray]], path: Path) -> dict[str, NDArray]:
    coloured = {name: channels for name, channels in layers.items() if set("RGB") <= set(channels)}
    grey = {name: channels for name, channels in layers.items() if set(channels) <= {"Y", "A"} and "Y" in channels}
    candidates = coloured or grey
    named = [name for name in candidates if name.rpartition(".")[2].lower() in PICTURE_ITSELF]
    if len(candidates) == 1 or len(named) == 1:
        return candidates[(named or list(candidates))[0]]
    if candidates:
        raise LightError(f"{path} has the layers {', '.join(candidates)}: save the one that is the light alone")
    there = ", ".join(f"{layer}.{name}".lstrip(".") for layer, channels in layers.items() for name in channels)
    raise LightError(f"{path} has the channels {there}: save it with R, G and B, or with Y alone for grey light")


def project_sh(radiance: NDArray, directions: NDArray, solid_angles: NDArray) -> NDArray[np.float32]:
    """Radiance to the nine coefficients of irradiance/π in the basis of engine.kernels.light.irradiance."""
    constants = np.array([0.282095, *[0.488603] * 3, 1.092548, 1.092548, 0.315392, 1.092548, 0.546274])
    moments = np.einsum("hwk,hwc,hw->kc", sh_basis(directions), radiance, solid_angles, optimize=True)
    return (moments * (constants**2 * COSINE_LOBE)[:, None]).astype(np.float32)


def sh_basis(directions: NDArray) -> NDArray:
    """The nine real spherical harmonics [..., 9] of unit directions [..., 3], degree 0 to 2, without constants."""
    x, y, z = np.moveaxis(directions, -1, 0)
    return np.stack([np.ones_like(x), y, z, x, x * y, y * z, 3 * z**2 - 1, x * z, x**2 - y**2], axis=-1)


def tone_map(radiance: NDArray) -> NDArray:
    """Linear light to display values in [0, 1] with the soft shoulder of engine.kernels.light.tone_map."""
    over = (radiance - 0.6).clip(0.0) * 2.5
    return np.sqrt(np.where(radiance < 0.6, radiance.clip(0.0), 0.6 + 0.4 * over / (1.0 + over)))


def auto_exposed(light: Light) -> Light:
    """Scale a light so that a grey card facing the camera is exposed as a photographer would."""
    sh = light.sh
    front = sh[0] + sh[2] + 2 * sh[6]
    facing = front + light.key_colour * max(float(light.key_direction[2]), 0.0)
    level = max(float(facing @ LUMINANCE), float(sh[0] @ LUMINANCE) * 0.6, 1e-4)
    # A camera takes out most of the light's colour.
    balance = (float(facing.clip(1e-4) @ LUMINANCE) / facing.clip(1e-4)).clip(0.3, 3.0) ** WHITE_BALANCE
    environment = (light.environment / level * balance).clip(0.0, BRIGHTEST)
    return Light(sh / level * balance, light.key_direction, light.key_colour / level * balance, environment)


def studio_light(key_direction: Sequence[float], key: float, warm: float = 1.0) -> Light:
    """An even studio light with one key light, for the game look."""
    towards = np.array(key_direction, dtype=np.float32)
    towards /= np.linalg.norm(towards)
    sh = np.zeros((9, 3), dtype=np.float32)
    sh[0], sh[1], sh[2] = 0.68, 0.08, 0.12
    colour = np.array([1.0 * warm, 0.97, 0.93], dtype=np.float32) * key
    width, height = ENVIRONMENT
    around = Panorama("studio", np.ones((height, width, 3), np.float32)).directions
    # A grey room with a large soft box where the key light is and a small one opposite.
    opposite = towards * np.array([-1.0, 0.4, 1.0], np.float32)
    boxes = [(towards, 0.93, 7.0), (opposite / np.linalg.norm(opposite), 0.96, 2.0)]
    environment = np.repeat((0.45 + 0.25 * around[..., 1])[..., None], 3, axis=2)
    for direction, cosine, radiance in boxes:
        environment[around @ direction > cosine] = radiance
    return auto_exposed(Light(sh, towards, colour, environment.astype(np.float32)))


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
