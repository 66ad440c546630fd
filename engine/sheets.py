"""Contact sheets of a character: random people, every slider at its ends, every choice of every group."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from engine import sampler
from engine.character import Character
from engine.errors import LikenessError
from engine.files import partial_file, require_file_name
from engine.renderer import Renderer
from engine.scenes import Scenes, head_rotation
from engine.thumbnails import shown_on

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
Picture = NDArray[np.uint8]
Progress = Callable[[str, int, int], None]
PAPER, INK = (250, 250, 250), (30, 30, 30)
PEOPLE_COLUMNS, SLIDER_COLUMNS, CHOICE_COLUMNS = 8, 4, 12
SIDE_YAW = 62.0  # degrees: shows ear, jaw and profile at once
WHOLE_PARTS = ("phenotype", "head", "forehead", "neck")  # shown with the whole head; the others closer
ZOOM, PROFILE = 1.45, 0.045  # how much closer, and how far the camera then moves towards the profile, metres
CAPTION, HEADING = 26, 56  # pixels
GAP = 6  # pixels of paper to the right of a picture
BATCH = 16


class SheetError(LikenessError, ValueError):
    """A contact sheet cannot be drawn or written; the message says what to do."""


def _quiet(what: str, done: int, total: int) -> None:
    """No progress is shown."""


def people(renderer: Renderer, count: int = 48, size: int = 512, seed: int = 0, progress: Progress = _quiet) -> Picture:
    """Plausible people in the game look, eight a row [H, W, 3]."""
    sliders, choices = sampler.plausible(renderer.schema, count, np.random.default_rng(seed))
    tiles = _render(renderer, sliders, choices, Scenes.game(count), size, progress, "people")
    return _grid(tiles, min(PEOPLE_COLUMNS, count))


def sliders(renderer: Renderer, size: int = 224, progress: Progress = _quiet) -> Picture:
    """Each slider at 0, neutral and 1, from the front or from the side, wherever it shows more [H, W, 3]."""
    schema = renderer.schema
    steps = np.stack([_steps(renderer, number) for number in range(schema.n_sliders)])  # [S, 3, S]
    flat = steps.reshape(-1, schema.n_sliders)
    choices = np.repeat(schema.neutral_discrete()[None], len(flat), axis=0)
    zoom = np.repeat([1.0 if slider.part in WHOLE_PARTS else ZOOM for slider in schema.sliders], 3)
    views = [
        _render(renderer, flat, choices, _view(yaw, zoom), size, progress, name).reshape(-1, 3, size, size, 3)
        for name, yaw in (("from the front", 0.0), ("from the side", SIDE_YAW))
    ]
    shown = [_change(view) for view in views]
    blocks: list[Picture] = []
    for part in dict.fromkeys(slider.part for slider in schema.sliders):
        rows = []
        for number, slider in enumerate(schema.sliders):
            if slider.part == part:
                view = views[int(shown[1][number] > 1.2 * shown[0][number])][number]
                rows.append(_captioned(np.concatenate(list(view), axis=1), f"{slider.label}  ({slider.name})"))
        blocks += [_heading(part, rows[0].shape[1] * SLIDER_COLUMNS), _grid(np.stack(rows), SLIDER_COLUMNS)]
    return np.concatenate(blocks)


def options(renderer: Renderer, size: int = 224, progress: Progress = _quiet) -> Picture:
    """Each choice of each group on the average face, or where it belongs: a beard on a man, make-up on a woman."""
    schema = renderer.schema
    picked = [(group, number) for group in schema.groups for number in range(len(group.choices))]
    shown = [shown_on(schema, group, group.choices[number]) for group, number in picked]
    sliders_, choices = (np.stack(parts) for parts in zip(*shown, strict=True))
    zoom = np.array([ZOOMS.get(group.name, 1.0) for group, _ in picked])
    tiles = _render(renderer, sliders_, choices, _view(0.0, zoom), size, progress, "options")
    blocks: list[Picture] = []
    for group in schema.groups:
        chosen = [_captioned(tiles[i], g.choices[number]) for i, (g, number) in enumerate(picked) if g is group]
        blocks += [_heading(group.label, (size + GAP) * CHOICE_COLUMNS), _grid(np.stack(chosen), CHOICE_COLUMNS)]
    return np.concatenate(blocks)


# How much closer some groups are shown.
ZOOMS = {"brows": 2.0, "eyes": 2.6, "lashes": 2.6, "eye_makeup": 2.6, "beard": 1.2, "lips": ZOOM, "glasses": ZOOM}
SHEETS = {"people": people, "sliders": sliders, "options": options}


def require_embedded(character: Path) -> None:
    """Raises SheetError for a character that the embedded engine does not draw, SchemaError for a broken one."""
    if not Character.load(character).is_embedded:
        raise SheetError(f"{character.name} is not drawn by the embedded engine: only that one can draw contact sheets")


def require_writable(out: Path) -> None:
    """Raises SheetError, before any work, when no picture can be written there."""
    if out.suffix.lower() not in FORMATS:
        raise SheetError(f"{out}: a contact sheet ends in {', '.join(FORMATS)}")
    try:
        require_file_name(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise SheetError(f"cannot write {out}: {error.strerror}. Choose another folder") from error


def save(picture: Picture, out: Path) -> None:
    """Write a PNG or JPEG, whole or not at all."""
    with partial_file(out) as partial:
        Image.fromarray(picture).save(partial, FORMATS[out.suffix.lower()], quality=92)


def _steps(renderer: Renderer, number: int) -> NDArray[np.float32]:
    """The neutral face [3, S] with one slider at 0, at neutral (one half where that is 0) and at 1."""
    steps = np.repeat(renderer.schema.neutral_sliders()[None], 3, axis=0)
    neutral = renderer.schema.sliders[number].neutral
    steps[:, number] = [0.0, neutral or 0.5, 1.0]
    return steps


def _render(
    renderer: Renderer,
    sliders_: NDArray[np.float32],
    choices: NDArray[np.integer],
    scenes: Scenes,
    size: int,
    progress: Progress,
    what: str,
) -> Picture:
    tiles = []
    for start in range(0, len(sliders_), BATCH):
        chunk = slice(start, start + BATCH)
        progress(what, start, len(sliders_))
        tiles.append(renderer.render(sliders_[chunk], choices[chunk], scenes[chunk], size, samples=4).image)
    progress(what, len(sliders_), len(sliders_))
    return np.concatenate(tiles)


def _view(yaw: float, zoom: NDArray[np.floating]) -> Scenes:
    """The game's scenes with the head turned to its left by an angle in degrees, each with a lens of its own [B]."""
    scenes = Scenes.game(len(zoom))
    # A turned head reaches farther to the side of its face.
    aside = np.stack([-PROFILE * np.sin(np.radians(yaw)) * (zoom > 1), 0 * zoom, 0 * zoom], axis=1)
    return replace(
        scenes,
        rotation=head_rotation(yaw) @ scenes.rotation,
        translation=np.asarray(scenes.translation + aside, np.float32),
        focal=np.asarray(scenes.focal * zoom, np.float32),
    )


def _change(view: Picture) -> NDArray[np.float64]:
    """How much each slider changes its pictures [S, 3, H, W, 3], root mean square."""
    ends = view[:, 2].astype(np.float64) - view[:, 0]
    return np.sqrt((ends**2).mean(axis=(1, 2, 3)))


def _grid(tiles: Picture | Sequence[Picture], columns: int) -> Picture:
    """Tiles [B, h, w, 3] row by row; the last row is filled up with paper."""
    tiles = np.asarray(tiles)
    lacking = -len(tiles) % columns
    empty = np.broadcast_to(np.array(PAPER, np.uint8), (lacking, *tiles.shape[1:]))
    count, height, width, _ = (full := np.concatenate([tiles, empty])).shape
    rows = full.reshape(count // columns, columns, height, width, 3)
    return rows.transpose(0, 2, 1, 3, 4).reshape(-1, columns * width, 3)


def _captioned(picture: Picture, text: str) -> Picture:
    strip = _text(text, picture.shape[1], CAPTION, 15)
    return np.pad(np.concatenate([picture, strip]), ((0, 0), (0, GAP), (0, 0)), constant_values=PAPER[0])


def _heading(text: str, width: int) -> Picture:
    return _text(text.capitalize(), width, HEADING, 30)


def _text(text: str, width: int, height: int, points: int) -> Picture:
    strip = Image.new("RGB", (width, height), PAPER)
    ImageDraw.Draw(strip).text((6, height / 2), text, fill=INK, font=ImageFont.load_default(points), anchor="lm")
    return np.asarray(strip)
