"""Other renderers on the same triangles, camera and light: VTK and OpenCV for speed, Mitsuba for quality.

Each runs in a process of its own on one core. They get finished vertices, normals and textures, which the engine makes
itself; they draw no labels and no landmarks.
"""

# They are no part of the project's environment.
# pyright: reportMissingImports=false

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import one_core
from benchmarks.mesh import MaterialMesh
from engine.lights import COSINE_LOBE, Panorama, sh_basis, tone_map
from engine.processes import end_with_parent
from engine.scenes import Scenes

INSTALL = "make bench-render installs it from requirements-bench.lock"
SCREENLESS = "to draw without a screen VTK needs libegl1 and libgl1-mesa-dri"
NEAR, FAR = 0.5, 2.5  # metres


@dataclass
class RendererRun:
    """What a renderer did: seconds for each picture of a new person, and the pictures [B, H, W, 3] sRGB."""

    name: str
    how: str
    seconds: list[float] = field(default_factory=list)
    images: list[NDArray[np.uint8]] = field(default_factory=list)
    skipped: str = ""

    @property
    def median(self) -> float | None:
        """Seconds a picture; None where nothing was drawn."""
        return statistics.median(self.seconds) if self.seconds else None


def draw(name: str, people: list[list[MaterialMesh]], size: int, samples: int, core: int) -> RendererRun:
    """Draw people with `vtk`, `opencv` or `mitsuba`; a renderer that cannot run says why in `skipped`.

    `samples`² samples a pixel, for Mitsuba as many paths.
    """
    renderer = RENDERERS[name]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin, initargs=(core,)) as pool:
        try:
            return pool.submit(renderer, people, size, samples).result()
        except ImportError as error:
            return RendererRun(name, "", skipped=f"{error}; {INSTALL}")
        except BrokenProcessPool:
            return RendererRun(name, "", skipped=f"its process died; {SCREENLESS}")


def _begin(core: int) -> None:
    end_with_parent()
    one_core(core)


def _vtk(people: list[list[MaterialMesh]], size: int, samples: int) -> RendererRun:
    os.environ.update(LP_NUM_THREADS="0", VTK_DEFAULT_OPENGL_WINDOW="vtkEGLRenderWindow")
    import vtk

    vtk.vtkObject.GlobalWarningDisplayOff()
    window, stage = vtk.vtkRenderWindow(), vtk.vtkRenderer()
    window.SetOffScreenRendering(1)
    window.SetSize(size, size)
    window.SetMultiSamples(samples * samples if samples > 1 else 0)
    window.AddRenderer(stage)
    _vtk_light_and_camera(stage)
    done = RendererRun("VTK", f"{window.GetClassName()}, Phong, one light, no shadows, {samples**2} samples")
    for person in people:
        actors = [_vtk_actor(piece) for piece in person]
        started = time.perf_counter()
        for actor in actors:
            stage.AddActor(actor)
        window.Render()
        done.images.append(_vtk_pixels(window, size))
        done.seconds.append(time.perf_counter() - started)
        for actor in actors:
            stage.RemoveActor(actor)
            actor.ReleaseGraphicsResources(window)
    del done.seconds[:1]  # the first picture compiles the shaders
    return done


def _vtk_light_and_camera(stage: Any) -> None:
    import vtk

    scene = Scenes.game(1)
    top, bottom = (scene.background[0][row].mean(axis=0) / 255.0 for row in (0, -1))
    stage.GradientBackgroundOn()
    stage.SetBackground(*bottom)
    stage.SetBackground2(*top)
    camera = stage.GetActiveCamera()
    camera.SetPosition(0, 0, 0)
    camera.SetFocalPoint(0, 0, -1)
    camera.SetViewUp(0, 1, 0)
    camera.SetViewAngle(np.degrees(2 * np.arctan(0.5 / scene.focal[0])))
    camera.SetClippingRange(NEAR, FAR)
    light = vtk.vtkLight()
    light.SetLightTypeToSceneLight()
    light.SetPosition(*scene.key_direction[0])
    light.SetFocalPoint(0, 0, 0)
    light.SetColor(*(scene.key_colour[0] / scene.key_colour[0].max()))
    stage.AutomaticLightCreationOff()
    stage.AddLight(light)


def _vtk_actor(piece: MaterialMesh) -> Any:
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray

    data, points, cells = vtk.vtkPolyData(), vtk.vtkPoints(), vtk.vtkCellArray()
    points.SetData(numpy_to_vtk(piece.positions, deep=True))
    rows = np.column_stack([np.full(len(piece.triangles), 3), piece.triangles]).astype(np.int64)
    cells.SetCells(len(rows), numpy_to_vtkIdTypeArray(rows.ravel(), deep=True))
    data.SetPoints(points)
    data.SetPolys(cells)
    data.GetPointData().SetNormals(numpy_to_vtk(piece.normals, deep=True))
    data.GetPointData().SetTCoords(numpy_to_vtk(piece.uvs, deep=True))
    height, width = piece.texture.shape[:2]
    image = vtk.vtkImageData()
    image.SetDimensions(width, height, 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(piece.texture[::-1]).reshape(-1, 4), deep=True))
    texture = vtk.vtkTexture()
    texture.SetInputDataObject(image)
    texture.InterpolateOn()
    mapper, actor = vtk.vtkPolyDataMapper(), vtk.vtkActor()
    mapper.SetInputData(data)
    actor.SetMapper(mapper)
    actor.SetTexture(texture)
    surface = actor.GetProperty()
    surface.SetInterpolationToPhong()
    surface.SetAmbient(0.55)
    surface.SetDiffuse(0.6)
    surface.SetSpecular(0.05)
    surface.SetSpecularPower(20)
    actor.ForceOpaqueOn()
    if piece.cutout:
        hole = "//VTK::TCoord::Impl\n  if (gl_FragData[0].a < 0.5) discard;\n"
        actor.GetShaderProperty().AddFragmentShaderReplacement("//VTK::TCoord::Impl", True, hole, False)
    return actor


def _vtk_pixels(window: Any, size: int) -> NDArray[np.uint8]:
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    pixels = vtk.vtkUnsignedCharArray()
    window.GetPixelData(0, 0, size - 1, size - 1, 1, pixels, 0)
    return vtk_to_numpy(pixels).reshape(size, size, 3)[::-1].copy()


def _opencv(people: list[list[MaterialMesh]], size: int, samples: int) -> RendererRun:
    """Skin, eyes and teeth only: it knows no textures and no holes, so colours come from the vertices."""
    scene, side = Scenes.game(1), size * samples
    field_of_view = float(2 * np.arctan(0.5 / scene.focal[0]))
    done = RendererRun("OpenCV", f"triangleRasterize, vertex colours, skin and eyes without hair, {samples**2} samples")
    for person in people:
        solid = [piece for piece in person if not piece.cutout]
        starts = np.cumsum([0, *(len(piece.positions) for piece in solid)])
        positions = np.concatenate([piece.positions for piece in solid])
        triangles = np.concatenate([p.triangles + start for p, start in zip(solid, starts, strict=False)])
        colours = np.concatenate([_vertex_colours(piece, scene) for piece in solid])
        started = time.perf_counter()
        picture = np.full((side, side, 3), 0.5, np.float32)
        depth = np.full((side, side), FAR, np.float32)
        camera = np.eye(4, dtype=np.float32)
        cv2.triangleRasterize(
            positions, triangles.astype(np.int32), colours, picture, depth, camera, field_of_view, NEAR, FAR
        )
        small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        done.images.append((small.clip(0, 1) * 255 + 0.5).astype(np.uint8))
        done.seconds.append(time.perf_counter() - started)
    return done


def _vertex_colours(piece: MaterialMesh, scene: Scenes) -> NDArray[np.float32]:
    height, width = piece.texture.shape[:2]
    columns = (piece.uvs[:, 0].clip(0, 1) * (width - 1)).round().astype(int)
    rows = ((1 - piece.uvs[:, 1].clip(0, 1)) * (height - 1)).round().astype(int)
    light = 0.55 + 0.6 * (piece.normals @ scene.key_direction[0]).clip(0)[:, None]
    return np.asarray(piece.texture[rows, columns, :3] / 255.0 * light, np.float32).clip(0, 1)


def _mitsuba(people: list[list[MaterialMesh]], size: int, samples: int) -> RendererRun:
    import mitsuba as mi

    mi.set_variant("scalar_rgb")
    mi.set_log_level(mi.LogLevel.Error)
    done = RendererRun("Mitsuba", f"scalar_rgb, path tracing, {samples**2} paths a pixel")
    for person in people:
        scene = mi.load_dict(_mitsuba_scene(person, size, samples))
        started = time.perf_counter()
        linear = np.array(mi.render(scene))
        done.images.append(_developed(linear, size))
        done.seconds.append(time.perf_counter() - started)
    return done


def _mitsuba_scene(person: list[MaterialMesh], size: int, samples: int) -> dict[str, Any]:
    import mitsuba as mi

    scene = Scenes.game(1)
    view = float(np.degrees(2 * np.arctan(0.5 / scene.focal[0])))
    # The middle column of our panoramas lies behind the head; Mitsuba's first one does.
    around = np.roll(_surroundings(scene), 16, axis=1)
    film = {"type": "hdrfilm", "width": size, "height": size, "pixel_format": "rgba", "rfilter": {"type": "box"}}
    made = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 6, "hide_emitters": True},
        "sensor": {
            "type": "perspective",
            "fov": view,
            "near_clip": NEAR,
            "far_clip": FAR,
            "to_world": mi.ScalarTransform4f().look_at(origin=[0, 0, 0], target=[0, 0, -1], up=[0, 1, 0]),
            "film": film,
            "sampler": {"type": "independent", "sample_count": samples * samples},
        },
        "around": {"type": "envmap", "bitmap": mi.Bitmap(np.ascontiguousarray(around))},
        "key": {
            "type": "directional",
            "direction": (-scene.key_direction[0]).tolist(),
            "irradiance": {"type": "rgb", "value": (np.pi * scene.key_colour[0]).tolist()},
        },
    }
    return made | {piece.name: _mitsuba_mesh(piece) for piece in person}


def _surroundings(scene: Scenes) -> NDArray[np.float32]:
    """The radiance [16, 32, 3] whose irradiance the scene's spherical harmonics hold."""
    directions = Panorama("", np.zeros((16, 32, 3), np.float32)).directions
    return np.asarray(sh_basis(directions) / COSINE_LOBE @ scene.sh[0], np.float32).clip(0)


def _mitsuba_mesh(piece: MaterialMesh) -> Any:
    import mitsuba as mi

    colour = {"type": "bitmap", "bitmap": mi.Bitmap(np.ascontiguousarray(piece.texture[..., :3])), "raw": False}
    inner: dict[str, Any] = {"type": "diffuse", "reflectance": colour}
    if not piece.cutout:
        roughness = 0.1 if piece.name == "eyes" else 0.4
        inner = {"type": "roughplastic", "diffuse_reflectance": colour, "alpha": roughness, "int_ior": 1.4}
    surface: dict[str, Any] = {"type": "twosided", "nested": inner}
    if piece.cutout:
        alpha = np.ascontiguousarray(piece.texture[..., 3:]).astype(np.float32) / 255.0
        holes = {"type": "bitmap", "bitmap": mi.Bitmap(alpha), "raw": True}
        surface = {"type": "mask", "opacity": holes, "nested": surface}
    properties = mi.Properties()
    properties["surface"] = mi.load_dict(surface)
    mesh = mi.Mesh(
        piece.name,
        vertex_count=len(piece.positions),
        face_count=len(piece.triangles),
        has_vertex_normals=True,
        has_vertex_texcoords=True,
        props=properties,
    )
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = piece.positions.ravel()
    parameters["vertex_normals"] = piece.normals.ravel()
    parameters["vertex_texcoords"] = np.column_stack([piece.uvs[:, 0], 1 - piece.uvs[:, 1]]).ravel()
    parameters["faces"] = piece.triangles.astype(np.uint32).ravel()
    parameters.update()
    return mesh


def _developed(linear: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """Radiance and coverage [H, W, 4] with the engine's exposure and tone curve, over the game's backdrop."""
    scene = Scenes.game(1)
    cover = linear[..., 3:].clip(0, 1)
    radiance = scene.exposure[0] * linear[..., :3] / np.maximum(cover, 1e-3)
    mixed = cover * tone_map(radiance) * 255 + (1 - cover) * scene.backgrounds(size)[0]
    return (mixed + 0.5).clip(0, 255).astype(np.uint8)


RENDERERS: dict[str, Callable[[list[list[MaterialMesh]], int, int], RendererRun]] = {
    "vtk": _vtk,
    "opencv": _opencv,
    "mitsuba": _mitsuba,
}
