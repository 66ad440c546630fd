"""Exported files hold the character that the engine draws, and other programs' readers see it so."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from engine import sampler
from engine.exporters.export_mesh import ExportMesh
from engine.exporters.glb import to_glb
from engine.exporters.obj import write_obj
from engine.renderer import Renderer
from tests.engine.exporters.readers import complaints
from tests.engine.gltf_reader import Gltf

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
TENTH_OF_A_MILLIMETRE = 1e-4
MEGABYTES = 1_000_000


def characters(renderer: Renderer, count: int) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Any slider anywhere: harder than people are. All wear the hair with the most vertices."""
    sliders, choices = sampler.uniform(renderer.schema, count, np.random.default_rng(11))
    choices[:, renderer.schema.group_index["hair"]] = renderer.schema.choice("hair", "bob01")
    return sliders, choices


@pytest.fixture(scope="module")
def mesh(renderer: Renderer) -> ExportMesh:
    sliders, choices = characters(renderer, 1)
    return ExportMesh.of(renderer, sliders[0], choices[0])


@pytest.fixture(scope="module")
def glb(mesh: ExportMesh) -> bytes:
    return to_glb(mesh, {"character": "embedded"})


def distance(found: dict[int, NDArray], expected: NDArray[np.float32]) -> float:
    """The largest distance in metres between vertices and those of the engine."""
    return max(float(np.linalg.norm(point - expected[number])) for number, point in found.items())


def test_khronos_validator_finds_nothing(glb: bytes, tmp_path: Path) -> None:
    assert (ROOT / "node_modules" / "gltf-validator").is_dir(), "run `make node_modules/.stamp-dev`"
    (tmp_path / "x.glb").write_bytes(glb)
    report = complaints(tmp_path / "x.glb")
    assert report["numErrors"] == report["numWarnings"] == 0, report["messages"]
    assert report["info"]["hasMorphTargets"] and report["info"]["hasTextures"]


def test_every_accessor_has_data(glb: bytes) -> None:
    """By the specification an accessor of zeros needs none, but not all importers know. The zeros are there once."""
    gltf = Gltf(glb)
    document = gltf.document
    assert all("bufferView" in accessor or "sparse" in accessor for accessor in document["accessors"])
    still = [
        target["NORMAL"]
        for mesh in document["meshes"]
        for target in mesh["primitives"][0]["targets"]
        if "NORMAL" in target and not gltf.accessor(target["NORMAL"]).any()
    ]
    assert len(still) > 20, "some targets move primitives without turning them"
    views = {document["accessors"][number]["bufferView"] for number in still}
    assert len(views) == 1
    longest = max(document["accessors"][number]["count"] for number in still)
    assert document["bufferViews"][views.pop()]["byteLength"] == 12 * longest


def test_trimesh_reads_the_character_that_the_engine_draws(renderer: Renderer, glb: bytes, tmp_path: Path) -> None:
    sliders, choices = characters(renderer, 1)
    expected = renderer.vertices(sliders, choices)[0]
    (tmp_path / "x.glb").write_bytes(glb)
    scene = trimesh.load_scene(tmp_path / "x.glb", process=False)
    seen = set()
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        sources = mesh.vertex_attributes["_SOURCE"].ravel().astype(int)
        seen |= set(sources.tolist())
        placed = trimesh.transform_points(mesh.vertices, transform)
        assert np.linalg.norm(placed - expected[sources], axis=1).max() < TENTH_OF_A_MILLIMETRE
        plain = str(name).startswith(("lenses", "cornea"))
        assert (mesh.visual.material.baseColorTexture is None) == plain
    hair = renderer.head.part["bob01"]
    assert set(range(hair.first_vertex, hair.first_vertex + hair.n_vertices)) & seen
    head = {"skin", "mouth", "teeth", "eye_left", "eye_right", "cornea_left", "cornea_right"}
    assert set(scene.geometry) == {*head, "lashes", "brows", "beard", "hair", "glasses", "lenses"}


@pytest.mark.parametrize("as_shown", [True, False])
def test_morph_targets_reach_every_other_character(renderer: Renderer, as_shown: bool) -> None:
    """Slider values become influences by the description in the file alone."""
    sliders, choices = characters(renderer, 4)
    schema = renderer.schema
    gltf = Gltf(to_glb(ExportMesh.of(renderer, sliders[0], choices[0], as_shown=as_shown), {}))
    assert distance(gltf.shape(gltf.shown()), renderer.vertices(sliders[:1], choices[:1])[0]) < TENTH_OF_A_MILLIMETRE
    for other in sliders[1:]:
        influences = gltf.influences(dict(zip(schema.slider_index, other.tolist(), strict=True)))
        expected = renderer.vertices(other[None], choices[:1])[0]
        assert distance(gltf.shape(influences), expected) < TENTH_OF_A_MILLIMETRE
        assert distance(gltf.shape({}), expected) > 100 * TENTH_OF_A_MILLIMETRE, "the morphs did the work"


def test_targets_are_named_after_sliders_products_and_arkit_actions(renderer: Renderer, glb: bytes) -> None:
    gltf = Gltf(glb)
    skin = next(mesh for mesh in gltf.document["meshes"] if mesh["name"] == "skin")
    names = set(skin["extras"]["targetNames"])
    assert {"nose_width+", "nose_width-", "macro/african-female-young", "jawOpen", "eyeBlinkLeft"} <= names
    described = {slider["name"]: slider for slider in gltf.about["sliders"]}
    assert set(described) == set(renderer.schema.slider_index)
    assert described["nose_width"]["negative"] == "nose_width-"
    assert described["head_round"]["negative"] is None
    assert len(gltf.about["actions"]) == 52
    asked = {slider[sign] for slider in gltf.about["sliders"] for sign in ("negative", "positive")} - {None}
    everywhere = {name for mesh in gltf.document["meshes"] for name in mesh["extras"]["targetNames"]}
    assert asked <= everywhere, "every direction of every slider moves something"


def test_normals_follow_a_target(renderer: Renderer, glb: bytes) -> None:
    sliders, choices = characters(renderer, 1)
    index = renderer.schema.slider_index
    moved = sliders[0].copy()
    moved[index["chin_prominence"]] = 1.0 - moved[index["chin_prominence"]]
    gltf, expected = Gltf(glb), ExportMesh.of(renderer, moved, choices[0])
    still, turned = (
        gltf.shape(influences, "NORMAL")
        for influences in ({}, gltf.influences(dict(zip(index, moved.tolist(), strict=True))))
    )
    skin = expected.named["skin"]
    true = dict(zip(skin.sources.tolist(), expected.normals[expected.places(skin)], strict=True))

    def error(found: dict[int, NDArray]) -> NDArray:
        return np.array([1.0 - found[v] @ true[v] / np.linalg.norm(found[v]) for v in true])

    assert error(still).max() > 0.1, "the chin's normals change"
    assert error(turned).sum() < 0.2 * error(still).sum()


def test_file_is_small_and_the_same_every_time(mesh: ExportMesh, glb: bytes) -> None:
    assert len(glb) < 26 * MEGABYTES
    assert to_glb(mesh, {"character": "embedded"}) == glb


def test_obj_holds_the_character_as_shown(renderer: Renderer, mesh: ExportMesh, tmp_path: Path) -> None:
    sliders, choices = characters(renderer, 1)
    expected = renderer.vertices(sliders, choices)[0][mesh.worn]
    written = write_obj(mesh, tmp_path / "x.obj")
    assert sorted(path.name for path in written) == sorted(path.name for path in tmp_path.iterdir())
    scene = trimesh.load_scene(tmp_path / "x.obj", process=False)
    assert len(scene.geometry) == 11, "one mesh a material; both eyes share one, and both corneas"
    corners = np.concatenate([mesh.vertices for mesh in scene.geometry.values()])
    nearest = trimesh.points.PointCloud(corners).kdtree.query(expected)[0]
    assert nearest.max() < TENTH_OF_A_MILLIMETRE
    assert trimesh.points.PointCloud(expected).kdtree.query(corners)[0].max() < TENTH_OF_A_MILLIMETRE
    assert sum(mesh.visual.material.image is not None for mesh in scene.geometry.values()) == 9
