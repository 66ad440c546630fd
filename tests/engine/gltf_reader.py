"""A reader of .glb files for tests, written from the glTF 2.0 specification alone."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def names(mesh: Mapping[str, Any]) -> list[str]:
    """The targets of a mesh in their order; none where nothing moves it."""
    return mesh.get("extras", {}).get("targetNames", [])


class Gltf:
    def __init__(self, data: bytes) -> None:
        magic, _, length = struct.unpack_from("<4sII", data)
        assert magic == b"glTF" and length == len(data)
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON"
        self.document: dict[str, Any] = json.loads(data[20 : 20 + size])
        self.binary = data[20 + size + 8 :]
        self.about = self.document["scenes"][0]["extras"]["likeness"]

    def mesh(self, name: str) -> dict[str, Any]:
        return next(mesh for mesh in self.document["meshes"] if mesh["name"] == name)

    def attribute(self, mesh: str, name: str) -> NDArray:
        return self.accessor(self.mesh(mesh)["primitives"][0]["attributes"][name])

    def target(self, mesh: str, name: str) -> NDArray:
        """How far a target moves the vertices of a mesh [P, 3]."""
        entry = self.mesh(mesh)
        return self.accessor(entry["primitives"][0]["targets"][names(entry).index(name)]["POSITION"])

    def accessor(self, number: int) -> NDArray:
        entry = self.document["accessors"][number]
        width = WIDTHS[entry["type"]]
        values = np.zeros((entry["count"], width), TYPES[entry["componentType"]])
        if "bufferView" in entry:
            values = self._read(entry, entry["componentType"], entry["count"], width)
        if sparse := entry.get("sparse"):
            places = self._read(sparse["indices"], sparse["indices"]["componentType"], sparse["count"], 1)[:, 0]
            values[places] = self._read(sparse["values"], entry["componentType"], sparse["count"], width)
        return values

    def _read(self, place: Mapping[str, Any], component: int, count: int, width: int) -> NDArray:
        view = self.document["bufferViews"][place["bufferView"]]
        start = view.get("byteOffset", 0) + place.get("byteOffset", 0)
        dtype = np.dtype(TYPES[component])
        stride = view.get("byteStride", width * dtype.itemsize)
        rows = np.ndarray((count, width), dtype, self.binary, start, (stride, dtype.itemsize))
        return rows.copy()

    def shape(self, influences: Mapping[str, float], attribute: str = "POSITION") -> dict[int, NDArray]:
        """Attribute of every source vertex in the scene, by its number, with these influences (others at 0)."""
        found: dict[int, NDArray] = {}
        for number, node in enumerate(self.document["nodes"]):
            if "mesh" not in node:
                continue
            mesh = self.document["meshes"][node["mesh"]]
            primitive = mesh["primitives"][0]
            values = self.accessor(primitive["attributes"][attribute]).astype(np.float64)
            for name, target in zip(names(mesh), primitive.get("targets", ()), strict=True):
                if influences.get(name) and attribute in target:
                    values += influences[name] * self.accessor(target[attribute])
            if attribute == "POSITION":
                values += self.place(number)
            sources = self.accessor(primitive["attributes"]["_SOURCE"])[:, 0].astype(int)
            found.update(zip(sources.tolist(), values, strict=True))
        return found

    def place(self, number: int) -> NDArray:
        """Where a node stands in the scene [3]; no node of these files is turned."""
        parents = {
            child: parent for parent, node in enumerate(self.document["nodes"]) for child in node.get("children", ())
        }
        place = np.array(self.document["nodes"][number].get("translation", [0.0, 0.0, 0.0]))
        return place + self.place(parents[number]) if number in parents else place

    def shown(self) -> dict[str, float]:
        """The influences that the file itself sets."""
        return {
            name: weight
            for mesh in self.document["meshes"]
            for name, weight in zip(names(mesh), mesh.get("weights", ()), strict=True)
        }

    def influences(self, values: Mapping[str, float]) -> dict[str, float]:
        """Slider values to influences, by nothing but the description in the file."""
        about = self.about
        weights: dict[str, float] = {}
        for slider in about["sliders"]:
            offset = values[slider["name"]] - slider["neutral"]
            if slider["positive"] and offset > 0:
                weights[slider["positive"]] = slider["reach"] * offset / (1 - slider["neutral"])
            if slider["negative"] and offset < 0:
                weights[slider["negative"]] = slider["reach"] * -offset / slider["neutral"]
        factors = {
            word: float(np.interp(values[curve["slider"]], *np.array(curve["points"]).T))
            for word, curve in about["curves"].items()
        }
        total = sum(values[slider] for slider in about["shares"].values())
        factors |= {word: values[slider] / total for word, slider in about["shares"].items()}
        for name, words in about["products"].items():
            weights[name] = float(np.prod([factors[word] for word in words]))
        return {name: weights.get(name, 0.0) - about["rest"].get(name, 0.0) for name in {*weights, *about["rest"]}}
