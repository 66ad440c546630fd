"""Simplify all that exported heads are made of, once and for all characters: `engine/exporters/lod2.safetensors`.

    make lod

meshoptimizer keeps some of a primitive's vertices and leaves out the others, so that morph targets and weights of bones
stay what they are. Its measure of what is lost counts the movements of the face as well as its shape.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from engine.exporters import detail
from engine.exporters.export_mesh import ExportMesh, Primitive, bound_displacements
from engine.head import ACTION
from engine.renderer import Renderer

ROOT = Path(__file__).resolve().parents[1]
SHARES = {"skin": 0.28, "mouth": 0.25, "teeth": 0.32, "beard": 0.3, "hair": 0.4, "glasses": 0.4}
"""Share of the triangles that are kept."""
EYE_SHARE = 0.3
MOVES = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "eyeBlinkLeft", "eyeBlinkRight", "browInnerUp", "mouthFunnel")
NORMAL_WEIGHT, UV_WEIGHT = 0.1, 0.1


def main() -> None:
    """Write the table."""
    renderer = Renderer(ROOT / "characters" / "embedded", ROOT / "data" / "embedded")
    pieces: dict[str, dict[str, Any]] = {}
    for mesh in _meshes(renderer):
        for primitive in mesh.primitives:
            if primitive.name in detail.SIMPLIFIED and detail.key(primitive) not in pieces:
                pieces[detail.key(primitive)] = _piece(mesh, primitive)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pieces.json"
        file.write_text(json.dumps(pieces))
        command = ["node", str(Path(__file__).with_name("simplify.mjs")), str(file)]
        left = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    table = {name: np.array(triangles, np.uint16).reshape(-1, 3) for name, triangles in sorted(left.items())}
    save_file(table, detail.TABLE)
    for name, triangles in table.items():
        print(f"{name}: {len(pieces[name]['triangles']) // 3} → {len(triangles)} triangles")


def _meshes(renderer: Renderer) -> Iterator[ExportMesh]:
    """The template with each head of hair, each beard and each pair of glasses once."""
    schema = renderer.schema
    neutral = schema.neutral_discrete()
    for group in ("hair", "beard", "glasses"):
        for number in range(len(schema.group(group).choices)):
            choices = neutral.copy()
            choices[schema.group_index[group]] = number
            yield ExportMesh.of(renderer, schema.neutral_sliders(), choices, as_shown=False)


def _piece(mesh: ExportMesh, primitive: Primitive) -> dict[str, Any]:
    points = mesh.vertices[primitive.sources]
    head = mesh.head
    moves = [
        bound_displacements(head, head.morphs[head.morph_index[f"{ACTION}{name}"]], primitive.sources) for name in MOVES
    ]
    size = float(np.ptp(points, axis=0).max())
    attributes = [primitive.uvs, mesh.normals[mesh.places(primitive)], *(moved / size for moved in moves)]
    weights = [UV_WEIGHT] * 2 + [NORMAL_WEIGHT] * 3 + [1.0] * 3 * len(MOVES)
    borders = _open(primitive) if primitive.name in ("skin", "mouth") else np.zeros(len(points), bool)
    return {
        "positions": points.ravel().tolist(),
        "attributes": np.concatenate(attributes, axis=1).ravel().tolist(),
        "weights": weights,
        "triangles": primitive.triangles.ravel().tolist(),
        "share": SHARES.get(primitive.name, EYE_SHARE),
        "locked": borders.astype(int).tolist(),
    }


def _open(primitive: Primitive) -> NDArray[np.bool_]:
    """Which vertices [P] lie on an open border, where other primitives or a body join."""
    corners = primitive.sources[primitive.triangles]
    sides = np.sort(corners[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    named, count = np.unique(sides, axis=0, return_counts=True)
    return np.isin(primitive.sources, named[count == 1])


if __name__ == "__main__":
    main()
