"""Levels of detail of an exported mesh: 0 rounded, for pictures; 1 as the engine has it, with a simpler beard; 2 for
a crowd.

All levels have the same primitives, materials, targets and bones, and the same neck ring.
"""

import hashlib
from collections.abc import Collection
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from engine import rounding
from engine.exporters.export_mesh import ExportMesh, Primitive
from engine.exporters.geometry import welded
from engine.exporters.options import DEFAULTS, ExportOptions
from engine.head import SKIN, Submesh
from engine.renderer import Renderer

TABLE = Path(__file__).with_name("lod2.safetensors")
SIMPLIFIED = (
    "skin", "mouth", "teeth", "eye_left", "eye_right", "cornea_left", "cornea_right", "beard", "hair", "glasses",
)  # fmt: skip
SOFT = ("skin", "mouth", "hair")
"""What is rounded: eyeballs are fine as they are, lashes and brows thin, the frames of glasses straight."""


def character_mesh(
    renderer: Renderer,
    sliders: NDArray[np.float32],
    choices: NDArray[np.integer],
    options: ExportOptions = DEFAULTS,
    *,
    as_shown: bool = True,
) -> ExportMesh:
    """The mesh of sliders [S] and choice numbers [G] as the options want it; `as_shown` as for ExportMesh.of."""
    mesh = ExportMesh.of(renderer, sliders, choices, as_shown=as_shown, texture=options.texture)
    if options.targets == "faces":
        mesh = mesh.with_faces_alone()
    return at_lod(mesh, options.lod)


def at_lod(mesh: ExportMesh, lod: int) -> ExportMesh:
    """The mesh at a level of detail of LODS."""
    if lod == 0:
        return rounded(mesh)
    return simplified(mesh) if lod == 2 else simplified(mesh, ("beard",))


def rounded(mesh: ExportMesh) -> ExportMesh:
    """The mesh with four triangles for each one of its soft primitives, as the engine draws large pictures."""
    soft = [primitive for primitive in mesh.primitives if primitive.name in SOFT]
    corners = np.concatenate([primitive.sources[primitive.triangles] for primitive in soft])
    uvs = np.concatenate([primitive.uvs[primitive.triangles] for primitive in soft])
    count = len(corners)
    whole = replace(
        mesh.head,
        triangles=corners.astype(np.int32),
        uvs=uvs,
        labels=np.zeros(count, np.uint8),
        lips=np.zeros(count, np.uint8),
        materials=np.full(count, SKIN, np.uint8),
        parts=(Submesh("soft", 0, 0, 0, count),),
    )
    made = rounding.rounded(whole)
    vertices = np.concatenate([mesh.vertices, _middles(mesh, made.ends)])
    borders = np.cumsum([0, *(4 * len(primitive.triangles) for primitive in soft)])
    parted = {
        primitive.name: _with(primitive, made.head.triangles[first:last], made.head.uvs[first:last])
        for primitive, first, last in zip(soft, borders[:-1], borders[1:], strict=True)
    }
    primitives = tuple(parted.get(primitive.name, primitive) for primitive in mesh.primitives)
    return replace(mesh, primitives=primitives, vertices=vertices, ends=made.ends)


def _with(primitive: Primitive, triangles: NDArray[np.int32], uvs: NDArray[np.float32]) -> Primitive:
    sources, coordinates, numbers = welded(triangles, uvs)
    return replace(primitive, sources=sources, uvs=coordinates, triangles=numbers)


def _middles(mesh: ExportMesh, ends: NDArray[np.int32]) -> NDArray[np.float32]:
    """Where the middles of edges [E, 2] lie [E, 3]: on curves that meet the normals at both ends
    (engine/kernels/pose.py, `curve`)."""
    starts, stops = ends.T
    leaving, arriving = (mesh.normals[np.searchsorted(mesh.worn, side)] for side in (starts, stops))
    along = mesh.vertices[stops] - mesh.vertices[starts]
    bend = _dot(along, arriving) * arriving - _dot(along, leaving) * leaving
    roundness = np.maximum(_dot(leaving, arriving), 0.0)
    middles = 0.5 * (mesh.vertices[starts] + mesh.vertices[stops]) + 0.125 * roundness**2 * bend
    return middles.astype(np.float32)


def _dot(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return (a * b).sum(axis=1, keepdims=True)


def simplified(mesh: ExportMesh, names: Collection[str] = SIMPLIFIED) -> ExportMesh:
    """The mesh with the triangles that `tools/lod.py` left of some primitives; their vertices are some of its own.

    Raises ValueError for a primitive that was not simplified beforehand.
    """
    table = _simplified()
    fewer = (_fewer(primitive, table) if primitive.name in names else primitive for primitive in mesh.primitives)
    return replace(mesh, primitives=tuple(fewer))


def key(primitive: Primitive) -> str:
    """What a primitive's simplified triangles are found by: its name and a digest of its triangles."""
    digest = hashlib.sha256(primitive.sources.astype("<i4").tobytes() + primitive.triangles.astype("<i4").tobytes())
    return f"{primitive.name}/{digest.hexdigest()[:12]}"


def _fewer(primitive: Primitive, table: dict[str, NDArray[np.uint16]]) -> Primitive:
    found = table.get(key(primitive))
    if found is None:
        raise ValueError(f"{primitive.name} has other triangles than {TABLE.name} was made for: run `make lod`")
    used, triangles = np.unique(found, return_inverse=True)
    return replace(
        primitive,
        sources=primitive.sources[used],
        uvs=primitive.uvs[used],
        triangles=triangles.reshape(-1, 3).astype(np.int64),
    )


@cache
def _simplified() -> dict[str, NDArray[np.uint16]]:
    return load_file(TABLE)
