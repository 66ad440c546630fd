"""Heads of hair that are made from MakeHuman's ten: moved, mirrored, cut, joined, or painted on the scalp.

A style is a recipe over one of the ten. Its geometry follows from the recipe when the head is loaded; what is cut away
is made transparent in a texture of its own (engine/textures.py), which is possible because every place of these meshes
has a texel of its own. Lengths are metres, places [..., 3] those of the template: Y up from the eyes, +X the person's
left, +Z forward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine import atlas, fringe
from engine.hair_shaping import (
    Places,
    above,
    bare_crown,
    before,
    brushed,
    coiled,
    opened,
    parted,
    raised,
    receded,
    swelled,
    top_only,
    waved,
)

if TYPE_CHECKING:
    from engine.head import Head, Submesh

Move = Callable[[Places], Places]
"""Where places of the hair [V, 3] come to lie."""
Cut = Callable[[Places], Places]
"""How much of the hair stays at places [..., 3], in [0, 1]."""


ROUNDNESS = 0.75  # of the triangles that are split


@dataclass(frozen=True)
class Style:
    """How a head of hair is made of one of the ten; of none, where it is only painted (`scalp`)."""

    base: str = ""
    moves: tuple[Move, ...] = ()
    cuts: tuple[Cut, ...] = ()
    mirrored: bool = False
    fringe: bool = False
    fine: bool = False  # triangles split in four, where the base is too coarse for waves or an outline
    scalp: str = ""  # what is painted under it (engine/paint.py); the roots of all hair where nothing is said

    def placed(self, place: Places) -> Places:
        """Where places of the base [V, 3] come to lie."""
        for move in self.moves:
            place = move(place)
        return place

    def kept(self, place: Places) -> Places:
        """How much of the hair stays at moved places [..., 3], in [0, 1]."""
        share = np.ones(place.shape[:-1])
        for cut in self.cuts:
            share = share * cut(place)
        return share


_SWEPT = partial(opened, parting=0.35, width=0.62, low=0.035, high=0.085)
_LEFT, _RIGHT = partial(parted, angle=0.42), partial(parted, angle=-0.42)
_FULL, _LOOSE = partial(swelled, share=0.04), partial(swelled, share=0.10, crown=0.02)
_WAVES = partial(waved, amplitude=0.018, length=0.11, start=0.02)
_CURLS = partial(waved, amplitude=0.020, length=0.055, start=0.03, turns=5.0)
_CHEST = partial(above, height=-0.30, ragged=0.02, soft=0.03)
_SHOULDER = partial(above, height=-0.165, ragged=0.008, soft=0.02)
_CHIN = partial(above, height=-0.105)
STYLES: dict[str, Style] = {
    "long02": Style("long01", (_LEFT, _FULL, before)),
    "long03": Style("long01", (_FULL, before), (_CHEST,), fine=True),
    "long04": Style("long01", (_RIGHT, _LOOSE, before, _WAVES), (_CHEST,), fine=True),
    "long05": Style("long01", (_FULL, before), fringe=True),
    "long06": Style("long01", (_LEFT, _LOOSE, _WAVES), fine=True),
    "curls01": Style(
        "long01",
        (partial(swelled, share=0.22, crown=0.05, below=1.2), partial(before, share=0.6), _CURLS),
        (partial(above, height=-0.20, ragged=0.03, soft=0.05),),
        fine=True,
    ),
    "shoulder01": Style("long01", (_FULL, partial(before, share=0.7)), (_SHOULDER,), fine=True),
    "shoulder02": Style("long01", (_RIGHT, _LOOSE, partial(before, share=0.5), _WAVES), (_SHOULDER,), fine=True),
    "shoulder03": Style("long01", (_FULL, partial(before, share=0.7)), (_SHOULDER,), fringe=True),
    "bob03": Style("bob02", (_SWEPT,)),
    "bob04": Style(
        "bob02",
        (_SWEPT, partial(swelled, share=0.05), partial(waved, amplitude=0.012, length=0.08, start=0.0)),
        mirrored=True,
        fine=True,
    ),
    "bob05": Style("long01", (partial(swelled, share=0.05, crown=0.02),), (_CHIN,), fringe=True),
    "bun01": Style("ponytail01", (partial(coiled, centre=(0.0, 0.060, -0.203), radius=0.028, start=0.06, end=-0.24),)),
    "afro02": Style("afro01", (partial(swelled, share=0.28, crown=0.06, below=1.3),)),
    "afro03": Style("afro01", (partial(swelled, share=-0.02, crown=-0.06),)),
    "pixie01": Style("short03", (partial(opened, parting=0.5, width=0.45, low=0.03, high=0.08),), mirrored=True),
    "short05": Style(
        "short03", (partial(raised, amount=0.8, low=0.0, high=0.075), partial(brushed, up=0.012, back=0.012))
    ),
    "short06": Style("short02", (partial(raised, amount=0.6, low=0.03, high=0.075),)),
    "short07": Style(
        "short01", (partial(swelled, share=0.06, crown=0.10), partial(waved, amplitude=0.010, length=0.03, start=0.15))
    ),
    "short08": Style("short04", (partial(swelled, share=0.05, crown=0.06), partial(brushed, up=0.014, back=0.0))),
    "short09": Style("short01", (partial(brushed, up=0.022, back=0.004),), (top_only,), scalp="fade"),
    "short10": Style("short04", (), (top_only,), scalp="fade"),
    "receding01": Style("short04", (), (partial(receded, depth=0.002, corners=0.020),), scalp="receding"),
    "receding02": Style("short04", (), (bare_crown,), scalp="wreath"),
    "buzz01": Style(scalp="buzz"),
    "buzz02": Style(scalp="shaved"),
}
PAINTED = frozenset(name for name, style in STYLES.items() if not style.base)
"""Styles without geometry: hair so short that it is painted on the scalp."""


# ---- textures ----


def opacity(head: Head, name: str) -> NDArray[np.float32]:
    """How much of a style's hair stays at each texel [512, 512] of its layer, in [0, 1]."""
    style, part = STYLES[name], head.part[name]
    drawn = slice(part.first_triangle, part.first_triangle + part.n_triangles)
    side = np.array([-1 if style.mirrored else 1, 1, 1], np.float32)
    corners = head.bound_vertices[head.triangles[drawn] - head.n_base] * side
    kept = style.kept(atlas.rasterise(head.uvs[drawn], corners).astype(np.float64))
    return np.nan_to_num(kept, nan=0.0).astype(np.float32)


# ---- geometry ----


def dressed(head: Head) -> Head:
    """The head with the geometry of all styles added behind its own."""
    from scipy.spatial import KDTree

    mirror = np.asarray(KDTree(head.template).query(head.template * np.array([-1, 1, 1], np.float32))[1])
    pieces = [_piece(head, name, style, mirror) for name, style in STYLES.items() if style.base in head.part]
    return _joined(head, pieces)


@dataclass(frozen=True)
class _Piece:
    """The geometry of a style before it is put behind the others; fields as those of Head."""

    name: str
    references: NDArray
    weights: NDArray
    offsets: NDArray
    triangles: NDArray  # into the piece's own vertices
    uvs: NDArray


def _piece(head: Head, name: str, style: Style, mirror: NDArray) -> _Piece:
    piece = _part(head, name, head.part[style.base])
    if style.fringe:
        piece = _with_fringe(head, piece)
    if style.fine:
        piece = _split(head, piece)
    bound = (piece.weights[..., None] * head.template[piece.references]).sum(axis=1)
    before = bound + piece.offsets
    after = style.placed(before.astype(np.float64))
    kept = style.kept(after)[piece.triangles].max(axis=1) > 0
    moved = replace(piece, offsets=(piece.offsets + after - before).astype(np.float32))
    moved = replace(moved, triangles=piece.triangles[kept], uvs=piece.uvs[kept])
    return _mirrored(moved, mirror) if style.mirrored else moved


def _part(head: Head, name: str, part: Submesh) -> _Piece:
    vertices = slice(part.first_vertex - head.n_base, part.first_vertex - head.n_base + part.n_vertices)
    drawn = slice(part.first_triangle, part.first_triangle + part.n_triangles)
    return _Piece(
        name,
        head.references[vertices],
        head.weights[vertices],
        head.offsets[vertices],
        head.triangles[drawn] - part.first_vertex,
        head.uvs[drawn],
    )


def _split(head: Head, piece: _Piece) -> _Piece:
    """Each triangle as four, rounded (Phong tessellation, Boubekeur and Alexa 2008). A new vertex is bound where an end
    of its edge is."""
    edges = np.sort(piece.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    (one, other), middle = (found := np.unique(edges, axis=0, return_inverse=True))[0].T, found[1].reshape(-1, 3)
    place = (piece.weights[..., None] * head.template[piece.references]).sum(axis=1) + piece.offsets
    middle_place = (place[one] + place[other]) / 2
    normals = _normals(place, piece.triangles)
    for end in (one, other):
        out = normals[end]
        middle_place -= ROUNDNESS / 2 * ((middle_place - place[end]) * out).sum(axis=1, keepdims=True) * out
    a, b, c = piece.triangles.T
    ab, bc, ca = middle.T + len(piece.references)
    u, v, w = np.moveaxis(piece.uvs, 1, 0)
    uv, vw, wu = (u + v) / 2, (v + w) / 2, (w + u) / 2
    corners = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    uvs = ((u, uv, wu), (uv, v, vw), (wu, vw, w), (uv, vw, wu))
    return replace(
        piece,
        references=np.concatenate([piece.references, piece.references[one]]),
        weights=np.concatenate([piece.weights, piece.weights[one]]),
        offsets=np.concatenate([piece.offsets, piece.offsets[one] + middle_place - place[one]]),
        triangles=np.concatenate([np.stack(triangle, axis=1) for triangle in corners]),
        uvs=np.concatenate([np.stack(triangle, axis=1) for triangle in uvs]),
    )


def _normals(place: NDArray, triangles: NDArray) -> NDArray:
    """Unit normals [V, 3] of a mesh; vertices in one place have the same."""
    a, b, c = (place[corner] for corner in triangles.T)
    _, number = np.unique(place.round(5), axis=0, return_inverse=True)
    total = np.zeros((number.max() + 1, 3))
    for corner in triangles.T:
        np.add.at(total, number[corner], np.cross(b - a, c - a))
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))[number]


def _with_fringe(head: Head, piece: _Piece) -> _Piece:
    references, weights, offsets, triangles, uvs = fringe.sheet(head.template)
    return replace(
        piece,
        references=np.concatenate([piece.references, references.astype(np.int32)]),
        weights=np.concatenate([piece.weights, weights.astype(np.float32)]),
        offsets=np.concatenate([piece.offsets, offsets.astype(np.float32)]),
        triangles=np.concatenate([piece.triangles, triangles + len(piece.references)]),
        uvs=np.concatenate([piece.uvs, uvs.astype(np.float32)]),
    )


def _mirrored(piece: _Piece, mirror: NDArray) -> _Piece:
    """Left for right."""
    return replace(
        piece,
        references=mirror[piece.references],
        offsets=piece.offsets * np.array([-1, 1, 1], np.float32),
        triangles=piece.triangles[:, ::-1],
        uvs=piece.uvs[:, ::-1],
    )


def _joined(head: Head, pieces: list[_Piece]) -> Head:
    """The head with pieces of hair behind its own; vertices that no triangle of theirs uses are left out."""
    from engine.head import HAIR_LABEL, HAIR_MATERIAL, Submesh

    columns: list[list[NDArray]] = [[head.references], [head.weights], [head.offsets], [head.triangles], [head.uvs]]
    parts, vertex, triangle = [*head.parts], head.n_vertices, len(head.triangles)
    for piece in pieces:
        used, corners = np.unique(piece.triangles, return_inverse=True)
        corners = corners.reshape(-1, 3)
        added = (piece.references[used], piece.weights[used], piece.offsets[used], corners + vertex, piece.uvs)
        for column, values in zip(columns, added, strict=True):
            column.append(values)
        parts.append(Submesh(piece.name, vertex, len(used), triangle, len(corners)))
        vertex, triangle = vertex + len(used), triangle + len(corners)
    references, weights, offsets, triangles, uvs = (np.concatenate(column, dtype=column[0].dtype) for column in columns)
    more = triangle - len(head.triangles)

    def filled(values: NDArray, value: int) -> NDArray:
        return np.concatenate([values, np.full(more, value, values.dtype)])

    return replace(
        head,
        references=references,
        weights=weights,
        offsets=offsets,
        triangles=triangles,
        uvs=uvs,
        labels=filled(head.labels, HAIR_LABEL),
        lips=filled(head.lips, HAIR_LABEL),
        materials=filled(head.materials, HAIR_MATERIAL),
        regions=np.concatenate([head.regions, np.zeros((vertex - len(head.regions), 2), np.float32)]),
        parts=tuple(parts),
    )
