"""`likeness export`: the files of each format, and errors of one line that say what to do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from typer.testing import CliRunner, Result

from engine.schema import Schema
from orchestration.cli.main import app
from orchestration.config.settings import REPOSITORY
from tests.engine.exporters.readers import HAS_BLENDER, complaints, in_blender, report

CHARACTER = REPOSITORY / "characters" / "embedded"


def document(**changes: Any) -> dict[str, Any]:
    schema = Schema.load(CHARACTER)
    return {
        "format": 1,
        "character": "embedded",
        "schema_md5": Schema.md5(CHARACTER),
        **schema.to_document(schema.neutral()),
        "provenance": {"model": "likeness-embedded", "version": 3},
        **changes,
    }


def export(folder: Path, content: dict[str, Any], *arguments: str) -> Result:
    path = folder / "character.json"
    path.write_text(json.dumps(content))
    return CliRunner().invoke(app, ["export", str(path), *arguments])


def error_of(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.slow
def test_glb_says_whose_it_is_and_lies_alone_in_its_folder(tmp_path: Path) -> None:
    out = tmp_path / "out" / "me.glb"
    result = export(tmp_path, document(), "--format", "glb", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    assert list(out.parent.iterdir()) == [out]
    data = out.read_bytes()
    about = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])["scenes"][0]["extras"]["likeness"]
    assert about["provenance"] == {"model": "likeness-embedded", "version": 3}
    assert about["parameters"]["nose_width"] == 0.5
    assert about["choices"]["brows"] == "eyebrow001"
    opens_in_other_programs(out)


def opens_in_other_programs(glb: Path) -> None:
    """Khronos' validator finds nothing; trimesh, three.js and, where it is installed, Blender read meshes, targets and
    bones."""
    found = complaints(glb)
    assert found["numErrors"] == found["numWarnings"] == 0, found["messages"]
    meshes = set(trimesh.load_scene(glb, process=False).geometry)
    assert {"skin", "eye_left", "teeth"} <= meshes
    three = report("read_gltf.mjs", glb)
    assert three["warnings"] == [] and {"rest", "sliders"} <= set(three["about"])
    for read in (three, in_blender(glb)) if HAS_BLENDER else (three,):
        assert set(read["meshes"]) == meshes and {"neck", "head", "jaw", "leftEye", "rightEye"} <= set(read["bones"])
        assert {"nose_width+", "nose_width-", "jawOpen", "viseme_aa"} <= set(read["meshes"]["skin"])


@pytest.mark.slow
def test_vrm_names_its_character_and_author(tmp_path: Path) -> None:
    small = ("--lod", "2", "--targets", "faces")
    result = export(tmp_path, document(), "--to", "vrm", "--author", "Ann", *small, "--out", str(tmp_path / "me.vrm"))
    assert result.exit_code == 0, result.output
    data = (tmp_path / "me.vrm").read_bytes()
    meta = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])["extensions"]["VRMC_vrm"]["meta"]
    assert (meta["name"], meta["authors"]) == ("me", ["Ann"])


def test_a_level_of_detail_that_there_is_not_lists_those_that_there_are(tmp_path: Path) -> None:
    assert "0, 1, 2" in error_of(export(tmp_path, document(), "--lod", "3", "--out", str(tmp_path / "me.glb")))


def test_format_follows_the_files_ending(tmp_path: Path) -> None:
    result = export(tmp_path, document(), "--out", str(tmp_path / "me.mhm"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "me.mhm").read_text().startswith("version v1.2.0\nname me\n")


@pytest.mark.slow
def test_obj_lists_what_belongs_to_it(tmp_path: Path) -> None:
    result = export(tmp_path, document(), "--out", str(tmp_path / "me.obj"))
    assert result.exit_code == 0, result.output
    written = {Path(line).name for line in result.stdout.splitlines()}
    assert {"me.obj", "me.mtl", "me_skin.png", "me_eyes.png"} <= written
    assert written == {path.name for path in tmp_path.iterdir()} - {"character.json"}


@pytest.mark.parametrize("name", ["me.stl", "me"])
def test_an_unknown_format_lists_those_that_there_are(tmp_path: Path, name: str) -> None:
    assert "glb, vrm, fbx, obj, mhm" in error_of(export(tmp_path, document(), "--out", str(tmp_path / name)))


def test_another_schema_is_refused(tmp_path: Path) -> None:
    result = export(tmp_path, document(schema_md5="0" * 32), "--out", str(tmp_path / "me.mhm"))
    assert "is not the one this was made for" in error_of(result)
    assert not (tmp_path / "me.mhm").exists()


def test_a_value_outside_its_range_is_named_with_its_file(tmp_path: Path) -> None:
    content = document()
    content["parameters"]["nose_width"] = 1.5
    message = error_of(export(tmp_path, content, "--out", str(tmp_path / "me.mhm")))
    assert "character.json" in message and "nose_width" in message


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = error_of(export(tmp_path, document(), "--out", str(tmp_path / "file" / "me.mhm")))
    assert "file/me.mhm cannot be written" in message


def test_a_character_of_another_engine_has_no_geometry_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "characters" / "other"
    folder.mkdir(parents=True)
    (folder / "schema.yaml").write_text(
        "name: other\nlabel: Other\nrenderer: {command: [draw]}\nsliders: [{name: jaw, part: chin, label: Jaw}]\n"
    )
    monkeypatch.setenv("LIKENESS_ROOT", str(tmp_path))
    schema = Schema.load(folder)
    content = document(character="other", schema_md5=Schema.md5(folder), **schema.to_document(schema.neutral()))
    result = export(tmp_path, content, "--out", str(tmp_path / "me.glb"))
    assert "only characters of the embedded engine can be exported" in error_of(result)


@pytest.mark.slow
def test_neutral_is_what_the_template_and_the_weights_make(tmp_path: Path) -> None:
    """Both bases hold one character: with the template, in the weights."""
    weights = {}
    for base in ("character", "template"):
        out = tmp_path / f"{base}.glb"
        assert export(tmp_path, document(), "--base", base, "--out", str(out)).exit_code == 0
        data = out.read_bytes()
        meshes = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])["meshes"]
        weights[base] = np.concatenate([mesh["weights"] for mesh in meshes])
    assert not weights["character"].any()
    assert weights["template"].any()
