"""A character as exporters write it: primitives of one material each, and what the morph targets do to them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from engine.atlas import SIDE
from engine.exporters import face_shapes
from engine.exporters.basis import Basis
from engine.exporters.geometry import cross_products, largest, summed_around, unit, welded
from engine.exporters.materials import Material, materials
from engine.exporters.trim import above_ring, within_bust
from engine.head import LEFT_EYE, TEETH, Head
from engine.renderer import Renderer
from engine.worn import WORN, worn_parts

# Changes below these are left out: metres, and parts of a unit normal.
LEAST_DISPLACEMENT, LEAST_TURN = 2e-6, 8e-3
CORNEA = (0.87, 0.13)  # right of and below these texture coordinates lies the clear shell of the eyes


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
    is not worn is not in `vertices`. `blinks` says by how much more than on the template a blink moves lids (1 where it
    says nothing). Behind the head's vertices may come the middles of edges, of which `ends` [E, 2]
    are the ends (engine/exporters/detail.py); targets and bones move a middle as its ends.
    """

    head: Head
    basis: Basis
    primitives: tuple[Primitive, ...]
    vertices: NDArray[np.float32]
    weights: NDArray[np.float32]
    rest: NDArray[np.float32]
    blinks: dict[str, float] = field(default_factory=dict)
    ends: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 2), np.int32))

    @classmethod
    def of(
        cls,
        renderer: Renderer,
        sliders: NDArray[np.float32],
        choices: NDArray[np.integer],
        *,
        as_shown: bool = True,
        for_page: bool = False,
        texture: int = SIDE,
    ) -> "ExportMesh":
        """The mesh of sliders [S] and choice numbers [G].

        Args:
            as_shown: the geometry is the character's; otherwise it is the template's, with all weights 0.
            for_page: with the beginning of the shoulders, which the page fades out, and eyes of one piece; otherwise
                the skin ends at the neck ring, and corneas are primitives of their own.
            texture: texels of a side of the skin's pictures.
        """
        head, schema = renderer.head, renderer.schema
        numbers = np.asarray(choices, np.int64)
        chosen = {group.name: group.choices[numbers[number]] for number, group in enumerate(schema.groups)}
        basis = Basis.of(head, schema, renderer.blend)
        primitives = tuple(
            primitives_of(head, chosen, materials(renderer, sliders, numbers, None if for_page else texture), for_page)
        )
        weights = basis.weights(sliders)
        if not as_shown:
            template = np.concatenate([head.template, head.bound_vertices])
            return cls(head, basis, primitives, template, weights, np.zeros_like(weights))
        with threadpool_limits(1, user_api="blas"):  # sums in one order: the same bytes on any number of processors
            vertices = renderer.vertices(sliders[None], numbers[None])[0]
        return cls(head, basis, primitives, vertices, weights, weights, basis.blinks(weights))

    def only(self, names: Collection[str]) -> "ExportMesh":
        """The same mesh with some of its primitives."""
        return replace(self, primitives=tuple(primitive for primitive in self.primitives if primitive.name in names))

    def with_faces_alone(self) -> "ExportMesh":
        """The same mesh without the targets of the sliders: the geometry stays as it is."""
        kept = np.array([name in self.basis.blend.actions for name in self.basis.names])
        weights, rest = self.weights[kept], self.rest[kept]
        return replace(self, basis=self.basis.with_faces_alone(), weights=weights, rest=rest)

    def lifted(self, height: float) -> "ExportMesh":
        """The same mesh so many metres higher."""
        return replace(self, vertices=self.vertices + np.array([0.0, height, 0.0], np.float32))

    def of_points(self, values: NDArray[np.float32], points: NDArray[np.int64]) -> NDArray[np.float32]:
        """What points [P] of the mesh have, where each vertex of the head [V, ...] has `values`; a middle has the mean
        of its ends."""
        return values[self._between(points)].mean(axis=1, dtype=np.float32)

    def _between(self, points: NDArray[np.int64]) -> NDArray[np.int64]:
        """The two vertices of the head between which each point lies [P, 2]; of a vertex itself, twice."""
        count = self.head.n_vertices
        pairs = np.stack([points, points], axis=1)
        pairs[points >= count] = self.ends[points[points >= count] - count]
        return pairs

    @cached_property
    def worn(self) -> NDArray[np.int64]:
        """Vertices of all primitives, sorted."""
        return np.unique(np.concatenate([primitive.sources for primitive in self.primitives]))

    @cached_property
    def normals(self) -> NDArray[np.float32]:
        """Unit normals [W, 3] of the worn vertices."""
        return unit(self._surface[2])

    @cached_property
    def _surface(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Triangles [T, 3] into the worn vertices, their normals by area [T, 3], and the sums of these [W, 3]."""
        triangles = np.concatenate([self.places(primitive)[primitive.triangles] for primitive in self.primitives])
        crosses = cross_products(self.vertices[self.worn], triangles)
        return triangles, crosses, summed_around(crosses, triangles, len(self.worn))

    def places(self, primitive: Primitive) -> NDArray[np.int64]:
        """Where the vertices of a primitive lie among the worn ones."""
        return np.searchsorted(self.worn, primitive.sources)

    def displacements(self, *, visemes: bool = False) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Each target's name and how it moves the worn vertices [W, 3], in the basis' order; small changes are 0.

        Args:
            visemes: those of the visemes after the basis'.
        """
        targets = zip(self.basis.names, self.basis.displacements, strict=True)
        carriers, pairs = np.unique(self._between(self.worn), return_inverse=True)
        pairs = pairs.reshape(-1, 2)
        for name, on_base in chain(targets, face_shapes.visemes(self.head).items() if visemes else ()):
            moved = bound_displacements(self.head, on_base, carriers) * np.float32(self.blinks.get(name, 1.0))
            displacement = moved[pairs].mean(axis=1, dtype=np.float32)
            displacement[largest(displacement) < LEAST_DISPLACEMENT] = 0.0
            yield name, displacement

    def morph_targets(self) -> Iterator[MorphTarget]:
        """What each target does, in the basis' order and the visemes after it; small changes are 0."""
        everything, crosses, summed = self._surface
        shown = self.vertices[self.worn]
        for name, displacement in self.displacements(visemes=True):
            moved = largest(displacement) > 0.0
            a, b, c = everything.T
            touched = np.flatnonzero(moved[a] | moved[b] | moved[c])
            around = everything[touched]
            change = cross_products(shown + displacement, around) - crosses[touched]
            turned = np.zeros(len(shown), dtype=bool)
            turned[around] = True
            normal = np.zeros_like(shown)
            normal[turned] = unit((summed + summed_around(change, around, len(shown)))[turned]) - self.normals[turned]
            normal[largest(normal) < LEAST_TURN] = 0.0
            yield MorphTarget(name, displacement, normal)

    @cached_property
    def pivots(self) -> dict[str, NDArray[np.float32]]:
        """What each primitive of the eyes turns about [3], by its name: the middle of the bounding box of its side."""
        found = {}
        for side in ("left", "right"):
            names = [name for name in (f"eye_{side}", f"cornea_{side}") if name in self.named]
            if names:
                points = self.vertices[np.concatenate([self.named[name].sources for name in names])]
                found |= dict.fromkeys(names, (points.min(axis=0) + points.max(axis=0)) / 2)
        return found

    @cached_property
    def named(self) -> dict[str, Primitive]:
        """The primitives by name."""
        return {primitive.name: primitive for primitive in self.primitives}


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


def primitives_of(head: Head, chosen: dict[str, str], made: dict[str, Material], for_page: bool) -> Iterator[Primitive]:
    """What a character is made of, who has `chosen` choices by their groups, of `made` materials by their names."""
    worn = {part: name for group in WORN if group in chosen for name, part in worn_parts(group, chosen[group]).items()}
    for part in head.parts:
        drawn = slice(part.first_triangle, part.first_triangle + part.n_triangles)
        if part.name == "base":
            inside = head.labels[drawn] == TEETH
            skin = ~inside
            whole = head.triangles[drawn][skin]
            skin[skin] = within_bust(head, whole) if for_page else above_ring(head, whole)
            for name, which in (("skin", skin), ("mouth", inside)):
                yield _primitive(head, name, made[name], part.first_triangle + np.flatnonzero(which))
        elif part.name == "teeth":
            yield _primitive(head, "teeth", made["teeth"], np.arange(drawn.start, drawn.stop))
        elif part.name == "eyes":
            is_left = head.labels[drawn] == LEFT_EYE
            shell = _of_cornea(head.uvs[drawn]) & (not for_page)
            ball = made["eyes" if for_page else "irises"]
            for name, side in (("left", is_left), ("right", ~is_left)):
                yield _primitive(head, f"eye_{name}", ball, part.first_triangle + np.flatnonzero(side & ~shell))
                if not for_page:
                    clear = part.first_triangle + np.flatnonzero(side & shell)
                    yield _primitive(head, f"cornea_{name}", made["cornea"], clear)
        elif name := worn.get(part.name):
            yield _primitive(head, name, made[name], np.arange(drawn.start, drawn.stop))


def _of_cornea(uvs: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which triangles [T, 3, 2] of the eyes lie on the clear shell: where no eye's picture shows anything."""
    return (uvs[..., 0].min(axis=1) > CORNEA[0]) & (uvs[..., 1].max(axis=1) < CORNEA[1])


def _primitive(head: Head, name: str, material: Material, triangles: NDArray[np.int64]) -> Primitive:
    uvs = head.uvs[triangles]
    return Primitive(
        name, material, *welded(head.triangles[triangles], uvs if material.picture is not None else 0 * uvs)
    )
