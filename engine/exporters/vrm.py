"""A character as VRM 1.0: the glTF file of engine/exporters/glb.py on the bones of a whole body that stands on the
ground, with the expressions, the look and the terms of use that avatar programs read.

Only the head has vertices: the body's bones are there because VRM asks for them, in its T-pose. The model faces +Z.
Source: https://github.com/vrm-c/vrm-specification/tree/master/specification/VRMC_vrm-1.0
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from engine.exporters import face_shapes, skeleton
from engine.exporters.export_mesh import ExportMesh
from engine.exporters.glb import Json, rigged
from engine.exporters.glb_builder import pack

EXTENSION = "VRMC_vrm"
TABLE = Path(__file__).with_suffix(".yaml")


def to_vrm(mesh: ExportMesh, about: Mapping[str, Any], name: str, authors: Sequence[str]) -> bytes:
    """The bytes of a .vrm file; the same arguments give the same bytes.

    Args:
        about: as for `to_glb`.
        name, authors: the character's, for its terms of use; there is at least one author.
    """
    document, binary = rigged(mesh.lifted(-skeleton.ground()), about, body=True)
    table = _table()
    document["extensionsUsed"] = [EXTENSION]
    document["extensions"] = {
        EXTENSION: {
            "specVersion": "1.0",
            "meta": {"name": name, "authors": list(authors), **table["meta"]},
            "humanoid": {"humanBones": _human_bones(document)},
            "lookAt": {"offsetFromHeadBone": _between_the_eyes(document), **table["look_at"]},
            "expressions": {"preset": _presets(document, table["overrides"])},
        }
    }
    return pack(document, binary)


@cache
def _table() -> dict[str, Any]:
    return yaml.safe_load(TABLE.read_text())


def _human_bones(document: Json) -> Json:
    """Bones have the names that VRM gives them."""
    return {document["nodes"][joint]["name"]: {"node": joint} for joint in document["skins"][0]["joints"]}


def _between_the_eyes(document: Json) -> list[float]:
    """From the head's bone to the middle between those of the eyes [3], metres."""
    left, right = (node["translation"] for node in document["nodes"] if node["name"] in ("leftEye", "rightEye"))
    return [(a + b) / 2 for a, b in zip(left, right, strict=True)]


def _presets(document: Json, overrides: Mapping[str, Json]) -> Json:
    """The expressions: which targets of which nodes weigh how much."""
    named = {
        number: document["meshes"][node["mesh"]]["extras"]["targetNames"]
        for number, node in enumerate(document["nodes"])
        if "mesh" in node and "extras" in document["meshes"][node["mesh"]]  # glasses move with no expression
    }
    return {
        preset: {
            "morphTargetBinds": [
                {"node": node, "index": targets.index(action), "weight": weight}
                for node, targets in named.items()
                for action, weight in weights.items()
                if action in targets
            ],
            "isBinary": False,
            **overrides.get(preset, {}),
        }
        for preset, weights in face_shapes.shapes("presets").items()
    }
