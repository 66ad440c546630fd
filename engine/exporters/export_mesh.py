"""A character as exporters write it: primitives of one material each, and what the morph targets do to them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from engine.exporters.basis import Basis
from engine.exporters.materials import Material, materials
from engine.exporters.trim import within_bust
from engine.glasses import worn_parts
from engine.head import LEFT_EYE, SKIN, TEETH, Head
from engine.renderer import WORN, Renderer

# Changes below these are left out: metres, and parts of a unit normal.
LEAST_DISPLACEMENT, LEAST_TURN = 2e-6, 8e-3


@dataclass(frozen=True)
class Primitive:
    """Triangles of one material. Vertices are split where texture coordinates are: `sources` says from which."""

    name: str
    material: Material
    sources: NDArray[np.int64]  # [P] vertices of the head
    uvs: NDArray[np.float32]  # [P, 2] V up
    triangles: NDArray[np.int64]  # [T, 3] into sources


@dataclass(frozen=True)
class MorphTarget:
    """What one target does to the worn vertices: displacement [W, 3] in metres, change of the normal [W, 3]."""

    name: str
    displacement: NDArray[np.float32]
    normal: NDArray[np.float32]


@dataclass(frozen=True)
class ExportMesh:
    """One character: the primitives it wears, the head's vertices [V, 3] (metres, Y up) and its morph basis.

    `weights` [K] are the targets' weights that make this character, `rest` [K] those that `vertices` hold already. What
    is not worn is not in `vertices`.
    """

    head: Head
    basis: Basis
    primitives: tuple[Primitive, ...]
    vertices: NDArray[np.float32]
    weights: NDArray[np.float32]
    rest: NDArray[np.float32]

    @classmethod
    def of(
        cls, renderer: Renderer, sliders: NDArray[np.float32], choices: NDArray[np.integer], *, as_shown: bool = True
    ) -> "ExportMesh":
        """The mesh of sliders [S] and choice numbers [G].

        Args:
            as_shown: the geometry is the character's; otherwise it is the template's, with all weights 0.
        """
        head, schema = renderer.head, renderer.schema
        numbers = np.asarray(choices, np.int64)
        chosen = {group.name: group.choices[numbers[number]] for number, group in enumerate(schema.groups)}
        basis = Basis.of(head, schema, renderer.blend)
        primitives = tuple(_primitives(head, chosen, materials(renderer, sliders, numbers)))
        weights = basis.weights(sliders)
        if not as_shown:
            template = np.concatenate([head.template, head.bound_vertices])
            return cls(head, basis, primitives, template, weights, np.zeros_like(weights))
        with threadpool_limits(1, user_api="blas"):  # sums in one order: the same bytes on any number of processors
            vertices = renderer.vertices(sliders[None], numbers[None])[0]
        return cls(head, basis, primitives, vertices, weights, weights)

    def only(self, names: Collection[str]) -> "ExportMesh":
        """The same mesh with some of its primitives."""
        return replace(self, primitives=tuple(primitive for primitive in self.primitives if primitive.name in names))

    def with_faces_alone(self) -> "ExportMesh":
        """The same mesh without the targets of the sliders: the geometry stays as it is."""
        kept = np.array([name in self.basis.blend.actions for name in self.basis.names])
        weights, rest = self.weights[kept], self.rest[kept]
        return replace(self, basis=self.basis.with_faces_alone(), weights=weights, rest=rest)

    @cached_property
    def worn(self) -> NDArray[np.int64]:
        """Vertices of all primitives, sorted."""
        return np.unique(np.concatenate([primitive.sources for primitive in self.primitives]))

    @cached_property
    def normals(self) -> NDArray[np.float32]:
        """Unit normals [W, 3] of the worn vertices."""
        return _unit(self._surface[2])

    @cached_property
    def _surface(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Triangles [T, 3] into the worn vertices, their normals by area [T, 3], and the sums of these [W, 3]."""
        triangles = np.concatenate([self.places(primitive)[primitive.triangles] for primitive in self.primitives])
        crosses = _crosses(self.vertices[self.worn], triangles)
        return triangles, crosses, _scatter(crosses, triangles, len(self.worn))

    def places(self, primitive: Primitive) -> NDArray[np.int64]:
        """Where the vertices of a primitive lie among the worn ones."""
        return np.searchsorted(self.worn, primitive.sources)

    def displacements(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Each target's name and how it moves the worn vertices [W, 3], in the basis' order; small changes are 0."""
        for name, on_base in zip(self.basis.names, self.basis.displacements, strict=True):
            displacement = bound_displacements(self.head, on_base, self.worn)
            displacement[largest(displacement) < LEAST_DISPLACEMENT] = 0.0
            yield name, displacement

    def morph_targets(self) -> Iterator[MorphTarget]:
        """What each target does, in the basis' order; small changes are 0."""
        everything, crosses, summed = self._surface
        shown = self.vertices[self.worn]
        for name, displacement in self.displacements():
            moved = largest(displacement) > 0.0
            a, b, c = everything.T
            touched = np.flatnonzero(moved[a] | moved[b] | moved[c])
            around = everything[touched]
            change = _crosses(shown + displacement, around) - crosses[touched]
            turned = np.zeros(len(shown), dtype=bool)
            turned[around] = True
            normal = np.zeros_like(shown)
            normal[turned] = _unit((summed + _scatter(change, around, len(shown)))[turned]) - self.normals[turned]
            normal[largest(normal) < LEAST_TURN] = 0.0
            yield MorphTarget(name, displacement, normal)

    def centre(self, primitive: Primitive) -> NDArray[np.float32]:
        """The middle of a primitive's bounding box; an eyeball's pivot."""
        points = self.vertices[primitive.sources]
        return (points.min(axis=0) + points.max(axis=0)) / 2


def largest(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest component of each vector [V, 3], by amount."""
    # Three columns: NumPy reduces a short last axis slowly.
    x, y, z = np.abs(vectors).T
    return np.maximum(np.maximum(x, y), z)


def bound_displacements(
    head: Head, displacement: NDArray[np.float32], vertices: NDArray[np.int64]
) -> NDArray[np.float32]:
    """How displacements [n_base, 3] of the base mesh move some vertices [P] of the head, bound ones included."""
    on_base = vertices < head.n_base
    moved = np.empty((len(vertices), 3), np.float32)
    moved[on_base] = displacement[vertices[on_base]]
    proxy = vertices[~on_base] - head.n_base
    references, weights = head.references[proxy], head.weights[proxy]
    moved[~on_base] = sum(weights[:, corner, None] * displacement[references[:, corner]] for corner in range(3))
    return moved


def _primitives(head: Head, chosen: dict[str, str], made: dict[str, Material]) -> Iterator[Primitive]:
    worn = {part: name for group in WORN if group in chosen for name, part in worn_parts(group, chosen[group]).items()}
    for part in head.parts:
        drawn = slice(part.first_triangle, part.first_triangle + part.n_triangles)
        if part.name == "base":
            is_skin, inside = head.materials[drawn] == SKIN, head.labels[drawn] == TEETH
            skin = is_skin & ~inside
            skin[skin] = within_bust(head, head.triangles[drawn][skin])
            for name, which in (("skin", skin), ("mouth", is_skin & inside), ("teeth", ~is_skin)):
                yield _primitive(head, name, made[name], part.first_triangle + np.flatnonzero(which))
        elif part.name == "eyes":
            is_left = head.labels[drawn] == LEFT_EYE
            for name, side in (("eye_left", is_left), ("eye_right", ~is_left)):
                yield _primitive(head, name, made["eyes"], part.first_triangle + np.flatnonzero(side))
        elif name := worn.get(part.name):
            yield _primitive(head, name, made[name], np.arange(drawn.start, drawn.stop))


def _primitive(head: Head, name: str, material: Material, triangles: NDArray[np.int64]) -> Primitive:
    uvs = head.uvs[triangles]
    return Primitive(
        name, material, *welded(head.triangles[triangles], uvs if material.picture is not None else 0 * uvs)
    )


def welded(
    triangles: NDArray[np.integer], uvs: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Triangles [T, 3] with UVs [T, 3, 2] as vertices that have one UV each: which vertices they come from [P], their
    UVs [P, 2] and the triangles between them [T, 3]."""
    corners, flat = triangles.ravel().astype(np.int64), uvs.reshape(-1, 2)
    # Texture coordinates that differ by less than a hundredth of a texel are one.
    keys = np.column_stack([corners, np.round(flat * 50_000.0).astype(np.int64)])
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return corners[first], flat[first], inverse.reshape(-1, 3)


def vertex_normals(vertices: NDArray[np.float32], triangles: NDArray[np.integer]) -> NDArray[np.float32]:
    """Unit normals [V, 3], averages of the triangles [T, 3] around weighted by area."""
    return _unit(_scatter(_crosses(vertices, triangles), triangles, len(vertices)))


def _crosses(vertices: NDArray[np.float32], triangles: NDArray[np.integer]) -> NDArray[np.float64]:
    a, b, c = (vertices[triangles[:, corner]].astype(np.float64) for corner in range(3))
    (x, y, z), (u, v, w) = (b - a).T, (c - a).T
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=1)


def _scatter(values: NDArray[np.float64], triangles: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """Sum of the values [T, 3] of the triangles around each of `count` vertices."""
    corners = triangles.ravel()
    columns = [np.bincount(corners, np.repeat(column, 3), count) for column in values.T]
    return np.stack(columns, axis=1).astype(np.float64)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Vectors [V, 3] at length 1; +Z where there is none."""
    length = np.sqrt(np.einsum("vx,vx->v", vectors, vectors))[:, None]
    forward = np.array([0.0, 0.0, 1.0])
    return np.where(length > 1e-18, vectors / np.maximum(length, 1e-18), forward).astype(np.float32)
