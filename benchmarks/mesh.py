"""The embedded character as any renderer takes it: triangles before the camera, with normals and textures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.exporters.geometry import vertex_normals, welded
from engine.exporters.materials import worn_picture
from engine.head import BROW, EYE, HAIR_MATERIAL, LASH, SKIN, TOOTH
from engine.renderer import Renderer
from engine.scenes import PIVOT, Scenes

PARTS = ("base", "eyes")
GROUPS = ("lashes", "brows", "hair")
BROW_LIFT = 0.0012  # metres towards the camera: brows lie on the skin
IVORY = (214, 206, 190)


@dataclass(frozen=True)
class MaterialMesh:
    """One material: v vertices in view space (camera at the origin, looking along −Z, metres) and t triangles."""

    name: str
    positions: NDArray[np.float32]  # [v, 3]
    normals: NDArray[np.float32]  # [v, 3] unit length
    uvs: NDArray[np.float32]  # [v, 2] V up
    triangles: NDArray[np.int64]  # [t, 3]
    texture: NDArray[np.uint8]  # [h, w, 4] sRGB and opacity
    cutout: bool  # whether the texture's opacity cuts holes


def material_meshes(
    renderer: Renderer, sliders: NDArray[np.float32], choices: NDArray[np.integer]
) -> list[MaterialMesh]:
    """One person, sliders [S] and choice numbers [G], before the game's camera."""
    head, scene = renderer.head, Scenes.game(1)
    worn = {group.name: group.choices[number] for group, number in zip(renderer.schema.groups, choices, strict=True)}
    names = [*PARTS, *(worn[g] for g in GROUPS if worn.get(g) in head.part)]
    spans = [(head.part[name].first_triangle, head.part[name].n_triangles) for name in names]
    drawn = np.concatenate([np.arange(first, first + count) for first, count in spans])
    points = renderer.vertices(sliders[None], choices[None])[0] - np.array(PIVOT, np.float32)
    points = points @ scene.rotation[0].T + scene.translation[0]
    normals = vertex_normals(points, head.triangles[drawn])
    textures = _textures(renderer, sliders, choices)
    made = []
    for material, (name, texture) in textures.items():
        chosen = drawn[head.materials[drawn] == material]
        if material == EYE:  # the clear cornea before the painted eyeball
            chosen = chosen[_opacity(texture, head.uvs[chosen].mean(axis=1)) > 128]
        if len(chosen) == 0:
            continue
        vertices, uvs, triangles = welded(head.triangles[chosen], head.uvs[chosen])
        positions = points[vertices]
        if material == BROW:
            positions = positions * (1.0 + BROW_LIFT / positions[:, 2:])
        cutout = material in (LASH, BROW, HAIR_MATERIAL)
        made.append(
            MaterialMesh(name, positions.astype(np.float32), normals[vertices], uvs, triangles, texture, cutout)
        )
    return made


def _textures(
    renderer: Renderer, sliders: NDArray[np.float32], choices: NDArray[np.integer]
) -> dict[int, tuple[str, NDArray[np.uint8]]]:
    """Name and texture of each material that the person shows."""
    skin = renderer.skin(sliders[None], choices[None])
    solid = np.full((*skin.shape[:2], 1), 255, np.uint8)
    found = {
        SKIN: ("skin", np.concatenate([skin, solid], axis=2)),
        TOOTH: ("teeth", np.broadcast_to(np.array([*IVORY, 255], np.uint8), (4, 4, 4)).copy()),
    }
    for material, group in ((EYE, "eyes"), (LASH, "lashes"), (BROW, "brows"), (HAIR_MATERIAL, "hair")):
        texture = worn_picture(renderer, group, sliders, choices)
        if texture is not None:
            found[material] = (group, texture)
    return found


def _opacity(texture: NDArray[np.uint8], uvs: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Alpha of the nearest texel at [n, 2], V up."""
    height, width = texture.shape[:2]
    columns, rows = uvs[:, 0].clip(0, 1) * (width - 1), (1 - uvs[:, 1].clip(0, 1)) * (height - 1)
    return texture[rows.round().astype(int), columns.round().astype(int), 3]
