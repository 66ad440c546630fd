"""What the rendering process can draw of one character. Everything is bytes of a file; the same request gives the same
bytes."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import engine
from engine.character import Character
from engine.engines import Engine
from engine.picture_options import AS_IN_GAME, PictureOptions
from engine.schema import Schema
from serving.rendering.errors import CannotDraw, Outdated
from serving.rendering.schema_document import THUMBNAIL_SIZE, SchemaDocument, schema_document

JPEG: dict[str, Any] = {"format": "JPEG", "quality": 90}
PNG: dict[str, Any] = {"format": "PNG", "compress_level": 4}
WEBP: dict[str, Any] = {"format": "WEBP", "quality": 90, "method": 4}
SIZES = (64, 1024)  # pixels of a picture's side
SMALL = 1_000_000  # bytes; larger files of a character are pairs or models, not what draws it

Picture = NDArray[np.uint8]
Parameters = tuple[NDArray[np.float32], NDArray[np.int16]]


class CharacterRenderer:
    """One character, drawn by a renderer of its own or, where there are only exported pairs, by nothing."""

    def __init__(self, character: Character, engine: Engine | None) -> None:
        self.character, self.schema, self.engine = character, character.schema, engine
        self.md5, self.md5s = Schema.md5(character.folder), Schema.md5s(character.folder)

    def document(self) -> SchemaDocument:
        """The document of `/v1/schema`."""
        now = version_of(self.character.folder.iterdir())
        return schema_document(self.schema, self.md5, now, thumbnails=self.engine is not None)

    def png(self, document: Mapping[str, Any], size: int, **options: Any) -> bytes:
        """The engine's own picture of a character.json, `size` pixels high; `options` of PictureOptions."""
        return encoded(self._asked(document, size, options), PNG)

    def webp(self, document: Mapping[str, Any], size: int, **options: Any) -> bytes:
        """The same as WebP: a tenth of the bytes."""
        return encoded(self._asked(document, size, options), WEBP)

    def glb(self, document: Mapping[str, Any], **options: Any) -> bytes:
        """What `likeness export` writes of a character.json as .glb; `options` of ExportOptions."""
        raise CannotDraw(f"{self.schema.name} is drawn by an engine of its own, whose geometry is not here")

    def vrm(self, document: Mapping[str, Any], **options: Any) -> bytes:
        """The same as .vrm; `options` beside those of ExportOptions: `name`, and `author`, a list of names."""
        return self.glb(document)

    def mhm(self, document: Mapping[str, Any]) -> bytes:
        """A character.json as MakeHuman's model file."""
        raise CannotDraw(f"{self.schema.name} is drawn by an engine of its own, of which MakeHuman knows nothing")

    def thumbnail(self, group: str, choice: str) -> bytes:
        """A small picture of one choice."""
        whole = self._picture(*self._set({group: choice}, {}), 2 * THUMBNAIL_SIZE)
        return encoded(_square(whole, THUMBNAIL_SIZE), JPEG)

    def _asked(self, document: Mapping[str, Any], size: int, options: Mapping[str, Any]) -> Picture:
        sliders, choices = self._parameters(document)
        if not SIZES[0] <= size <= SIZES[1]:
            raise CannotDraw(f"a picture is {SIZES[0]} to {SIZES[1]} pixels high, not {size}")
        try:
            return self._picture(sliders, choices, size, PictureOptions(**options))
        except ValueError as error:
            raise CannotDraw(str(error)) from error

    def _picture(
        self,
        sliders: NDArray[np.float32],
        choices: NDArray[np.int16],
        size: int,
        options: PictureOptions = AS_IN_GAME,
    ) -> Picture:
        if self.engine is None:
            raise CannotDraw(
                f"{self.schema.name} has only pairs that its own engine exported: nothing can draw another one"
            )
        return self.engine.picture(sliders, choices, size, options)

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
        if md5 not in self.md5s:
            if md5 in Schema.md5s(self.character.folder):
                raise Outdated
            raise CannotDraw(
                f"the character was made for another schema of {named} (md5 {md5}) than today's: create it again"
            )
        try:
            x = self.schema.from_document(document["parameters"], document["discrete"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CannotDraw(f"the character's document is not valid: {error}") from error
        return self.schema.choose(x[None])


def version_of(*data: Iterable[Path], head: bytes = b"") -> str:
    """A digest of all that drawn bytes depend on: code, libraries, small files of the data, the embedded head."""
    digest = hashlib.blake2b(head, digest_size=6)
    libraries = ("numpy", "opencv-python", "pillow", "warp-lang")
    digest.update(json.dumps({name: version(name) for name in libraries}).encode())
    code = [*map(Path(engine.__file__).parent.rglob, ("*.py", "*.yaml")), Path(__file__).parent.glob("*.py")]
    for files in (*code, *data):
        for path in sorted(files):
            if path.is_file() and path.stat().st_size < SMALL:
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def encoded(picture: Picture, how: Mapping[str, Any]) -> bytes:
    """A picture as a file, with Pillow's options."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, **how)
    return file.getvalue()


def _square(picture: Picture, size: int) -> Picture:
    """The middle of a picture [H,W,3] as [size,size,3]."""
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    middle = picture[top : top + side, left : left + side]
    return cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)
