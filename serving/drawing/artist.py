"""What the drawing process can draw of one character. Everything is bytes of a file; the same request gives the same
bytes."""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import engine
from engine import thumbnails
from engine.character import Character
from engine.exporters.basis import Basis
from engine.exporters.figure import Figure
from engine.exporters.glb import about, to_bare_glb, to_glb
from engine.exporters.materials import as_png, skin_pictures, worn_picture
from engine.exporters.mhm import to_mhm
from engine.external import Row, open_renderer
from engine.renderer import Renderer
from engine.scenes import EYE_LEVEL, FRAME_WIDTH, GAME_DISTANCE
from engine.schema import Schema
from serving.drawing.answers import CannotDraw, Outdated
from serving.drawing.published import ACTIONS, THUMBNAIL_SIZE, SchemaDocument, pieces_of, schema_document

JPEG: dict[str, Any] = {"format": "JPEG", "quality": 90}
# Three channels that mean directions, not brightness and hue, are all kept at full resolution.
JPEG_NORMALS: dict[str, Any] = {"format": "JPEG", "quality": 90, "subsampling": 0}
# Colours are kept where nothing shows: smaller versions of the picture mix them in.
WEBP: dict[str, Any] = {"format": "WEBP", "quality": 90, "method": 4, "exact": True}
SIZES = (64, 1024)  # pixels of a picture's side
MHM_NAME = "likeness"
SMALL = 1_000_000  # bytes; larger files of a character are pairs or models, not what draws it

Picture = NDArray[np.uint8]
Parameters = tuple[NDArray[np.float32], NDArray[np.int16]]


class Artist:
    """One character with the engine that draws it.

    Args:
        character: the character's folder.
        embedded: `data/embedded`; read for characters of the embedded engine only.

    Raises SchemaError, CharacterError or OSError when the character or its engine cannot be loaded.
    """

    def __init__(self, character: Path, embedded: Path, device: str) -> None:
        self.character = Character.load(character)
        self.schema = self.character.schema
        self.md5 = Schema.md5(character)
        self.renderer: Renderer | None = None
        self.own: Callable[[Sequence[Row], int], list[Picture]] | None = None
        if self.character.is_embedded:
            self.renderer = Renderer(character, embedded, device)
        elif self.character.has_engine:
            self.own = open_renderer(self.character)
        self.version = _version(character, embedded / "character" if self.renderer else None)

    def published(self) -> SchemaDocument:
        """The document of `/v1/schema`."""
        renderer, basis, camera, colours = self.renderer, None, None, {}
        if renderer is not None:
            basis = Basis.of(renderer.head, self.schema, renderer.blend).description()
            camera = {"distance": GAME_DISTANCE, "width": FRAME_WIDTH, "level": EYE_LEVEL}
            colours = {
                g.name: {c: thumbnails.colour(renderer, g.name, c) for c in g.choices} for g in self.schema.groups
            }
        return schema_document(
            self.schema,
            self.md5,
            self.version,
            thumbnails=self.character.has_engine,
            colours=colours,
            basis=basis,
            camera=camera,
        )

    def png(self, document: Mapping[str, Any], size: int) -> bytes:
        """The engine's own picture of a character.json, `size` pixels high."""
        sliders, choices = self._parameters(document)
        if not SIZES[0] <= size <= SIZES[1]:
            raise CannotDraw(f"a picture is {SIZES[0]} to {SIZES[1]} pixels high, not {size}")
        return as_png(self._picture(sliders, choices, size))

    def glb(self, document: Mapping[str, Any]) -> bytes:
        """What `likeness export` writes of a character.json as .glb."""
        sliders, choices = self._parameters(document)
        return to_glb(Figure.of(self._embedded(), sliders[0], choices[0]), about(document))

    def mhm(self, document: Mapping[str, Any]) -> bytes:
        """A character.json as MakeHuman's model file."""
        sliders, choices = self._parameters(document)
        self._embedded()
        return to_mhm(self.schema, sliders[0], choices[0], MHM_NAME).encode()

    def piece(self, name: str, choice: str | None) -> bytes:
        """Geometry of a piece, on the template, with the targets of all sliders; `choice` of its group."""
        renderer = self._embedded()
        group, meshes = pieces_of(self.schema)[name]
        sliders, choices = self._set({} if group is None or choice is None else {group: choice}, {})
        figure = Figure.of(renderer, sliders[0], choices[0], as_shown=False).only(meshes)
        left_out = set(renderer.blend.actions) - set(ACTIONS)
        return to_bare_glb(figure, name, set(figure.basis.names) - left_out)

    def texture(self, name: str, choices: Mapping[str, str], sliders: Mapping[str, float]) -> bytes:
        """A picture of the materials; choices and sliders that are not given are neutral."""
        renderer = self._embedded()
        values, numbers = self._set(choices, sliders)
        if name in ("skin", "skin_normals"):
            skin, normals = skin_pictures(renderer, values[0], numbers[0])
            return _encoded(skin, JPEG) if name == "skin" else _encoded(normals, JPEG_NORMALS)
        chosen = {group.name: group.choices[numbers[0, n]] for n, group in enumerate(self.schema.groups)}
        picture = worn_picture(renderer, name, chosen)
        if picture is None:
            raise CannotDraw(f"{chosen[name]} of {name} has no picture")
        return _encoded(picture, WEBP)

    def thumbnail(self, group: str, choice: str) -> bytes:
        """A small picture of one choice."""
        if self.renderer is not None:
            found = self.schema.groups[self.schema.group_index[group]]
            return _encoded(thumbnails.thumbnail(self.renderer, found, choice, THUMBNAIL_SIZE), JPEG)
        whole = self._picture(*self._set({group: choice}, {}), 2 * THUMBNAIL_SIZE)
        return _encoded(_square(whole, THUMBNAIL_SIZE), JPEG)

    def _set(self, choices: Mapping[str, str], sliders: Mapping[str, float]) -> Parameters:
        """The neutral character with some values changed: sliders [1,S], choice numbers [1,G]."""
        values, numbers = self.schema.neutral_sliders(), self.schema.neutral_discrete()
        for name, value in sliders.items():
            values[self.schema.slider_index[name]] = value
        for name, choice in choices.items():
            numbers[self.schema.group_index[name]] = self.schema.choice(name, choice)
        return values[None], numbers[None]

    def _parameters(self, document: Mapping[str, Any]) -> Parameters:
        """Sliders [1,S] and choice numbers [1,G] of a character.json. Raises CannotDraw, Outdated."""
        named, md5 = document.get("character"), document.get("schema_md5")
        if named != self.schema.name:
            raise CannotDraw(f"the character is made for {named}, and this draws {self.schema.name}")
        if md5 != self.md5:
            if Schema.md5(self.character.folder) == md5:
                raise Outdated
            raise CannotDraw(
                f"the character was made for another schema of {named} (md5 {md5}) than today's: create it again"
            )
        try:
            x = self.schema.from_document(document["parameters"], document["discrete"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CannotDraw(f"the character's document is not valid: {error}") from error
        return self.schema.choose(x[None])

    def _picture(self, sliders: NDArray[np.float32], choices: NDArray[np.int16], size: int) -> Picture:
        if self.renderer is not None:
            return self.renderer.picture(sliders, choices, size)
        if self.own is not None:
            return self.own(self.schema.to_engine(sliders, choices), size)[0]
        raise CannotDraw(
            f"{self.schema.name} has only pairs that its own engine exported: nothing can draw another one"
        )

    def _embedded(self) -> Renderer:
        if self.renderer is None:
            raise CannotDraw(f"{self.schema.name} is drawn by an engine of its own, whose geometry is not here")
        return self.renderer


def _version(character: Path, figure: Path | None) -> str:
    """A digest of all that drawn bytes depend on: code, libraries, the character's small files, the figure's data."""
    digest = hashlib.blake2b(digest_size=6)
    libraries = ("numpy", "opencv-python", "pillow", "warp-lang")
    digest.update(json.dumps({name: version(name) for name in libraries}).encode())
    code = [Path(engine.__file__).parent.rglob("*.py"), Path(__file__).parent.glob("*.py")]
    data = [character.iterdir(), figure.rglob("*") if figure else ()]
    for folder in (*code, *data):
        for path in sorted(folder):
            if path.is_file() and (figure in path.parents or path.stat().st_size < SMALL):
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _encoded(picture: Picture, how: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, **how)
    return file.getvalue()


def _square(picture: Picture, size: int) -> Picture:
    """The middle of a picture [H,W,3] as [size,size,3]."""
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    middle = picture[top : top + side, left : left + side]
    return cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)
