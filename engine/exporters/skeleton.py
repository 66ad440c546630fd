"""The bones of an exported head, and which of them carries each vertex.

Bones have no rotation: in the bind pose every one stands upright, as the model does. Weights follow from the head
itself: the jaw's from the face action `jawOpen`, so that the bone opens the mouth as the action does; the neck's from
the planes that part it from the face and from the body. The neck ring hangs on the upper chest alone and stays on the
body.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from engine.exporters.options import Naming
from engine.exporters.trim import neck_ring
from engine.head import Head

TABLE = Path(__file__).with_suffix(".yaml")
CARRIERS = ("upperChest", "neck", "head", "jaw")
"""The bones that vertices hang on."""
NEIGHBOURS = 24  # vertices of the skin that a bone goes along with
CHEST_FADES, NECK_FADES = 0.05, 0.05  # metres over which the neck leaves the upper chest, and the head the neck


@dataclass(frozen=True)
class Bone:
    """at: where it stands [3], metres; parent: its number in the skeleton, or none."""

    name: str
    label: str  # in the naming that was asked for
    parent: int | None
    at: NDArray[np.float64]


@dataclass(frozen=True)
class Skeleton:
    """Bones, parents first."""

    bones: tuple[Bone, ...]

    @classmethod
    def of(
        cls,
        head: Head,
        vertices: NDArray[np.float32],
        eyes: Mapping[str, NDArray[np.float32]],
        *,
        body: bool = False,
        naming: Naming = "vrm",
    ) -> "Skeleton":
        """The skeleton of a character: vertices [V, 3] of the head, centres [3] of its eyes by their primitives' names.

        Args:
            body: with all bones that VRM asks for; otherwise from the upper chest up.
        """
        table = _table()
        shifts = {
            name: eyes[entry["follows"]] - entry["at"] if entry["follows"] in eyes else _shift(head, vertices, entry)
            for name, entry in table.items()
            if "follows" in entry
        }
        names = [name for name in table if body or name in shifts]
        bones = tuple(
            Bone(
                name=name,
                label=name if naming == "vrm" else f"mixamorig:{table[name]['mixamo']}",
                parent=names.index(table[name]["parent"]) if table[name]["parent"] in names else None,
                at=np.array(table[name]["at"]) + shifts.get(name, shifts["upperChest"]),
            )
            for name in names
        )
        return cls(bones)

    @property
    def numbers(self) -> dict[str, int]:
        """Each bone's number by its name."""
        return {bone.name: number for number, bone in enumerate(self.bones)}

    def offset(self, bone: Bone) -> list[float]:
        """Where a bone stands from its parent [3]."""
        origin = np.zeros(3) if bone.parent is None else self.bones[bone.parent].at
        return (bone.at - origin).tolist()


@cache
def ground() -> float:
    """The height of the soles of the feet on the template, metres under the eyes."""
    return float(yaml.safe_load(TABLE.read_text())["ground"])


@cache
def _table() -> dict[str, dict[str, Any]]:
    """Bones by name, the pairs on both sides."""
    read = yaml.safe_load(TABLE.read_text())
    table = dict(read["bones"])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for name, entry in read["pairs"].items():
            x, y, z = entry["at"]
            parent = f"{side}{entry['parent']}" if entry["parent"] in read["pairs"] else entry["parent"]
            mixamo = f"{side.capitalize()}{entry['mixamo']}"
            table[f"{side}{name}"] = {"parent": parent, "at": [sign * x, y, z], "mixamo": mixamo}
    return table


def _shift(head: Head, vertices: NDArray[np.float32], entry: Mapping[str, Any]) -> NDArray[np.float64]:
    """How far the skin around a bone has moved from the template [3]."""
    near = np.linalg.norm(head.template - entry["at"], axis=1).argsort(kind="stable")[:NEIGHBOURS]
    return (vertices[near] - head.template[near]).mean(axis=0, dtype=np.float64)


def carried(head: Head) -> NDArray[np.float32]:
    """How much each vertex [V, 4] hangs on each of CARRIERS; rows sum to 1."""
    points = head.template.astype(np.float64)
    ring = points[neck_ring(head)]
    middle = ring.mean(axis=0)
    across = np.linalg.svd(ring - middle)[2][2]
    above = (points - middle) @ (across * np.sign(across[1]))
    on_chest = 1.0 - _smooth(above / CHEST_FADES)
    on_chest[neck_ring(head)] = 1.0
    on_head = (1.0 - _smooth(head.regions[: head.n_base, 0] / NECK_FADES)) * (1.0 - on_chest)
    on_jaw = _jaw(head) * on_head
    base = np.stack([on_chest, 1.0 - on_chest - on_head, on_head - on_jaw, on_jaw], axis=1)
    bound = (head.weights[..., None] * base[head.references]).sum(axis=1).clip(0.0, None)
    every = np.concatenate([base, bound])
    return (every / every.sum(axis=1, keepdims=True)).astype(np.float32)


def _jaw(head: Head) -> NDArray[np.float64]:
    """How much each vertex of the base mesh [V] goes along with the jaw: what `jawOpen` does to it as a share of what
    the turn does that opens the lower teeth."""
    moved = head.morphs[head.morph_index["action/jawOpen"]].astype(np.float64)
    y, z = (head.template - np.array(_table()["jaw"]["at"])).astype(np.float64)[:, 1:].T
    turned = np.stack([np.zeros_like(y), -z, y], axis=1)  # a small turn about the axis from ear to ear
    part = head.part["teeth"]
    teeth = np.unique(head.references[part.first_vertex - head.n_base :][: part.n_vertices])
    teeth = teeth[np.linalg.norm(moved[teeth], axis=1) > 0.5 * np.linalg.norm(moved[teeth], axis=1).max()]
    angle = (moved[teeth] * turned[teeth]).sum() / (turned[teeth] ** 2).sum()
    rigid = turned * angle
    share = (moved * rigid).sum(axis=1) / np.maximum((rigid**2).sum(axis=1), 1e-9)
    return share.clip(0.0, 1.0)


def _smooth(share: NDArray) -> NDArray[np.float64]:
    share = np.clip(share, 0.0, 1.0).astype(np.float64)
    return share * share * (3.0 - 2.0 * share)
