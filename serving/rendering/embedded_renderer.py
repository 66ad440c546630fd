"""What the embedded engine can draw of a character: pictures, files, and all that a client draws it from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engine import thumbnails
from engine.character import Character
from engine.engines import EmbeddedEngine
from engine.exporters.basis import Basis
from engine.exporters.detail import character_mesh, simplified
from engine.exporters.export_mesh import ExportMesh
from engine.exporters.glb import about, to_bare_glb, to_glb
from engine.exporters.materials import teeth_picture, worn_picture
from engine.exporters.mhm import to_mhm
from engine.exporters.options import AVATAR, UNKNOWN_AUTHOR, ExportOptions
from engine.exporters.skin import plain_skin
from engine.exporters.vrm import to_vrm
from engine.head import HEAD_FILE
from engine.scenes import EYE_LEVEL, FRAME_WIDTH, GAME_DISTANCE
from serving.rendering.character_renderer import JPEG, WEBP, CharacterRenderer, encoded, version_of
from serving.rendering.errors import CannotDraw
from serving.rendering.schema_document import (
    ACTIONS,
    THUMBNAIL_SIZE,
    SchemaDocument,
    Targets,
    pieces_of,
    schema_document,
)

# Three channels that mean directions, not brightness and hue, are all kept at full resolution.
JPEG_NORMALS: dict[str, Any] = {**JPEG, "subsampling": 0}
# Colours are kept where nothing shows: smaller versions of the picture mix them in.
TEXTURE: dict[str, Any] = {**WEBP, "exact": True}
FEWER = ("teeth", "beard")
"""What a player sees too little of to wait for all of it."""
TEETH_SIDE = 256  # pixels of their picture's side: a tooth is a few wide on the screen
MHM_NAME = "likeness"


class EmbeddedRenderer(CharacterRenderer):
    """A character with the embedded engine; `embedded` is `data/embedded`."""

    def __init__(self, character: Character, engine: EmbeddedEngine, embedded: Path) -> None:
        super().__init__(character, engine)
        self.renderer = engine.renderer
        self.data = embedded / "character"

    def document(self) -> SchemaDocument:
        renderer, head = self.renderer, (self.data / HEAD_FILE).read_bytes()
        return schema_document(
            self.schema,
            self.md5,
            version_of(self.character.folder.iterdir(), self.data.rglob("*"), head=head),
            thumbnails=True,
            colours={
                g.name: {c: thumbnails.colour(renderer, g.name, c) for c in g.choices} for g in self.schema.groups
            },
            basis=Basis.of(renderer.head, self.schema, renderer.blend).description(),
            camera={"distance": GAME_DISTANCE, "width": FRAME_WIDTH, "level": EYE_LEVEL},
        )

    def glb(self, document: Mapping[str, Any], **options: Any) -> bytes:
        wanted = ExportOptions(**options)
        return to_glb(self._mesh(document, wanted), about(document), wanted.bones)

    def vrm(self, document: Mapping[str, Any], name: str = AVATAR, author: Sequence[str] = (), **options: Any) -> bytes:
        mesh = self._mesh(document, ExportOptions(**options))
        return to_vrm(mesh, about(document), name, author or (UNKNOWN_AUTHOR,))

    def mhm(self, document: Mapping[str, Any]) -> bytes:
        sliders, choices = self._parameters(document)
        return to_mhm(self.schema, sliders[0], choices[0], MHM_NAME).encode()

    def piece(self, name: str, choice: str | None, targets: Targets = "sliders") -> bytes:
        """Geometry of a piece, on the template, with the targets of all sliders and a blink, or of the other face
        actions; `choice` of its group."""
        group, meshes = pieces_of(self.schema)[name]
        sliders, choices = self._set({} if group is None or choice is None else {group: choice}, {})
        mesh = ExportMesh.of(self.renderer, sliders[0], choices[0], as_shown=False, for_page=True).only(meshes)
        mesh = simplified(mesh, FEWER)
        others = set(self.renderer.blend.actions) - set(ACTIONS)
        return to_bare_glb(mesh, name, others if targets == "actions" else set(mesh.basis.names) - others)

    def texture(self, name: str, choices: Mapping[str, str], sliders: Mapping[str, float]) -> bytes:
        """A picture of the materials; choices and sliders that are not given are neutral."""
        values, numbers = self._set(choices, sliders)
        if name in ("skin", "skin_normals"):
            skin = plain_skin(self.renderer, values[0], numbers[0])
            return encoded(skin.colour, JPEG) if name == "skin" else encoded(skin.normals, JPEG_NORMALS)
        if name == "teeth":
            whole = teeth_picture(self.renderer)
            small = cv2.resize(whole, (TEETH_SIDE, TEETH_SIDE), interpolation=cv2.INTER_AREA)
            return encoded(small.astype(np.uint8), JPEG)
        picture = worn_picture(self.renderer, name, values[0], numbers[0])
        if picture is None:
            raise CannotDraw(f"{choices.get(name)} of {name} has no picture")
        return encoded(picture, TEXTURE)

    def _mesh(self, document: Mapping[str, Any], wanted: ExportOptions) -> ExportMesh:
        sliders, choices = self._parameters(document)
        return character_mesh(self.renderer, sliders[0], choices[0], wanted)

    def thumbnail(self, group: str, choice: str) -> bytes:
        found = self.schema.groups[self.schema.group_index[group]]
        return encoded(thumbnails.thumbnail(self.renderer, found, choice, THUMBNAIL_SIZE), JPEG)
