"""What an artist needs of an exported head: a neck that a body joins, bones, visemes, levels of detail, VRM and FBX."""

import json
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import LikenessError
from engine.exporters import detail, face_shapes, skeleton
from engine.exporters.detail import character_mesh
from engine.exporters.export_mesh import ExportMesh, primitives_of
from engine.exporters.fbx import write_fbx
from engine.exporters.geometry import welded
from engine.exporters.glb import to_glb
from engine.exporters.materials import Material
from engine.exporters.options import ExportOptions
from engine.exporters.seams import seamless
from engine.exporters.skin import plain_skin
from engine.exporters.vrm import to_vrm
from engine.head import SKIN
from engine.renderer import Renderer
from tests.engine.exporters.readers import complaints, report
from tests.engine.gltf_reader import Gltf, names

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
HAIR = "short01"


def made(renderer: Renderer, options: ExportOptions) -> ExportMesh:
    choices = renderer.schema.neutral_discrete().copy()
    choices[renderer.schema.group_index["hair"]] = renderer.schema.choice("hair", HAIR)
    return character_mesh(renderer, renderer.schema.neutral_sliders(), choices, options)


@pytest.fixture(scope="module")
def mesh(renderer: Renderer) -> ExportMesh:
    return made(renderer, ExportOptions(targets="faces"))


@pytest.fixture(scope="module")
def glb(mesh: ExportMesh) -> bytes:
    return to_glb(mesh, {"character": "embedded"})


@pytest.fixture(scope="module")
def gltf(glb: bytes) -> Gltf:
    return Gltf(glb)


def validated(data: bytes, folder: Path) -> dict:
    """What Khronos' validator counts in a file."""
    (folder / "x.glb").write_bytes(data)
    return complaints(folder / "x.glb")


def open_border(gltf: Gltf) -> list[tuple[int, int]]:
    """The edges of the skin that one triangle has, below the chin."""
    sources = gltf.attribute("skin", "_SOURCE")[:, 0].astype(int)
    triangles = sources[gltf.accessor(gltf.mesh("skin")["primitives"][0]["indices"])[:, 0].reshape(-1, 3)]
    sides = Counter(tuple(sorted(side)) for a, b, c in triangles.tolist() for side in ((a, b), (b, c), (c, a)))
    height = dict(zip(sources.tolist(), gltf.attribute("skin", "POSITION")[:, 1].tolist(), strict=True))
    return [side for side, count in sides.items() if count == 1 and height[side[0]] < -0.1]


def test_neck_ends_at_one_closed_loop_that_the_file_names(gltf: Gltf) -> None:
    ring = gltf.about["neck_ring"]
    assert len(ring) == 42
    around = {tuple(sorted(side)) for side in zip(ring, [*ring[1:], ring[0]], strict=True)}
    assert set(open_border(gltf)) == around


@pytest.mark.parametrize("lod", [0, 2])
def test_all_levels_of_detail_have_one_neck(renderer: Renderer, gltf: Gltf, lod: int, tmp_path: Path) -> None:
    """The neck's vertices are those of the engine's mesh, so that a head may change its detail on its body."""
    data = to_glb(made(renderer, ExportOptions(lod=lod, targets="faces", texture=1024)), {})
    found = validated(data, tmp_path)
    assert found["numErrors"] == found["numWarnings"] == 0, found["messages"]
    other = Gltf(data)
    places = gltf.shape({})
    drawn = other.shape({})
    assert all(np.allclose(places[vertex], drawn[vertex], atol=1e-6) for vertex in gltf.about["neck_ring"])
    corners = [len(file.accessor(file.mesh("skin")["primitives"][0]["indices"])) for file in (other, gltf)]
    assert corners[0] == 4 * corners[1] if lod == 0 else 0.2 < corners[0] / corners[1] < 0.35
    moved, expected = (file.shape({"jawOpen": 1.0}) for file in (other, gltf))
    both = moved.keys() & expected.keys()
    assert len(both) > 2000
    assert max(float(np.linalg.norm(moved[vertex] - expected[vertex])) for vertex in both) < 1e-5


def test_every_head_of_hair_each_beard_and_all_glasses_were_simplified(renderer: Renderer) -> None:
    table = detail._simplified()
    seen, clear = (Material("any", picture, 0.5) for picture in (np.zeros((1, 1, 4), np.uint8), None))
    every: dict[str, Material] = dict.fromkeys(("skin", "mouth", "teeth", "irises", "beard", "hair", "glasses"), seen)
    every |= dict.fromkeys(("cornea", "lenses"), clear)
    for group in ("hair", "beard", "glasses"):
        for choice in renderer.schema.group(group).choices:
            for primitive in primitives_of(renderer.head, {group: choice}, every, False):
                assert primitive.name not in detail.SIMPLIFIED or detail.key(primitive) in table, (choice, "make lod")


def test_bind_pose_moves_nothing(gltf: Gltf) -> None:
    skin = gltf.document["skins"][0]
    inverse = gltf.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    for joint, matrix in zip(skin["joints"], inverse, strict=True):
        assert set(gltf.document["nodes"][joint]) <= {"name", "translation", "children"}, "no bone is turned"
        placed = np.eye(4)
        placed[:3, 3] = gltf.place(joint)
        assert np.allclose(placed @ matrix, np.eye(4), atol=1e-6)
    labels = [gltf.document["nodes"][joint]["name"] for joint in skin["joints"]]
    assert labels == ["upperChest", "neck", "head", "jaw", "leftEye", "rightEye"]


def carried(gltf: Gltf, mesh: str) -> dict[str, NDArray]:
    """How much each vertex of a mesh hangs on each bone [P]."""
    joints, weights = gltf.attribute(mesh, "JOINTS_0"), gltf.attribute(mesh, "WEIGHTS_0") / 255.0
    labels = [gltf.document["nodes"][joint]["name"] for joint in gltf.document["skins"][0]["joints"]]
    return {label: (weights * (joints == number)).sum(axis=1) for number, label in enumerate(labels)}


def test_weights_are_whole_and_the_neck_ring_stays_on_the_body(gltf: Gltf) -> None:
    for mesh in ("skin", "mouth", "teeth", "brows", "lashes", "hair"):
        assert np.allclose(sum(carried(gltf, mesh).values()), 1.0, atol=1e-6)
    on_ring = np.isin(gltf.attribute("skin", "_SOURCE")[:, 0].astype(int), gltf.about["neck_ring"])
    assert (carried(gltf, "skin")["upperChest"][on_ring] == 1.0).all()
    assert carried(gltf, "hair")["head"].mean() > 0.95, "short hair turns with the head"


def test_the_jaw_opens_the_mouth_as_the_face_action_does(gltf: Gltf) -> None:
    points, jaw = gltf.attribute("teeth", "POSITION"), carried(gltf, "teeth")["jaw"]
    moved = gltf.target("teeth", "jawOpen")
    lower = jaw > 0.5
    assert lower.any() and not lower.all(), "the upper teeth stay"
    joint = next(number for number, node in enumerate(gltf.document["nodes"]) if node["name"] == "jaw")
    arm = (points - gltf.place(joint))[lower]
    turned = np.stack([np.zeros(len(arm)), -arm[:, 2], arm[:, 1]], axis=1)
    angle = (turned * moved[lower]).sum() / (turned**2).sum()
    assert 0.2 < angle < 0.6
    assert (
        np.linalg.norm(moved[lower] - angle * turned, axis=1).max() < 0.25 * np.linalg.norm(moved[lower], axis=1).max()
    )


def test_eyes_hang_on_their_bones_behind_a_cornea(gltf: Gltf) -> None:
    nodes = {node["name"]: node for node in gltf.document["nodes"]}
    for side in ("left", "right"):
        (eye,) = nodes[f"{side}Eye"]["children"]
        assert gltf.document["nodes"][eye] == {**nodes[f"eye_{side}"]}
        (cornea,) = nodes[f"eye_{side}"]["children"]
        assert gltf.document["nodes"][cornea]["name"] == f"cornea_{side}"
        centre = np.linalg.norm(gltf.attribute(f"eye_{side}", "POSITION"), axis=1)
        assert centre.max() < 0.02, "about the node's own origin"


def test_visemes_are_sums_of_face_actions(gltf: Gltf) -> None:
    visemes = face_shapes.shapes("visemes")
    assert len(visemes) == 15 and gltf.about["visemes"] == visemes
    assert set(visemes) <= set(names(gltf.mesh("skin")))
    expected = sum(weight * gltf.target("skin", action) for action, weight in visemes["viseme_aa"].items())
    assert np.abs(gltf.target("skin", "viseme_aa") - expected).max() < 1e-5
    assert not gltf.target("skin", "viseme_sil").any()


def test_a_file_of_faces_alone_has_no_sliders(gltf: Gltf) -> None:
    everywhere = {name for mesh in gltf.document["meshes"] for name in names(mesh)}
    assert everywhere == {*gltf.about["actions"], *gltf.about["visemes"]}
    assert not any(slider["positive"] or slider["negative"] for slider in gltf.about["sliders"])


def test_bones_may_have_mixamos_names(mesh: ExportMesh) -> None:
    bones = skeleton.Skeleton.of(mesh.head, mesh.vertices, mesh.pivots, body=True, naming="mixamo").bones
    labels = {bone.name: bone.label for bone in bones}
    assert labels["head"] == "mixamorig:Head" and labels["leftUpperArm"] == "mixamorig:LeftArm"


def test_skin_has_occlusion_and_roughness_in_one_picture(gltf: Gltf) -> None:
    skin = next(material for material in gltf.document["materials"] if material["name"] == "skin")
    assert skin["occlusionTexture"] == skin["pbrMetallicRoughness"]["metallicRoughnessTexture"]
    assert "TANGENT" in gltf.mesh("hair")["primitives"][0]["attributes"]


def test_pixivs_reader_and_khronos_validator_take_the_vrm(mesh: ExportMesh, tmp_path: Path) -> None:
    assert (ROOT / "node_modules" / "@pixiv" / "three-vrm").is_dir(), "run `make node_modules/.stamp-dev`"
    data = to_vrm(mesh, {"character": "embedded"}, "Ada", ["Studio"])
    found = validated(data, tmp_path)
    assert found["numErrors"] == found["numWarnings"] == 0, found["messages"]
    read = report("read_vrm.mjs", tmp_path / "x.glb")
    assert read["warnings"] == []
    assert read["meta"]["name"] == "Ada" and read["meta"]["authors"] == ["Studio"]
    assert read["gaze"] == pytest.approx(12.0), "30 degrees to the left turn the eyes 12"
    heights = read["heights"]
    assert 0.0 < heights["leftFoot"] < heights["hips"] < heights["neck"] < heights["head"] < read["top"] < 1.8
    assert read["presets"]["blink"] == pytest.approx({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})
    assert read["presets"]["aa"]["jawOpen"] > 0.3 and read["presets"]["lookLeft"].keys() == {
        "eyeLookOutLeft", "eyeLookInRight"
    }  # fmt: skip
    assert {"happy", "angry", "sad", "relaxed", "surprised", "ih", "ou", "ee", "oh"} <= {
        preset for preset, weights in read["presets"].items() if weights
    }


@pytest.mark.skipif(find_spec("bpy") is not None, reason="Blender is here")
def test_fbx_without_blender_says_how_to_get_it(glb: bytes, tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match="pip install 'bpy<5'"):
        write_fbx(glb, tmp_path / "x.fbx")


@pytest.mark.skipif(find_spec("bpy") is None, reason="needs Blender: pip install 'bpy<5'")
def test_blender_writes_the_head_as_fbx_with_bones_and_shapes(glb: bytes, tmp_path: Path) -> None:
    write_fbx(glb, tmp_path / "x.fbx")
    script = (
        "import bpy, json, sys; bpy.ops.wm.read_factory_settings(use_empty=True);"
        "bpy.ops.import_scene.fbx(filepath=sys.argv[1]);"
        "skin = bpy.data.objects['skin'];"
        "print(json.dumps([[b.name for b in bpy.data.objects['embedded'].data.bones], len(skin.data.vertices),"
        "[key.name for key in skin.data.shape_keys.key_blocks]]))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "x.fbx")], capture_output=True, text=True)
    bones, count, keys = json.loads(done.stdout.splitlines()[-1])
    assert {"neck", "head", "jaw", "leftEye", "rightEye"} <= set(bones)
    assert count > 4000 and {"jawOpen", "viseme_aa"} <= set(keys)


def test_skin_has_no_step_of_colour_at_the_seams_of_the_neck(renderer: Renderer) -> None:
    head = renderer.head
    sliders, choices = renderer.schema.neutral_sliders(), renderer.schema.neutral_discrete()
    painted = plain_skin(renderer, sliders, choices).colour
    on_neck = (head.materials == SKIN) & (head.template[head.triangles.clip(0, head.n_base - 1), 1].max(axis=1) < -0.07)
    sources, uvs, triangles = welded(head.triangles[on_neck], head.uvs[on_neck])
    halves = [vertex for vertex in np.unique(sources) if (sources == vertex).sum() > 1]

    def step(picture: NDArray[np.uint8]) -> float:
        """How far apart the colours are that a vertex of a seam has on both sides, on average."""
        corners = uvs[triangles] * 0.6 + uvs[triangles].mean(axis=1, keepdims=True) * 0.4
        column, row = ((corners * [1.0, -1.0] + [0.0, 1.0]) * len(picture)).astype(int).clip(0, len(picture) - 1).T
        colours = picture[row.T, column.T].astype(float)
        sides = [[colours[triangles == point].mean(axis=0) for point in np.flatnonzero(sources == v)] for v in halves]
        return float(np.mean([np.ptp(side, axis=0).max() for side in sides]))

    assert step(seamless(head, painted)) < 0.5 * step(painted)
