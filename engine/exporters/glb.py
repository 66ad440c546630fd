"""A character as one glTF 2.0 file (.glb) with its textures, its sliders and faces as morph targets, and a skeleton.

Each primitive is a mesh of its own with only the targets that move it; the same name is the same target everywhere.
Displacements and changes of normals are sparse accessors where most vertices stay. The eyeballs are nodes whose origin
is their centre, below the bone of their side, so that a client can turn either. `extras.likeness` of the scene says how
weights follow from sliders.

A client that has pictures and description from elsewhere takes the geometry alone (`to_bare_glb`).
"""

from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from engine.exporters import face_shapes, skeleton
from engine.exporters.export_mesh import ExportMesh
from engine.exporters.glb_builder import GlbBuilder, pack
from engine.exporters.options import Naming
from engine.exporters.skeleton import Skeleton
from engine.exporters.trim import neck_ring
from engine.rest import resting

Json = dict[str, Any]

# Displacements of a bare file are multiples of this (metres, 8 µm): numbers with few digits, which compress well.
GRAIN = 2.0**-17
COPYRIGHT = "Head, morph targets, hair and textures: MakeHuman, CC0 1.0 (see NOTICE of the project likeness)"
EYES = {"eye_left": "leftEye", "eye_right": "rightEye"}
"""Primitives that hang on a bone as they are, and their bones; the cornea hangs on its eye."""
UNTURNED = ("teeth", "beard")
"""Primitives whose targets have no normals: they turn little, and nobody sees it."""


def to_glb(mesh: ExportMesh, about: Mapping[str, Any], naming: Naming = "vrm") -> bytes:
    """The bytes of a .glb file; the same mesh and description give the same bytes.

    Args:
        about: what `extras.likeness` says of the character beside the morph basis (parameters, origin), plain JSON.
        naming: whose names the bones have.
    """
    return pack(*rigged(mesh, about, naming=naming))


def rigged(
    mesh: ExportMesh, about: Mapping[str, Any], *, naming: Naming = "vrm", body: bool = False
) -> tuple[Json, bytes]:
    """The glTF document of a mesh on a skeleton, and its binary chunk. The nodes of the bones follow the root, node 0.

    Args:
        body: with the bones of a whole body (Skeleton.of).
    """
    file = GlbBuilder()
    bones = Skeleton.of(mesh.head, mesh.vertices, mesh.pivots, body=body, naming=naming)
    _add_meshes(file, mesh, bones)
    file.skin(bones, first=1)
    nodes: list[Json] = [{"name": str(about.get("character", "character")), "children": []}]
    roots = _add_nodes(nodes, mesh, bones)
    rest = {name: float(weight) for name, weight in zip(mesh.basis.names, mesh.rest, strict=True) if weight}
    likeness = {
        **about,
        **mesh.basis.description(),
        "rest": rest,
        "resting": resting(),
        "visemes": face_shapes.shapes("visemes"),
        "neck_ring": neck_ring(mesh.head).tolist(),
    }
    if mesh.blinks:  # its blinks weigh what they should already
        del likeness["lids"]
    return _finished(file, nodes, roots, {"likeness": likeness})


def to_bare_glb(mesh: ExportMesh, name: str, targets: Collection[str]) -> bytes:
    """The geometry of a mesh as a .glb file without pictures, tangents, normals of targets, skeleton and description.

    The same mesh gives the same bytes. Its influences are 0.

    Args:
        name: what the file's root node is called.
        targets: the morph targets to have, by name, as far as they move anything.
    """
    file = GlbBuilder(bare=True)
    nodes: list[Json] = [{"name": name, "children": []}]
    entries = [(file.mesh(mesh, primitive), mesh.places(primitive)) for primitive in mesh.primitives]
    for target, displacement in mesh.displacements():
        if target in targets:
            moved = np.round(displacement / GRAIN).astype(np.float32) * np.float32(GRAIN)
            for entry, places in entries:
                file.morph(entry, target, moved[places], None, 0.0)
    for number, primitive in enumerate(mesh.primitives):
        nodes[0]["children"].append(len(nodes))
        nodes.append({"name": primitive.name, "mesh": number})
        if primitive.name in mesh.pivots:
            nodes[-1]["translation"] = [float(v) for v in mesh.pivots[primitive.name]]
    return pack(*_finished(file, nodes, [0], {}))


def about(document: Mapping[str, Any]) -> Json:
    """What a .glb says of the character.json whose character it shows: parameters, choices and origin."""
    kept = {
        name: document[name] for name in ("character", "schema_md5", "parameters", "provenance") if name in document
    }
    return {**kept, "choices": {group: entry["choice"] for group, entry in document["discrete"].items()}}


def _add_meshes(file: GlbBuilder, mesh: ExportMesh, bones: Skeleton) -> None:
    """A mesh for each primitive, with all targets and what its vertices hang on."""
    carried = skeleton.carried(mesh.head)
    joints = np.array([bones.numbers[name] for name in skeleton.CARRIERS])
    entries = []
    for primitive in mesh.primitives:
        entry = file.mesh(mesh, primitive)
        entries.append((entry, mesh.places(primitive)))
        if primitive.name not in mesh.pivots:
            file.hang(entry, mesh.of_points(carried, primitive.sources), joints)
    influences = dict(zip(mesh.basis.names, (mesh.weights - mesh.rest).tolist(), strict=True))
    for target in mesh.morph_targets():
        for entry, places in entries:
            moved = target.displacement[places]
            turned = None if entry["name"] in UNTURNED else target.normal[places]
            # Programs that speak look for every viseme, silence too.
            always = target.name.startswith("viseme_") and entry["name"] == "skin"
            file.morph(entry, target.name, moved, turned, influences.get(target.name, 0.0), always=always)


def _add_nodes(nodes: list[Json], mesh: ExportMesh, bones: Skeleton) -> list[int]:
    """Nodes of the bones below the root `nodes[0]`, then one for each primitive. Returns the scene's own nodes: the
    root, and what is moved by its joints alone."""
    for bone in bones.bones:
        parent = nodes[0] if bone.parent is None else nodes[1 + bone.parent]
        parent.setdefault("children", []).append(len(nodes))
        nodes.append({"name": bone.label, "translation": bones.offset(bone)})
    roots, of_eye = [0], {}
    for number, primitive in enumerate(mesh.primitives):
        node: Json = {"name": primitive.name, "mesh": number}
        if primitive.name in EYES:
            of_eye[primitive.name] = node
            nodes[1 + bones.numbers[EYES[primitive.name]]].setdefault("children", []).append(len(nodes))
        elif primitive.name in mesh.pivots:
            of_eye[primitive.name.replace("cornea", "eye")].setdefault("children", []).append(len(nodes))
        else:
            node["skin"] = 0
            roots.append(len(nodes))
        nodes.append(node)
    return roots


def _finished(file: GlbBuilder, nodes: list[Json], roots: list[int], extras: Json) -> tuple[Json, bytes]:
    document = {
        "asset": {"version": "2.0", "generator": f"likeness {version('likeness')}", "copyright": COPYRIGHT},
        "scene": 0,
        "scenes": [{"name": nodes[0]["name"], "nodes": roots, **({"extras": extras} if extras else {})}],
        "nodes": nodes,
        **file.finish(),
    }
    return document, file.binary
