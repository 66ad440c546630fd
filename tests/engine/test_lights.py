"""HDR maps as studios export them: with opacity, depth, layers, one grey channel."""

from pathlib import Path

import numpy as np
import pytest

from engine.lights import LightError, Panorama, white_point

SHAPE = (8, 16)


def light(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.random(SHAPE).astype(np.float32) * 4 for name in "RGB"}


def layer(name: str, channels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{name}.{channel}": pixels for channel, pixels in channels.items()}


def write(path: Path, channels: dict[str, np.ndarray]) -> Path:
    import OpenEXR

    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, channels).write(str(path))
    return path


OPAQUE = {"A": np.ones(SHAPE, np.float32)}
FILES = {
    "colours": light(),
    "with opacity": light() | OPAQUE,
    "with depth": light() | OPAQUE | {"Z": np.full(SHAPE, 9, np.float32)},
    "half and whole": light() | {"A": np.ones(SHAPE, np.float16)},
    "a layer": layer("beauty", light() | OPAQUE),
    "layers beside it": light() | layer("diffuse", light(1)) | layer("crypto.object", light(2)),
    "Blender's layers": layer("ViewLayer.Combined", light() | OPAQUE) | layer("ViewLayer.DiffCol", light(1)),
    "small letters": {name.lower(): pixels for name, pixels in light().items()},
}


@pytest.mark.parametrize("name", FILES)
def test_the_colours_of_a_map_are_read_whatever_lies_beside_them(name: str, tmp_path: Path) -> None:
    panorama = Panorama.load(write(tmp_path / "light.exr", FILES[name]))
    assert np.array_equal(panorama.pixels, np.dstack([light()[channel] for channel in "RGB"]))
    assert np.isfinite(panorama.light(0.3).sh).all()


def test_colours_of_different_types_are_read(tmp_path: Path) -> None:
    mixed = light() | {"G": light()["G"].astype(np.float16)}
    pixels = Panorama.load(write(tmp_path / "light.exr", mixed)).pixels
    assert np.allclose(pixels, np.dstack([light()[channel] for channel in "RGB"]), atol=2e-3)


def test_a_map_of_brightness_alone_is_grey_light(tmp_path: Path) -> None:
    grey = {"Y": light()["R"]}
    pixels = Panorama.load(write(tmp_path / "light.exr", grey | OPAQUE)).pixels
    assert np.array_equal(pixels, np.repeat(grey["Y"][..., None], 3, axis=2))


def test_the_part_that_has_colours_is_read(tmp_path: Path) -> None:
    import OpenEXR

    depth = OpenEXR.Part({"name": "depth"}, {"Z": np.ones(SHAPE, np.float32)})
    OpenEXR.File([depth, OpenEXR.Part({"name": "rgba"}, light() | OPAQUE)]).write(str(tmp_path / "parts.exr"))
    pixels = Panorama.load(tmp_path / "parts.exr").pixels
    assert np.array_equal(pixels, np.dstack([light()[channel] for channel in "RGB"]))


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ({"R": light()["R"], "G": light()["G"]}, "has the channels G, R: save it with R, G and B"),
        (
            {"X": light()["R"], "Y": light()["G"], "Z": light()["B"]},
            "has the channels X, Y, Z: save it with R, G and B",
        ),
        (layer("left", light()) | layer("right", light(1)), "has the layers left, right: save the one"),
    ],
)
def test_a_map_without_its_colours_is_refused_with_the_remedy(channels: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(LightError, match=f"light.exr {words}"):
        Panorama.load(write(tmp_path / "light.exr", channels))


def test_what_is_no_map_is_refused_by_name(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.exr", light()).read_bytes()
    for content, words in ((b"", "cannot be read"), (b"no map", "cannot be read"), (whole[:500], "cut short")):
        (tmp_path / "bad.exr").write_bytes(content)
        with pytest.raises(LightError, match=f"bad.exr .*{words}"):
            Panorama.load(tmp_path / "bad.exr")


def test_white_points_follow_the_planckian_locus() -> None:
    """Candle light, 1850 K, is orange: linear sRGB about (1, .23, 0) by Planck's law and the CIE 1931 observer."""
    candle = white_point(1e6 / 1850 - 1e6 / 6500)
    assert candle[1] / candle[0] == pytest.approx(0.23, abs=0.06) and candle[2] / candle[0] < 0.05
    np.testing.assert_allclose(white_point(0.0), 1.0, atol=1e-6)
    cool = white_point(-60.0)
    assert cool[0] < 1 < cool[2]
