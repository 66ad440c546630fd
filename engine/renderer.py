"""Parameters to pictures, label maps and landmarks: morphs by matrix product, all else in Warp kernels (CPU or
CUDA)."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import warp as wp
from numpy.typing import ArrayLike, NDArray

from engine import kernels, textures
from engine.blend import MorphBlend
from engine.head import FACE, LEFT_BROW, RIGHT_BROW, SKIN, TEETH, Head
from engine.scenes import PIVOT, Scenes
from engine.schema import Schema

LANDMARKS_FILE = "landmarks.json"
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
AMBIENT_REACH, SHADOW_REACH = 0.12, 0.5  # metres
BATCH = 8


@dataclass(frozen=True)
class Rendering:
    """image [N,H,W,3] sRGB uint8, labels [N,H,W] class ids, landmarks [N,68,2] pixels (NaN-free, hidden ones
    included)."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


class Renderer:
    """Draws faces of the embedded character.

    `embedded` is `data/embedded`, `character` the folder with schema.yaml and landmarks.json.
    """

    def __init__(self, character: Path, embedded: Path, device: str = "cpu") -> None:
        wp.init()
        self.device = wp.get_device(device)
        self.schema = Schema.load(character)
        self.head = Head.load(embedded / "character")
        self.blend = MorphBlend(self.head, self.schema)
        self.textures = textures.load(embedded / "character", self.schema)
        landmarks = character / LANDMARKS_FILE
        self.anchors = json.loads(landmarks.read_text()) if landmarks.exists() else {"triangles": [], "weights": []}
        self._upload()

    def _upload(self) -> None:
        head, device = self.head, self.device
        self.triangles = wp.array(head.triangles, dtype=wp.vec3i, device=device)
        self.uvs = wp.array(head.uvs, dtype=wp.vec2, device=device)
        self.materials = wp.array(head.materials, dtype=wp.uint8, device=device)
        self.regions = wp.array(head.regions, dtype=wp.vec2, device=device)
        self.labels = wp.array(head.labels, dtype=wp.uint8, device=device)
        self.lips = wp.array(head.lips, dtype=wp.uint8, device=device)
        self.references = wp.array(head.references, dtype=int, device=device)
        self.weights = wp.array(head.weights, dtype=wp.vec3, device=device)
        self.offsets = wp.array(head.offsets, dtype=wp.vec3, device=device)
        masks = np.repeat(self.textures.masks[..., None], 4, axis=3)
        self.stack = wp.array(np.concatenate([self.textures.stack, masks]), dtype=wp.uint8, device=device)
        base = head.part["base"]
        indices = head.triangles[base.first_triangle : base.first_triangle + base.n_triangles].ravel()
        points = wp.array(head.template, dtype=wp.vec3, device=device)
        self.occluder = wp.Mesh(points=points, indices=wp.array(indices, dtype=int, device=device))
        self.ambient = self._ambient()
        self.beards = wp.array(beard_masks(head), dtype=float, device=device)

    def _ambient(self) -> wp.array:
        """How open each vertex of the average face is to its surroundings, in [0,1]."""
        discrete = self.schema.neutral_discrete()[None].astype(np.int64)
        vertices, normals = self._surface(self.schema.neutral_sliders()[None], discrete, Scenes.game(1))
        share = wp.full(self.head.n_vertices, 1.0, dtype=float, device=self.device)
        directions = wp.array(_fibonacci_sphere(160), dtype=wp.vec3, device=self.device)
        wp.copy(self.occluder.points, vertices, count=self.head.n_base)
        self.occluder.refit()
        eyes = self.head.part["eyes"]
        for first, count in ((0, self.head.n_base), (eyes.first_vertex, eyes.n_vertices)):
            arguments = [self.occluder.id, vertices[0], normals[0], first, directions, 1, AMBIENT_REACH, share]
            wp.launch(kernels.occlude, dim=count, inputs=arguments, device=self.device)
        return share

    def render(
        self, parameters: ArrayLike, discrete: ArrayLike, scenes: Scenes, size: int, samples: int = 2
    ) -> Rendering:
        """Draw N faces: sliders [N,S] in [0,1], choice numbers [N,G], one scene each.

        `samples`² samples a pixel; an even number, as hair and brows cover a pixel in a pattern of two by two.
        """
        sliders, choices = np.asarray(parameters, np.float32), np.asarray(discrete, np.int64)
        chunks = [slice(start, start + BATCH) for start in range(0, len(sliders), BATCH)]
        drawn = [self._render(sliders[c], choices[c], scenes[c], size, samples) for c in chunks]
        return Rendering(*(np.concatenate(column) for column in zip(*drawn, strict=True)))

    def vertices(self, parameters: ArrayLike, discrete: ArrayLike) -> NDArray[np.float32]:
        """Vertices [N,V,3] in the head's own frame (metres); proxies that a face does not wear stay at the origin."""
        sliders, choices = np.asarray(parameters, np.float32), np.asarray(discrete, np.int64)
        return np.asarray(self._bound(sliders, choices, Scenes.game(len(sliders))).numpy(), np.float32)

    def _render(
        self, sliders: NDArray[np.float32], choices: NDArray[np.int64], scenes: Scenes, size: int, samples: int
    ) -> tuple[NDArray, NDArray, NDArray]:
        count, device = len(sliders), self.device
        vertices, normals = self._surface(sliders, choices, scenes)
        ranges, n_drawn = self._ranges(choices, triangles=True)
        shading = self._shading(sliders, choices, scenes)
        lit = self._shadows(vertices, normals, scenes)
        nearest = wp.full((count, size * samples, size * samples), kernels.EMPTY, dtype=wp.uint64, device=device)
        focal = wp.array(scenes.focal, dtype=float, device=device)
        wp.launch(
            kernels.rasterise,
            dim=(count, n_drawn),
            inputs=[vertices, self.triangles, self.uvs, self.materials, ranges, focal, self.stack, shading, nearest],
            device=device,
        )
        image = wp.empty((count, size, size, 3), dtype=wp.uint8, device=device)  # pyright: ignore[reportArgumentType]
        labels = wp.empty((count, size, size), dtype=wp.uint8, device=device)  # pyright: ignore[reportArgumentType]
        background = wp.array(scenes.backgrounds(size), dtype=wp.uint8, device=device)
        surface = [vertices, normals, self.ambient, lit, self.regions]
        soup = [self.triangles, self.uvs, self.materials, self.labels, self.lips]
        picture = [focal, self.stack, shading, background, samples, image, labels]
        wp.launch(kernels.resolve, dim=(count, size, size), inputs=[nearest, *surface, *soup, *picture], device=device)
        return (
            image.numpy(),
            np.stack([widen_brows(label_map) for label_map in labels.numpy()]),
            self._landmarks(np.asarray(vertices.numpy(), np.float32), scenes.focal, size),
        )

    def _bound(self, sliders: NDArray[np.float32], choices: NDArray[np.int64], scenes: Scenes) -> wp.array:
        """Morph the base mesh and put the proxies on it."""
        count, device = len(sliders), self.device
        base = self.blend(sliders, scenes.expression)
        vertices = wp.zeros((count, self.head.n_vertices), dtype=wp.vec3, device=device)
        for face in range(count):
            start = face * self.head.n_vertices
            morphed = wp.array(base[face], dtype=wp.vec3, device=device)
            wp.copy(vertices.flatten(), morphed, dest_offset=start, count=self.head.n_base)
        ranges, drawn = self._ranges(choices, triangles=False)
        proxies = [vertices, self.references, self.weights, self.offsets, ranges, self.head.n_base]
        wp.launch(kernels.bind_proxies, dim=(count, drawn), inputs=proxies, device=device)
        return vertices

    def _surface(
        self, sliders: NDArray[np.float32], choices: NDArray[np.int64], scenes: Scenes
    ) -> tuple[wp.array, wp.array]:
        """Vertices and (unnormalised) vertex normals in view space, [N,V] each."""
        count, device = len(sliders), self.device
        vertices = self._bound(sliders, choices, scenes)
        eyes = self.head.part["eyes"]
        centres = wp.array(self._eye_centres(vertices), dtype=wp.vec3, device=device)
        gaze = wp.array(scenes.gaze, dtype=wp.vec2, device=device)
        wp.launch(
            kernels.turn_eyes,
            dim=(count, eyes.n_vertices),
            inputs=[vertices, centres, gaze, eyes.first_vertex],
            device=device,
        )
        ranges, drawn = self._ranges(choices, triangles=False)
        rotation = wp.array(scenes.rotation, dtype=wp.mat33, device=device)
        translation = wp.array(scenes.translation, dtype=wp.vec3, device=device)
        moved = [vertices, rotation, wp.vec3(*PIVOT), translation, ranges]
        wp.launch(kernels.to_view, dim=(count, drawn), inputs=moved, device=device)
        normals = wp.zeros((count, self.head.n_vertices), dtype=wp.vec3, device=device)
        ranges, drawn = self._ranges(choices, triangles=True)
        summed = [vertices, self.triangles, ranges, normals]
        wp.launch(kernels.add_normals, dim=(count, drawn), inputs=summed, device=device)
        return vertices, normals

    def _eye_centres(self, vertices: wp.array) -> NDArray[np.float32]:
        """Centres [N,2,3] of the left and right eyeball."""
        eyes = self.head.part["eyes"]
        points = vertices.numpy()[:, eyes.first_vertex : eyes.first_vertex + eyes.n_vertices]
        left = points[0, :, 0] > 0
        return np.stack([(points[:, side].min(1) + points[:, side].max(1)) / 2 for side in (left, ~left)], axis=1)

    def _shadows(self, vertices: wp.array, normals: wp.array, scenes: Scenes) -> wp.array:
        """Share of the key light that reaches each vertex of skin and eyes [N,V]."""
        count, eyes = vertices.shape[0], self.head.part["eyes"]
        lit = wp.full((count, self.head.n_vertices), 1.0, dtype=float, device=self.device)
        for face in range(count):
            directions = wp.array(scenes.key_direction[face : face + 1], dtype=wp.vec3, device=self.device)
            start = face * self.head.n_vertices
            wp.copy(self.occluder.points, vertices.flatten(), src_offset=start, count=self.head.n_base)
            self.occluder.refit()
            for first, n_points in ((0, self.head.n_base), (eyes.first_vertex, eyes.n_vertices)):
                arguments = [
                    self.occluder.id,
                    vertices[face],
                    normals[face],
                    first,
                    directions,
                    0,
                    SHADOW_REACH,
                    lit[face],
                ]
                wp.launch(kernels.occlude, dim=n_points, inputs=arguments, device=self.device)
        return lit

    def _ranges(self, choices: NDArray[np.int64], *, triangles: bool) -> tuple[wp.array, int]:
        """What each face draws, as (first, count) of up to five parts [N,5,2], and the largest total."""
        groups = self.schema.group_index
        rows = []
        for row in choices:
            worn = [self.schema.groups[groups[name]].choices[row[groups[name]]] for name in ("lashes", "brows", "hair")]
            parts = [self.head.part[name] for name in ("base", "eyes", *worn) if name != "none"]
            spans = [(p.first_triangle, p.n_triangles) if triangles else (p.first_vertex, p.n_vertices) for p in parts]
            rows.append(spans + [(0, 0)] * (5 - len(spans)))
        ranges = np.array(rows, dtype=np.int32)
        return wp.array(ranges, dtype=int, device=self.device), int(ranges[:, :, 1].sum(axis=1).max())

    @cached_property
    def _layers(self) -> dict[str, NDArray[np.int32]]:
        """Texture layer of each choice of each group that has textures."""
        layer = self.textures.layer
        groups = {group.name: group.choices for group in self.schema.groups}
        return {
            name: np.array([layer.get(f"{name}/{c}", 0) for c in groups[name]], np.int32)
            for name in ("skin", "hair", "brows", "eyes")
        }

    def _shading(self, sliders: NDArray[np.float32], choices: NDArray[np.int64], scenes: Scenes) -> Any:
        groups, device = self.schema.group_index, self.device
        names = {
            name: [self.schema.groups[groups[name]].choices[c] for c in choices[:, groups[name]]] for name in groups
        }
        s = kernels.Shading()
        s.sh = wp.array(scenes.sh, dtype=wp.vec3, device=device)
        s.key_direction = wp.array(scenes.key_direction, dtype=wp.vec3, device=device)
        s.key_colour = wp.array(scenes.key_colour, dtype=wp.vec3, device=device)
        s.exposure = wp.array(scenes.exposure, dtype=float, device=device)
        s.sex = wp.array(sliders[:, self.schema.slider_index["sex"]], dtype=float, device=device)
        s.age = wp.array(sliders[:, self.schema.slider_index["age"]], dtype=float, device=device)
        layers = {
            name: wp.array(table[choices[:, groups[name]]], dtype=int, device=device)
            for name, table in self._layers.items()
        }
        s.skin_texture, s.hair_texture, s.brow_texture, s.eye_texture = (
            layers[n] for n in ("skin", "hair", "brows", "eyes")
        )
        s.lash_texture, s.lip_mask = self.textures.layer["lashes/lashes01"], len(self.textures.stack) + self.textures.mask["lips"]
        s.hair_colour = wp.array([textures.HAIR_COLOURS[n] for n in names["hair_colour"]], dtype=wp.vec3, device=device)
        s.lip_colour = wp.array([textures.LIP_COLOURS[n] for n in names["lips"]], dtype=wp.vec4, device=device)
        s.beard = self.beards
        s.beard_style = wp.array([BEARDS.index(n) if n in BEARDS else 4 for n in names["beard"]], dtype=int, device=device)
        return s

    def _landmarks(self, vertices: NDArray[np.float32], focal: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        corners = self.head.triangles[np.array(self.anchors["triangles"], dtype=int)]
        weights = np.array(self.anchors["weights"], dtype=np.float32).reshape(-1, 3)
        points = (vertices[:, corners] * weights[None, ..., None]).sum(axis=2)
        scale = focal[:, None] * size / -points[..., 2]
        return np.stack([size / 2 + points[..., 0] * scale, size / 2 - points[..., 1] * scale], axis=-1).astype(
            np.float32
        )


def widen_brows(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A brow is the region that its hairs span, as people draw it: wider than the hairs by a pixel in 256 all round."""
    reach = max(round(labels.shape[0] / 256), 1)
    for brow in (LEFT_BROW, RIGHT_BROW):
        spread = cv2.dilate((labels == brow).astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
        labels = np.where((spread > 0) & (labels == FACE), np.uint8(brow), labels)
    return labels


def beard_masks(head: Head) -> NDArray[np.float32]:
    """How dense each style of beard is at each vertex, [styles,V]; painted by position on the template."""
    x, y, z = head.template.T
    side = np.abs(x)

    def ramp(value: NDArray, start: float, end: float) -> NDArray:
        return ((value - start) / (end - start)).clip(0, 1)

    # Heights on the template's midline: nose base −.049, lips −.055 to −.073, underside of the chin −.112.
    cheek_line = -0.050 + 0.45 * np.maximum(side - 0.030, 0.0)
    jaw = ramp(cheek_line - y, 0.0, 0.012) * ramp(z, -0.075, -0.060) * ramp(y, -0.128, -0.112)
    moustache = ramp(-y, 0.049, 0.053) * ramp(y, -0.068, -0.064) * ramp(-side, -0.034, -0.026)
    chin = ramp(-y, 0.072, 0.078) * ramp(-side, -0.026, -0.018) * ramp(y, -0.124, -0.112)
    ring = ramp(side, 0.020, 0.025) * ramp(-side, -0.033, -0.028) * ramp(-y, 0.053, 0.058) * ramp(y, -0.110, -0.095)
    full = np.maximum.reduce([jaw, moustache, chin, ring])
    styles = [np.zeros_like(full), 0.4 * full, moustache, np.maximum.reduce([moustache, chin, ring]), full]
    skin = np.zeros(head.n_vertices, dtype=bool)
    skin[np.unique(head.triangles[(head.materials == SKIN) & (head.labels != TEETH)])] = True
    densities = np.zeros((len(styles), head.n_vertices), dtype=np.float32)
    densities[:, : head.n_base] = np.stack(styles) * skin[: head.n_base]
    return densities


def _fibonacci_sphere(count: int) -> NDArray[np.float32]:
    number = np.arange(count) + 0.5
    z = 1 - 2 * number / count
    angle = np.pi * (1 + 5**0.5) * number
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1).astype(np.float32)


def render_character(character: Path, embedded: Path, x: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """The engine's own render [size,size,3] of one parameter vector [width], in the game look."""
    renderer = Renderer(character, embedded)
    sliders, choices = renderer.schema.choose(np.asarray(x)[None])
    return renderer.render(sliders, choices, Scenes.game(1), size, samples=4).image[0]
