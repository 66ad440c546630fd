"""An exported OBJ names its files so that every reader finds them, and shares none with another export."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.resolvers import FilePathResolver

from engine import sampler
from engine.exporters.export_mesh import ExportMesh
from engine.exporters.obj import write_obj
from engine.renderer import Renderer

ROOT = Path(__file__).resolve().parents[3]
NAMES = [
    "me.obj", "me 1.obj", "me_1.obj", "me  1.obj", "Bärbel.obj", "me#1.obj", "me%201.obj", "-me.obj", ".obj", "me.OBJ",
    "me", "me.v1", "me.v2", "me.v1.obj", "me.mtl", "me_lashes.png", "(me).obj", "日本.obj", "me;1,2.obj", "me\\1.obj",
]  # fmt: skip


@pytest.fixture(scope="module")
def mesh(renderer: Renderer) -> ExportMesh:
    """Few primitives: with a picture, and with one that lets through."""
    sliders, choices = sampler.uniform(renderer.schema, 1, np.random.default_rng(11))
    return ExportMesh.of(renderer, sliders[0], choices[0]).only({"eye_left", "teeth", "lashes"})


def seen_by_three(file: Path) -> dict[str, Any]:
    assert (ROOT / "serving" / "web" / "node_modules" / "three").is_dir(), "run `make web`"
    command = ["node", str(Path(__file__).with_name("read_obj.mjs")), str(file)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def seen_by_words(file: Path) -> set[str]:
    """The files that a reader finds which splits lines at blanks, takes libraries from all words of a line and a
    texture from its last one, as tinyobjloader does."""
    libraries = [line.split()[1:] for line in file.read_text().splitlines() if line.startswith("mtllib")]
    names = {name for library in libraries for name in library}
    entries = [line.split() for name in set(names) for line in file.with_name(name).read_text().splitlines()]
    return names | {words[-1] for words in entries if words and words[0].startswith("map_")}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_reader_finds_every_file(mesh: ExportMesh, tmp_path: Path, name: str) -> None:
    written = write_obj(mesh, tmp_path / name)
    assert written[0] == tmp_path / name
    beside = {path.name for path in tmp_path.iterdir()} - {name}
    assert {path.name for path in written[1:]} == beside
    assert seen_by_words(tmp_path / name) == beside
    found = seen_by_three(tmp_path / name)
    assert {
        *found["libraries"],
        *(texture for pair in found["textures"].values() for texture in pair if texture),
    } == beside
    assert [bool(opacity) for _, opacity in found["textures"].values()] == [True, True, False]
    with (tmp_path / name).open("rb") as file:
        scene = trimesh.load_scene(file, file_type="obj", resolver=FilePathResolver(str(tmp_path)))
    assert sum(mesh.visual.material.image is not None for mesh in scene.geometry.values()) == 3


@pytest.mark.slow
def test_exports_into_one_folder_share_no_file(mesh: ExportMesh, tmp_path: Path) -> None:
    names = [name for name in NAMES if Path(name).suffix not in (".mtl", ".png")]
    files = [path for name in names for path in write_obj(mesh, tmp_path / name)]
    assert len(set(files)) == len(files) == len(list(tmp_path.iterdir()))


def test_a_picture_of_opacity_holds_it_in_every_channel(mesh: ExportMesh, tmp_path: Path) -> None:
    write_obj(mesh, tmp_path / "me.obj")
    colour = np.asarray(Image.open(tmp_path / "me_lashes.png"))
    opacity = np.asarray(Image.open(tmp_path / "me_lashes_opacity.png"))
    assert opacity.shape == colour.shape and colour[..., 3].min() < 10 < 200 < colour[..., 3].max()
    for channel in range(4):
        np.testing.assert_array_equal(opacity[..., channel], colour[..., 3])


@pytest.mark.parametrize("name", ["me.obj", "me 1.obj"])
def test_an_export_over_an_older_one_leaves_nothing_of_it(mesh: ExportMesh, tmp_path: Path, name: str) -> None:
    write_obj(mesh, tmp_path / name)
    (tmp_path / "me_notes.png").write_bytes(b"somebody else's")
    written = write_obj(mesh.only({"eye_left"}), tmp_path / name)
    assert {*written, tmp_path / "me_notes.png"} == set(tmp_path.iterdir())
    assert [path.suffix for path in written] == [".obj", ".mtl", ".png", ".png"]


def test_what_an_older_version_called_by_a_name_with_blanks_goes_too(mesh: ExportMesh, tmp_path: Path) -> None:
    (tmp_path / "my face.obj").write_text("# metres, Y up\nmtllib my face.mtl\nv 0 0 0\n")
    (tmp_path / "my face.mtl").write_text(
        "newmtl hair\nmap_Kd my face_lashes.png\nmap_d -imfchan m my face_lashes.png\n"
    )
    (tmp_path / "my face_lashes.png").touch()
    assert set(write_obj(mesh, tmp_path / "my face.obj")) == set(tmp_path.iterdir())


def test_a_file_that_is_no_export_is_replaced_alone(mesh: ExportMesh, tmp_path: Path) -> None:
    (tmp_path / "me.obj").write_bytes(b"\xff\xfe mtllib ../other.mtl")
    (tmp_path / "other.mtl").write_text("map_Kd me_lashes.png\n")
    write_obj(mesh, tmp_path / "me.obj")
    assert (tmp_path / "other.mtl").exists()
