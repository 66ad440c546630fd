"""Parameters to pictures, label maps and landmarks: morphs by matrix product, all else in Warp kernels (CPU or
CUDA)."""

import json
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import warp as wp
from numpy.typing import ArrayLike, NDArray

from engine import ambient, cache, finished_head, rounding, skins, textures
from engine.blend import MorphBlend
from engine.files import digest_of
from engine.glasses import CLEAR, FINISHES, finish_of, tint_of
from engine.head import FACE, LEFT_BROW, RIGHT_BROW, Head
from engine.kernels import common, pose, shade, skin, visibility
from engine.kernels.common import Triangle, Vertex, vec3ub, vec4ub
from engine.kernels.light import LightBatch
from engine.materials import Materials
from engine.picture_options import AS_IN_GAME, PictureOptions, with_alpha
from engine.scenes import PIVOT, Scenes
from engine.schema import Schema
from engine.worn import ALWAYS, WORN, worn_parts

LANDMARKS_FILE = "landmarks.json"
PER_VERTEX = ("view", "screen", "cast", "normals", "vertices")
"""Buffers that are written for the worn vertices alone."""
NO_ENDS = np.zeros((0, 2), np.int32)
SHADOW_CENTRE, SHADOW_REACH = (0.0, -0.01, -0.08), 0.24  # metres, in the head's frame: half the shadow map's side
SHADOW_SIDE = 224  # texels
SHADOW_SOFTNESS = 0.007  # metres
FULL, HALF = 512, 256  # texels of a texture's side
FINAL_SAMPLES = 4  # a pixel's side, for the one picture that a person looks at
DETAILED = 384  # pixels from which on the relief of the skin can be seen, and the corners of outlines
BATCH_BYTES = {"cpu": 2**25, "cuda": 2**30}
"""What the samples of the faces drawn at once may take."""
BATCH_FACES = {"cpu": 16, "cuda": 2048}
"""How many are drawn at once at most: each takes memory for the vertices of all that anybody of its place ever wore."""
RUNS = {"cpu": 256, "cuda": 1}
"""Pixels, texels or vertices a thread: on a CPU what a thread does before its work costs more than the work."""


@dataclass(frozen=True)
class Rendering:
    """image [B, H, W, 3] sRGB uint8, labels [B, H, W] class ids, landmarks [B, 68, 2] pixels (NaN-free, hidden ones
    included)."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


@dataclass(frozen=True)
class Detail:
    """The head on the device, at one level of detail: its own triangles, or the rounded ones with middles of edges."""

    triangles: wp.array
    regions: wp.array  # [N] of each point
    ambient: wp.array  # [N] how open it is
    strands: wp.array  # [N] whether it is of brows, lashes or hair
    ends: wp.array  # [E, 2] vertices between which each middle lies
    spans: dict[str, tuple[int, int]]  # first and count of each part's triangles
    middles: dict[str, tuple[int, int]]  # first and count of each part's middles, from 0 on

    @property
    def n_points(self) -> int:
        """Vertices and middles."""
        return self.regions.shape[0]


@dataclass(frozen=True)
class Frames:
    """What `Renderer.draw` leaves on the device: image [B, H·W] of three bytes, labels [B, H·W] uint8, vertices
    [B, V] in view space. The arrays are used again by the next call."""

    image: wp.array
    labels: wp.array
    view: wp.array


class Renderer:
    """Draws faces of the embedded character.

    `embedded` is `data/embedded`, `character` the folder with schema.yaml and landmarks.json.
    """

    def __init__(self, character: Path, embedded: Path, device: str = "cpu") -> None:
        wp.init()
        self.device = wp.get_device(device)
        self.kind = "cuda" if self.device.is_cuda else "cpu"
        self.run = RUNS[self.kind]
        self.schema = Schema.load(character)
        self.head = finished_head.load(embedded / "character")
        self.blend = MorphBlend(self.head, self.schema)
        self.textures = textures.load(embedded / "character", self.schema)
        landmarks = character / LANDMARKS_FILE
        self.anchors = json.loads(landmarks.read_text()) if landmarks.exists() else {"triangles": [], "weights": []}
        self._buffers: dict[str, wp.array] = {}
        self._materials: dict[int, Materials] = {}
        self._upload()

    def _upload(self) -> None:
        head = self.head
        self.bindings = [
            self._array(head.references, int),
            self._array(head.weights, wp.vec3),
            self._array(head.offsets, wp.vec3),
        ]
        # The average face is measured by its triangles alone.
        self.coarse = self._detail(head, np.ones(head.n_vertices, np.float32))
        self.openness = self._kept_openness()
        self.coarse = replace(self.coarse, ambient=self._array(self.openness, float))

    @cached_property
    def rounded(self) -> Detail:
        """For pictures that people look at."""
        made = rounding.rounded(self.head)
        return self._detail(made.head, made.with_middles(self.openness), made.ends, made.spans)

    def _detail(
        self,
        head: Head,
        openness: NDArray[np.float32],
        ends: NDArray[np.int32] = NO_ENDS,
        middles: dict[str, tuple[int, int]] | None = None,
    ) -> Detail:
        eyes = head.part["eyes"]
        strands = np.arange(head.n_vertices) >= eyes.first_vertex + eyes.n_vertices
        return Detail(
            triangles=self._array(_packed(head), Triangle),
            regions=self._array(head.regions, wp.vec2),
            ambient=self._array(openness, float),
            strands=self._array(np.concatenate([strands, strands[ends[:, 0]]]).astype(np.uint8), wp.uint8),
            ends=self._array(ends, int),
            spans={part.name: (part.first_triangle, part.n_triangles) for part in head.parts},
            middles=middles or {part.name: (0, 0) for part in head.parts},
        )

    def _array(self, values: NDArray, dtype: Any) -> wp.array:
        return wp.array(np.ascontiguousarray(values), dtype=dtype, device=self.device)

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: Any) -> wp.array:
        """Memory that the next batch uses again: fresh pages cost more than the work on them."""
        held = self._buffers.get(name)
        if held is None or held.shape != shape:
            # Of all vertices few are worn: memory that is never written to is none.
            make = wp.empty if name in PER_VERTEX else wp.zeros
            held = self._buffers[name] = make(shape, dtype=dtype, device=self.device)
        return held

    def _launch(self, kernel: Any, dim: tuple[int, ...], *inputs: Any) -> None:
        wp.launch(kernel, dim=dim, inputs=inputs, device=self.device)

    def _strips(self, count: int) -> int:
        """How many threads do `count` things when each does `run` of them."""
        return -(-count // self.run)

    def _kept_openness(self) -> NDArray[np.float32]:
        """`_openness`, from the cache where it was measured on this head before."""
        parts = (Renderer, MorphBlend, Scenes, Schema)
        code = cache.code(*(sys.modules[part.__module__] for part in parts), ambient, pose, common)
        head, base = self.head, self.blend(self.schema.neutral_sliders()[None], Scenes.game(1).expression)
        bound = (head.references, head.weights, head.offsets, head.triangles, head.labels, head.materials)
        geometry = digest_of((str(values.shape), values.tobytes()) for values in (head.template, base, *bound))
        settings = f"{self.kind} {wp.__version__} {self.schema.model_dump_json()} {geometry}"
        return cache.arrays("ambient", code, settings, lambda: {"ambient": self._openness()})["ambient"]

    def _openness(self) -> NDArray[np.float32]:
        """How open each vertex [V] of the average face is to its surroundings, in [0, 1]."""
        choices = self.schema.neutral_discrete()[None].astype(np.int64)
        view, _, _, normals = self._posed(self.schema.neutral_sliders()[None], choices, Scenes.game(1), 1, self.coarse)
        return ambient.openness(self.head, view, normals)

    def render(
        self, parameters: ArrayLike, discrete: ArrayLike, scenes: Scenes, size: int, samples: int = 2
    ) -> Rendering:
        """Draw B faces: sliders [B, S] in [0, 1], choice numbers [B, G], one scene each.

        `samples`² samples a pixel, 2 or 4; hair and brows cover a pixel in a pattern of as many levels.
        """
        sliders, choices = np.asarray(parameters, np.float32), np.asarray(discrete, np.int64)
        batch = min(max(BATCH_BYTES[self.kind] // (8 * (size * samples) ** 2), 1), BATCH_FACES[self.kind])
        drawn: list[tuple[NDArray, NDArray, NDArray]] = []
        for chunk in (slice(start, start + batch) for start in range(0, len(sliders), batch)):
            frames = self.draw(sliders[chunk], choices[chunk], scenes[chunk], size, samples)
            labels = np.stack([widen_brows(flat.reshape(size, size)) for flat in frames.labels.numpy()])
            landmarks = self._landmarks(np.asarray(frames.view.numpy(), np.float32), scenes.focal[chunk], size)
            drawn.append((frames.image.numpy().reshape(-1, size, size, 3).copy(), labels, landmarks))
        return Rendering(*(np.concatenate(column) for column in zip(*drawn, strict=True)))

    def picture(
        self, parameters: ArrayLike, discrete: ArrayLike, size: int, options: PictureOptions = AS_IN_GAME
    ) -> NDArray[np.uint8]:
        """One face (sliders [1, S], choice numbers [1, G]) in the game look [size, size, 3], for people to look at;
        with a transparent background [size, size, 4]. Raises ValueError for a face action that there is not.
        """
        scenes = options.scene(self.blend.actions)
        sliders, choices = (np.repeat(given, len(scenes), 0) for given in (parameters, discrete))
        drawn = self.render(sliders, choices, scenes, size, samples=FINAL_SAMPLES).image
        return with_alpha(drawn) if len(scenes) > 1 else drawn[0]

    def vertices(self, parameters: ArrayLike, discrete: ArrayLike) -> NDArray[np.float32]:
        """Vertices [B, V, 3] in the head's own frame (metres); proxies that a face does not wear stay at the origin."""
        sliders, choices = np.asarray(parameters, np.float32), np.asarray(discrete, np.int64)
        # What is not worn is not written.
        self._buffers["view"] = wp.zeros((len(sliders), self.head.n_vertices), dtype=wp.vec3, device=self.device)
        view, *_ = self._posed(sliders, choices, Scenes.unmoved(len(sliders)), 1, self.coarse)
        return np.array(view.numpy(), np.float32)

    def skin(self, parameters: ArrayLike, discrete: ArrayLike) -> NDArray[np.uint8]:
        """The skin texture [512, 512, 3] sRGB of one face: sliders [1, S], choice numbers [1, G]."""
        return self.skin_and_height(parameters, discrete)[..., :3].copy()

    def skin_and_height(self, parameters: ArrayLike, discrete: ArrayLike) -> NDArray[np.uint8]:
        """The skin texture and its height [512, 512, 4]; 128 is neutral, 255 more are RELIEF metres."""
        sliders, choices = np.asarray(parameters, np.float32), np.asarray(discrete, np.int64)
        painted = self._painted(sliders, choices, self.materials(FULL))
        return np.array(painted.numpy(), np.uint8)[0].reshape(FULL, FULL, 4)

    def materials(self, side: int) -> Materials:
        """The textures at one resolution, on the device."""
        if side not in self._materials:
            self._materials[side] = Materials.upload(self.textures, self.schema, self.head, self.device, side)
        return self._materials[side]

    def draw(
        self, sliders: NDArray[np.float32], choices: NDArray[np.int64], scenes: Scenes, size: int, samples: int = 2
    ) -> Frames:
        """Draw one batch and leave it on the device; `render` says what the arguments are."""
        count, side = len(sliders), size * samples
        materials = self.materials(FULL if size >= DETAILED else HALF)
        detail = self.rounded if size >= DETAILED else self.coarse
        view, screen, cast, normals = self._posed(sliders, choices, scenes, side, detail)
        ranges, n_drawn = self._ranges(choices, detail.spans)
        wears = self._cutouts(choices, materials)
        light = self._light(scenes)
        drawn = [detail.triangles, ranges, n_drawn, self.run, wears]
        shadow = self._buffer("shadow", (count, SHADOW_SIDE**2), float)
        shadow.fill_(-1.0)
        self._launch(visibility.cast_shadow, (count, self._strips(n_drawn)), cast, *drawn, SHADOW_SIDE, shadow)
        vertices = self._lit(view, cast, normals, choices, light, shadow, detail)
        nearest = self._buffer("nearest", (count, side**2), wp.uint64)
        nearest.zero_()
        self._launch(visibility.rasterise, (count, self._strips(n_drawn)), screen, *drawn, side, samples, nearest)
        surface = self._surface(screen, view, vertices, wears, materials, detail)
        surface.focal, surface.span = self._array(scenes.focal, float), float(side)
        surface.painted = self._painted(sliders, choices, materials)
        surface.hair_colour = self._array(textures.hair_colours(self.schema, sliders, choices), wp.vec3)
        self._glaze(surface, screen, choices, size, samples, detail)
        image = self._buffer("image", (count, size**2), vec3ub)
        labels = self._buffer("labels", (count, size**2), wp.uint8)
        background = self._array(scenes.backgrounds(size).reshape(count, -1, 3), vec3ub)
        relief = shade.RELIEF if size >= DETAILED else 0.0
        picture = [background, size, samples, relief, self.run, image, labels]
        self._launch(shade.resolve, (count, self._strips(size**2)), nearest, surface, light, *picture)
        return Frames(image, labels, view)

    def _posed(
        self, sliders: NDArray[np.float32], choices: NDArray[np.int64], scenes: Scenes, side: int, detail: Detail
    ) -> tuple[wp.array, wp.array, wp.array, wp.array]:
        """Points in view space, on the screen of `side` samples and in the shadow map, and normals (not yet of unit
        length), [B, N]."""
        count, n_points = len(sliders), detail.n_points
        base = self.blend(sliders, scenes.expression)
        eyes = self.head.part["eyes"]
        camera = pose.CameraBatch()
        camera.rotation = self._array(scenes.rotation, wp.mat33)
        camera.pivot = wp.vec3(*PIVOT)
        camera.translation = self._array(scenes.translation, wp.vec3)
        camera.focal = self._array(scenes.focal, float)
        camera.gaze = self._array(scenes.gaze, wp.vec2)
        camera.side = float(side)
        camera.key_frame = self._array(_frames_towards(scenes.key_direction), wp.mat33)
        centre = np.array(SHADOW_CENTRE, np.float32) - np.array(PIVOT, np.float32)
        camera.key_centre = self._array(scenes.rotation @ centre + scenes.translation, wp.vec3)
        camera.key_scale, camera.key_side = 0.5 * SHADOW_SIDE / SHADOW_REACH, float(SHADOW_SIDE)
        view = self._buffer("view", (count, n_points), wp.vec3)
        screen = self._buffer("screen", (count, n_points), wp.vec3)
        cast = self._buffer("cast", (count, n_points), wp.vec3)
        ranges, drawn = self._ranges(choices, self._vertices)
        span = wp.vec2i(eyes.first_vertex, eyes.first_vertex + eyes.n_vertices)
        centres = self._array(self.head.eye_centres(base), wp.vec3)
        meshes = [self._array(base, wp.vec3), *self.bindings, ranges, span, centres]
        normals = self._buffer("normals", (count, n_points), wp.vec3)
        self._launch(pose.pose, (count, drawn), *meshes, camera, view, screen, cast, normals)
        self._add_normals(view, choices, self.coarse, normals)
        if detail is not self.coarse:
            ranges, drawn = self._ranges(choices, detail.middles)
            curved = [detail.ends, ranges, self.head.n_vertices, normals, camera]
            self._launch(pose.curve, (count, drawn), *curved, view, screen, cast)
            normals.zero_()
            self._add_normals(view, choices, detail, normals)
        return view, screen, cast, normals

    def _add_normals(self, view: wp.array, choices: NDArray[np.int64], detail: Detail, normals: wp.array) -> None:
        ranges, drawn = self._ranges(choices, detail.spans)
        self._launch(pose.add_normals, (len(choices), drawn), view, detail.triangles, ranges, normals)

    def _lit(
        self,
        view: wp.array,
        cast: wp.array,
        normals: wp.array,
        choices: NDArray[np.int64],
        light: Any,
        shadow: wp.array,
        detail: Detail,
    ) -> wp.array:
        """The points [B, N] with the light that reaches them."""
        count, n_vertices = len(choices), self.head.n_vertices
        vertices = self._buffer("vertices", (count, detail.n_points), Vertex)
        middles = {name: (n_vertices + first, number) for name, (first, number) in detail.middles.items()}
        ranges, drawn = self._ranges(choices, self._vertices, middles)
        softness = 0.5 * SHADOW_SIDE / SHADOW_REACH * SHADOW_SOFTNESS
        shape = [view, cast, normals, detail.ambient, ranges, drawn, detail.strands]
        falling = [light, softness, SHADOW_SIDE, self.run, shadow]
        self._launch(visibility.light_vertices, (count, self._strips(drawn)), *shape, *falling, vertices)
        return vertices

    def _ranges(self, choices: NDArray[np.int64], *spans: dict[str, tuple[int, int]]) -> tuple[wp.array, int]:
        """What each face draws of lists of elements, given the first and the count of each part's in each list: (first,
        count) of a few parts [B, P, 2], and the largest total."""
        columns = []
        for of in spans:
            columns += [np.broadcast_to(of[name], (len(choices), 2)) for name in ALWAYS]
            for group in WORN:
                if group in self.schema.group_index:
                    columns += self._worn_spans(of, choices, group)
        ranges = np.stack(columns, axis=1).astype(np.int32)
        return self._array(ranges, int), int(ranges[:, :, 1].sum(axis=1).max())

    def _worn_spans(
        self, spans: dict[str, tuple[int, int]], choices: NDArray[np.int64], group: str
    ) -> list[NDArray[np.int64]]:
        """First and count [B, 2] of each part that a group's choices may show; a count of 0 where one shows none."""
        chosen, names = choices[:, self.schema.group_index[group]], self.schema.group(group).choices
        worn = [[*worn_parts(group, name).values()] for name in names]
        return [np.array([spans.get(part, (0, 0)) for part in column])[chosen] for column in zip(*worn, strict=True)]

    @cached_property
    def _vertices(self) -> dict[str, tuple[int, int]]:
        """First and count of the vertices of each part."""
        return {part.name: (part.first_vertex, part.n_vertices) for part in self.head.parts}

    def _layers(self, choices: NDArray[np.int64], group: str) -> NDArray[np.int32]:
        """Texture layer [B] of each face's choice of a group; −1 where it has none."""
        if group not in self.schema.group_index:
            return np.full(len(choices), -1, np.int32)
        names = self.schema.group(group).choices
        layers = np.array([self.textures.layer.get(f"{group}/{name}", -1) for name in names], np.int32)
        return layers[choices[:, self.schema.group_index[group]]]

    def _cutouts(self, choices: NDArray[np.int64], materials: Materials) -> Any:
        cutouts = visibility.Cutouts()
        cutouts.opacity = materials.opacity
        cutouts.side = materials.side
        cutouts.hair = self._array(self._layers(choices, "hair"), int)
        cutouts.brow = self._array(self._layers(choices, "brows"), int)
        cutouts.lash = self._array(self._layers(choices, "lashes"), int)
        cutouts.eye = self._array(self._layers(choices, "eyes"), int)
        cutouts.beard = self._array(self._layers(choices, "beard"), int)
        return cutouts

    def _painted(self, sliders: NDArray[np.float32], choices: NDArray[np.int64], materials: Materials) -> wp.array:
        """Each face's own skin [B, side²]."""
        index = self.schema.slider_index
        masks, colours = textures.paints(self.textures, self.schema, sliders, choices)
        made = skin.Skin()
        made.tone = self._array(choices[:, self.schema.group_index["skin"]].astype(np.int32), int)
        made.sex = self._array(sliders[:, index["sex"]], float)
        made.age = self._array(skins.age_of(sliders[:, index["age"]]), float)
        made.tint = self._array(textures.skin_tints(self.schema, sliders, choices), wp.vec3)
        made.mask = self._array(masks.astype(np.int32), int)
        display = np.concatenate([255.0 * np.sqrt(colours[..., :3]), colours[..., 3:]], axis=2)
        made.paint = self._array(display.astype(np.float32), wp.vec4)
        painted = self._buffer(f"painted{materials.side}", (len(sliders), materials.side**2), vec4ub)
        arguments = [materials.used, materials.skins, materials.masks, made, self.run, painted]
        self._launch(skin.paint_skin, (len(sliders), self._strips(materials.used.size)), *arguments)
        return painted

    def _glaze(
        self, surface: Any, screen: wp.array, choices: NDArray[np.int64], size: int, samples: int, detail: Detail
    ) -> None:
        """Give a surface what the faces' glasses are made of, and the lens before each pixel."""
        count, worn = len(choices), np.zeros((len(choices), 1, 2), np.int32)
        tints, metal = np.tile(CLEAR, (count, 1)), np.zeros(count)
        if "glasses" in self.schema.group_index:
            names = self.schema.group("glasses").choices
            chosen = choices[:, self.schema.group_index["glasses"]]
            worn = self._worn_spans(detail.spans, choices, "glasses")[1][:, None].astype(np.int32)
            tints = np.array([tint_of(name) for name in names])[chosen]
            metal = np.array([FINISHES[finish_of(n)].metal if n != "none" else 0.0 for n in names])[chosen]
        surface.frame = self._array(self._layers(choices, "glasses"), int)
        surface.metal = self._array(metal, float)
        surface.tint = self._array(tints, wp.vec3)
        drawn = int(worn[:, :, 1].max(initial=0))
        surface.lenses = self._buffer("lenses", (count, size**2) if drawn else (1, 1), wp.uint64)
        surface.glazed = int(drawn > 0)
        if drawn:
            surface.lenses.zero_()
            arguments = [screen, detail.triangles, self._array(worn, int), drawn, size, samples, surface.lenses]
            self._launch(visibility.rasterise_lenses, (count, drawn), *arguments)

    def _surface(
        self, screen: wp.array, view: wp.array, vertices: wp.array, wears: Any, materials: Materials, detail: Detail
    ) -> Any:
        surface = shade.Surface()
        surface.triangles, surface.regions = detail.triangles, detail.regions
        surface.screen, surface.view, surface.vertices = screen, view, vertices
        surface.side, surface.lip_mask, surface.textures = materials.side, materials.lips, materials.layers
        surface.wears, surface.teeth = wears, self.textures.layer[textures.TEETH]
        return surface

    def _light(self, scenes: Scenes) -> Any:
        light = LightBatch()
        light.sh = self._array(scenes.sh, wp.vec3)
        light.direction = self._array(scenes.key_direction, wp.vec3)
        light.colour = self._array(scenes.key_colour, wp.vec3)
        light.environment = self._array(scenes.environment, wp.vec3)
        light.exposure = self._array(scenes.exposure, float)
        return light

    def _landmarks(self, vertices: NDArray[np.float32], focal: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        corners = self.head.triangles[np.array(self.anchors["triangles"], dtype=int)]
        weights = np.array(self.anchors["weights"], dtype=np.float32).reshape(-1, 3)
        points = (vertices[:, corners] * weights[None, ..., None]).sum(axis=2)
        scale = focal[:, None] * size / -points[..., 2]
        return np.stack([size / 2 + points[..., 0] * scale, size / 2 - points[..., 1] * scale], axis=-1).astype(
            np.float32
        )


def _packed(head: Head) -> NDArray:
    """The head's triangles as records of engine.kernels.common.Triangle."""
    packed = np.zeros(len(head.triangles), dtype=np.dtype(Triangle.numpy_dtype()))  # pyright: ignore[reportArgumentType, reportCallIssue]
    packed["corner"] = head.triangles
    for number, name in enumerate(("uv_a", "uv_b", "uv_c")):
        packed[name] = head.uvs[:, number]
    packed["material"], packed["label"], packed["lip_label"] = head.materials, head.labels, head.lips
    return packed


def _frames_towards(directions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Orthonormal rows [B, 3, 3] across, down and along each unit direction [B, 3]."""
    steep = np.abs(directions[:, 1:2]) > 0.95
    up = np.where(steep, np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    across = np.cross(up, directions)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return np.stack([across, np.cross(across, directions), directions], axis=1).astype(np.float32)


def widen_brows(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A brow is the region that its hairs span, as people draw it: wider than the hairs by a pixel in 256 all round."""
    reach = max(round(labels.shape[0] / 256), 1)
    brows = np.where((labels == LEFT_BROW) | (labels == RIGHT_BROW), labels, np.uint8(0))
    spread = cv2.dilate(brows, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    return np.where((spread > 0) & (labels == FACE), spread, labels).astype(np.uint8)
