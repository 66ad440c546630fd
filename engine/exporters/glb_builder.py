"""The parts of a glTF 2.0 file: meshes, materials, accessors, and the binary chunk that they refer to."""

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.exporters.export_mesh import ExportMesh, Primitive
from engine.exporters.geometry import largest
from engine.exporters.materials import Alpha, Material, as_file
from engine.exporters.normal_map import tangents
from engine.exporters.skeleton import Skeleton

ALPHA_CUTOFF = 0.4
FLOAT, UNSIGNED_BYTE, UNSIGNED_SHORT, UNSIGNED_INT = 5126, 5121, 5123, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071
# Accessors of one kind lie in one buffer view. Those of vertices need its stride.
VIEWS: dict[str, dict[str, int]] = {
    "vectors": {"byteStride": 12, "target": ARRAY_BUFFER},
    "zeros": {"byteStride": 12, "target": ARRAY_BUFFER},
    "tangents": {"byteStride": 16, "target": ARRAY_BUFFER},
    "coordinates": {"byteStride": 8, "target": ARRAY_BUFFER},
    "scalars": {"byteStride": 4, "target": ARRAY_BUFFER},
    "carriers": {"byteStride": 4, "target": ARRAY_BUFFER},
    "matrices": {},
    "triangles": {"target": ELEMENT_ARRAY_BUFFER},
    "sparse_vertices": {},
    "sparse_vectors": {},
}


class GlbBuilder:
    """Collects meshes, materials, accessors and the binary chunk."""

    def __init__(self, *, bare: bool = False) -> None:
        self.bare = bare
        self.skins: list[dict[str, Any]] = []
        self.chunks: dict[str, list[bytes]] = {}  # of the buffer views in use, by their numbers
        self.lengths = dict.fromkeys(VIEWS, 0)
        self.accessors: list[dict[str, Any]] = []
        self.zeros: dict[tuple[int, bool], int] = {}  # accessors of nothing but zeros, by count and whether bounded
        self.meshes: list[dict[str, Any]] = []
        self.materials: list[dict[str, Any]] = []
        self.pictures: list[tuple[str, str, bytes]] = []
        self.material_numbers: dict[str, int] = {}
        self.picture_numbers: dict[int, int] = {}
        self.binary = b""

    def mesh(self, mesh: ExportMesh, primitive: Primitive) -> dict[str, Any]:
        """Add a primitive without morph targets; returns its entry in `meshes`."""
        points = mesh.vertices[primitive.sources] - mesh.pivots.get(primitive.name, np.float32(0.0))
        attributes = {
            "POSITION": self._dense("vectors", points, bounded=True),
            "NORMAL": self._dense("vectors", mesh.normals[mesh.places(primitive)]),
            "_SOURCE": self._dense("scalars", primitive.sources.astype(np.float32)),
        }
        if primitive.material.picture is not None:
            # V runs down in glTF.
            attributes["TEXCOORD_0"] = self._dense("coordinates", primitive.uvs * [1.0, -1.0] + [0.0, 1.0])
        if primitive.material.normals is not None and not self.bare:
            lying = tangents(points, mesh.normals[mesh.places(primitive)], primitive.uvs, primitive.triangles)
            attributes["TANGENT"] = self._dense("tangents", lying)
        drawn = {
            "attributes": attributes,
            "indices": self._indices(primitive.triangles),
            "material": self._material(primitive.material),
            "targets": [],
        }
        entry = {"name": primitive.name, "primitives": [drawn], "weights": [], "extras": {"targetNames": []}}
        self.meshes.append(entry)
        return entry

    def hang(self, entry: dict[str, Any], weights: NDArray[np.float32], joints: NDArray[np.int64]) -> None:
        """Say how much the vertices of a mesh hang on four joints: weights [P, 4], whose rows sum to 1, joints [4]."""
        shares = np.round(weights * 255.0)
        # Rounded shares sum to one again by what the largest one takes.
        rows, most = np.arange(len(shares)), shares.argmax(axis=1)
        shares[rows, most] += 255.0 - shares.sum(axis=1)
        attributes = entry["primitives"][0]["attributes"]
        attributes["JOINTS_0"] = self._quads(np.where(shares > 0, joints, 0))
        attributes["WEIGHTS_0"] = self._quads(shares, normalized=True)

    def skin(self, skeleton: Skeleton, first: int) -> None:
        """Add the skin whose joints are the bones of a skeleton, of which the first is the node `first`."""
        matrices = np.tile(np.eye(4, dtype=np.float32), (len(skeleton.bones), 1, 1))
        matrices[:, 3, :3] = [-bone.at for bone in skeleton.bones]  # columns first
        place = self._put("matrices", matrices.tobytes())
        count = len(matrices)
        accessor = self._add({**place, "componentType": FLOAT, "count": count, "type": "MAT4"})
        joints = list(range(first, first + count))
        self.skins.append({"inverseBindMatrices": accessor, "skeleton": first, "joints": joints})

    def morph(
        self,
        entry: dict[str, Any],
        name: str,
        displacement: NDArray,
        normal: NDArray | None,
        influence: float,
        *,
        always: bool = False,
    ) -> None:
        """Add what a target does to the vertices of a mesh, [P, 3] each, if it does anything or `always`."""
        if not (always or displacement.any()):
            return
        target = {"POSITION": self._sparse(displacement, bounded=True)}
        if normal is not None:
            target["NORMAL"] = self._sparse(normal)
        entry["primitives"][0]["targets"].append(target)
        entry["extras"]["targetNames"].append(name)
        entry["weights"].append(influence)

    def finish(self) -> dict[str, Any]:
        """All that refers to the binary chunk, which is complete then."""
        for entry in self.meshes:
            if not entry["weights"]:  # glTF has no empty lists
                del entry["weights"], entry["extras"], entry["primitives"][0]["targets"]
        views = []
        for name, chunks in self.chunks.items():
            views.append(self._view(b"".join(chunks), **VIEWS[name]))
        if not self.pictures:
            return self._filled(views)
        images = []
        for name, kind, data in self.pictures:
            images.append({"name": name, "mimeType": kind, "bufferView": len(views)})
            views.append(self._view(data))
        sampler = {
            "magFilter": LINEAR,
            "minFilter": LINEAR_MIPMAP_LINEAR,
            "wrapS": CLAMP_TO_EDGE,
            "wrapT": CLAMP_TO_EDGE,
        }
        textures = [{"source": number, "sampler": 0} for number in range(len(images))]
        return {"textures": textures, "samplers": [sampler], "images": images, **self._filled(views)}

    def _filled(self, views: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "meshes": self.meshes,
            **({"skins": self.skins} if self.skins else {}),
            "materials": self.materials,
            "accessors": self.accessors,
            "bufferViews": views,
            "buffers": [{"byteLength": len(self.binary)}],
        }

    def _view(self, data: bytes, **properties: int) -> dict[str, Any]:
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data), **properties}
        self.binary += _padded(data, b"\0")
        return view

    def _put(self, view: str, data: bytes) -> dict[str, int]:
        """Append to a buffer view; where it lies in there."""
        self.chunks.setdefault(view, [])
        place = {"bufferView": list(self.chunks).index(view), "byteOffset": self.lengths[view]}
        data = _padded(data, b"\0")
        self.chunks[view].append(data)
        self.lengths[view] += len(data)
        return place

    def _add(self, accessor: dict[str, Any]) -> int:
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def _dense(self, view: str, values: NDArray, *, bounded: bool = False) -> int:
        values = np.ascontiguousarray(values, np.float32)
        kind = {"vectors": "VEC3", "tangents": "VEC4", "coordinates": "VEC2", "scalars": "SCALAR"}[view]
        place = self._put(view, values.tobytes())
        return self._add(
            {**place, "componentType": FLOAT, "count": len(values), "type": kind, **_bounds(values, bounded)}
        )

    def _sparse(self, values: NDArray[np.float32], *, bounded: bool = False) -> int:
        """An accessor of vectors that are mostly 0; dense where that is smaller."""
        changed = np.flatnonzero(largest(values))
        if not len(changed):
            return self._nothing(len(values), bounded=bounded)
        if len(changed) * 14 >= len(values) * 12:
            return self._dense("vectors", values, bounded=bounded)
        moved = np.concatenate([values[changed], np.zeros((1, 3), np.float32)])  # some vertices stay
        written, kind = _index_type(len(values))
        indices = self._put("sparse_vertices", changed.astype(written).tobytes())
        return self._add(
            {
                "componentType": FLOAT,
                "count": len(values),
                "type": "VEC3",
                **_bounds(moved, bounded),
                "sparse": {
                    "count": len(changed),
                    "indices": {**indices, "componentType": kind},
                    "values": self._put("sparse_vectors", np.ascontiguousarray(values[changed], "<f4").tobytes()),
                },
            }
        )

    def _nothing(self, count: int, *, bounded: bool) -> int:
        """An accessor of `count` vectors that are all 0. It could do without a buffer view, but importers fail on that;
        all of them see the same zeros."""
        if (count, bounded) not in self.zeros:
            self._put("zeros", bytes(max(0, 12 * count - self.lengths["zeros"])))
            place = {"bufferView": list(self.chunks).index("zeros"), "byteOffset": 0}
            bounds = _bounds(np.zeros((1, 3), np.float32), bounded)
            self.zeros[count, bounded] = self._add(
                {**place, "componentType": FLOAT, "count": count, "type": "VEC3", **bounds}
            )
        return self.zeros[count, bounded]

    def _indices(self, triangles: NDArray[np.int64]) -> int:
        written, kind = _index_type(int(triangles.max()) + 1)
        place = self._put("triangles", triangles.astype(written).tobytes())
        return self._add({**place, "componentType": kind, "count": triangles.size, "type": "SCALAR"})

    def _quads(self, values: NDArray, *, normalized: bool = False) -> int:
        """Four bytes a vertex [P, 4]."""
        place = self._put("carriers", values.astype(np.uint8).tobytes())
        kind = {"componentType": UNSIGNED_BYTE, "count": len(values), "type": "VEC4"}
        return self._add({**place, **kind, **({"normalized": True} if normalized else {})})

    def _material(self, material: Material) -> int:
        if material.name not in self.material_numbers:
            self.material_numbers[material.name] = len(self.materials)
            self.materials.append(self._material_entry(material))
        return self.material_numbers[material.name]

    def _picture(self, name: str, picture: NDArray[np.uint8]) -> int:
        """The number of a picture; materials that share one share the file."""
        if id(picture) not in self.picture_numbers:
            self.picture_numbers[id(picture)] = len(self.pictures)
            self.pictures.append((name, *as_file(picture)))
        return self.picture_numbers[id(picture)]

    def _material_entry(self, material: Material) -> dict[str, Any]:
        surface: dict[str, Any] = {"metallicFactor": material.metal, "roughnessFactor": material.roughness}
        if material.picture is not None and not self.bare:
            surface["baseColorTexture"] = {"index": self._picture(material.name, material.picture)}
        if (material.colour, material.opacity) != ((1.0, 1.0, 1.0), 1.0):
            surface["baseColorFactor"] = [*material.colour, material.opacity]
        entry: dict[str, Any] = {"name": material.name, "pbrMetallicRoughness": surface}
        if material.surface is not None and not self.bare:
            # One picture for both, as programs expect: red is occlusion, green roughness, blue metal.
            number = self._picture(f"{material.name}_occlusion_roughness_metal", material.surface)
            surface |= {"metallicRoughnessTexture": {"index": number}, "metallicFactor": 1.0, "roughnessFactor": 1.0}
            entry["occlusionTexture"] = {"index": number}
        if material.normals is not None and not self.bare:
            entry["normalTexture"] = {"index": self._picture(f"{material.name}_normals", material.normals)}
        if material.alpha is not Alpha.OPAQUE:
            entry["alphaMode"] = str(material.alpha)
        if material.alpha is Alpha.MASK:
            entry["alphaCutoff"] = ALPHA_CUTOFF
        if material.double_sided:
            entry["doubleSided"] = True
        return entry


def _index_type(count: int) -> tuple[str, int]:
    """How numbers of so many vertices are written: the largest number of a type is not allowed."""
    return ("<u2", UNSIGNED_SHORT) if count < 0xFFFF else ("<u4", UNSIGNED_INT)


def _bounds(values: NDArray[np.float32], bounded: bool) -> dict[str, list[float]]:
    if not bounded:
        return {}
    return {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}


def _padded(data: bytes, filler: bytes) -> bytes:
    return data + filler * (-len(data) % 4)


def pack(document: dict[str, Any], binary: bytes) -> bytes:
    """The container: a header, a JSON chunk, a binary chunk."""
    text = _padded(json.dumps(document, separators=(",", ":")).encode(), b" ")
    size = 12 + 8 + len(text) + 8 + len(binary)
    header = struct.pack("<4sII", b"glTF", 2, size) + struct.pack("<I4s", len(text), b"JSON")
    return header + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
