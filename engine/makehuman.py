"""Readers for MakeHuman's file formats: base mesh (.obj), targets (.target[.gz]) and proxies (three.js JSON).

They return NumPy arrays and know nothing about faces, sliders or rendering.
"""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Mesh:
    """A quad mesh whose corners have texture coordinates of their own.

    vertices [V, 3] in decimetres, Y up, Z towards the viewer, +X the person's left; quads [Q, 4] vertex ids;
    quad_uvs [Q, 4, 2] in [0, 1] with V up; groups [Q] name of the OBJ group of each quad.
    """

    vertices: Floats
    quads: Ints
    quad_uvs: Floats
    groups: NDArray[np.str_]


@dataclass(frozen=True)
class Proxy:
    """A mesh bound to a base mesh: vertex = Σ weights·base[references] + offset."""

    references: Ints  # [V, 3] vertex ids of the base mesh
    weights: Floats  # [V, 3], rows sum to 1
    offsets: Floats  # [V, 3] decimetres
    quads: Ints  # [Q, 4]
    quad_uvs: Floats  # [Q, 4, 2]


def read_obj(path: Path) -> Mesh:
    """Read MakeHuman's base.obj (quads with texture coordinates, grouped)."""
    vertices: list[list[float]] = []
    uvs: list[list[float]] = []
    quads: list[list[int]] = []
    quad_uvs: list[list[int]] = []
    groups: list[str] = []
    group = ""
    for line in path.read_text().splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(field) for field in fields[:3]])
        elif kind == "vt":
            uvs.append([float(field) for field in fields[:2]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            corners = [field.split("/") for field in fields]
            quads.append([int(corner[0]) - 1 for corner in corners])
            quad_uvs.append([int(corner[1]) - 1 for corner in corners])
            groups.append(group)
    return Mesh(np.array(vertices), np.array(quads), np.array(uvs)[np.array(quad_uvs)], np.array(groups))


def read_target(path: Path, n_vertices: int) -> Floats:
    """Read a sparse morph target as dense displacements [n_vertices, 3] in decimetres."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    displacement = np.zeros((n_vertices, 3))
    for line in text.splitlines():
        if line and not line.startswith("#"):
            index, *delta = line.split()
            displacement[int(index)] = [float(value) for value in delta]
    return displacement


def read_proxy(path: Path) -> Proxy:
    """Read a proxy (hair, brows, lashes, eyes) from MakeHuman's three.js export, JSON model format 3."""
    document = json.loads(path.read_text())
    quads, uv_ids = _parse_threejs_faces(document["faces"])
    uvs = np.array(document["uvs"][0]).reshape(-1, 2)
    return Proxy(
        references=np.array(document["ref_vIdxs"]),
        weights=np.array(document["weights"], dtype=np.float64),
        offsets=np.array(document["offsets"], dtype=np.float64),
        quads=quads,
        quad_uvs=uvs[uv_ids],
    )


def _parse_threejs_faces(stream: list[int]) -> tuple[Ints, Ints]:
    """Vertex and UV ids of each face; triangles repeat their last corner so that all faces are quads."""
    quads: list[list[int]] = []
    uv_ids: list[list[int]] = []
    at = 0
    while at < len(stream):
        kind = stream[at]
        corners = 4 if kind & 1 else 3
        at += 1
        vertices = stream[at : at + corners]
        at += corners + (1 if kind & 2 else 0) + (1 if kind & 4 else 0)
        if not kind & 8:
            raise ValueError("a face of the proxy has no texture coordinates")
        uvs = stream[at : at + corners]
        at += corners + (1 if kind & 16 else 0) + (corners if kind & 32 else 0)
        at += (1 if kind & 64 else 0) + (corners if kind & 128 else 0)
        quads.append(vertices + vertices[3 - corners :][: 4 - corners])
        uv_ids.append(uvs + uvs[3 - corners :][: 4 - corners])
    return np.array(quads), np.array(uv_ids)


def triangulate(quads: Ints, quad_uvs: Floats) -> tuple[Ints, Floats]:
    """Split quads into triangles [2Q, 3] with corner UVs [2Q, 3, 2], dropping the empty halves of triangles."""
    split = np.array([[0, 1, 2], [0, 2, 3]])
    triangles = quads[:, split].reshape(-1, 3)
    uvs = quad_uvs[:, split].reshape(-1, 3, 2)
    whole = (
        (triangles[:, 0] != triangles[:, 1])
        & (triangles[:, 1] != triangles[:, 2])
        & (triangles[:, 0] != triangles[:, 2])
    )
    return triangles[whole], uvs[whole]
