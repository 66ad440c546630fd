"""A character as FBX: Blender (the package bpy) reads the glTF file and writes the other one, in a process of its own.

python -m engine.exporters.fbx IN.glb OUT.fbx
"""

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from engine.errors import LikenessError
from engine.files import partial_file

PATIENCE = 300  # seconds
REMEDY = "pip install 'bpy<5' (Blender 4.5 for Python 3.11; it needs the system library libtbb12), or import the .glb \
in Blender and export FBX there: docs/export.md"


def write_fbx(glb: bytes, out: Path) -> None:
    """Write the character of a .glb file to `out`. Raises LikenessError where Blender is missing or fails, OSError."""
    if find_spec("bpy") is None:
        raise LikenessError(f"FBX is written by Blender, which is not here: {REMEDY}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, partial_file(out) as partial:
        source, made = Path(folder) / f"{out.stem}.glb", Path(folder) / "made.fbx"
        source.write_bytes(glb)
        command = [sys.executable, "-m", __name__, str(source), str(made)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode or not made.is_file():
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise LikenessError(f"Blender could not write {out}: {said}; {REMEDY}")
        partial.write_bytes(made.read_bytes())


def _convert(source: str, out: str) -> None:
    import bpy  # pyright: ignore[reportMissingImports]

    bpy.ops.wm.read_factory_settings(use_empty=True)
    # Without the balls that Blender would draw bones as: they would be exported too.
    bpy.ops.import_scene.gltf(filepath=source, disable_bone_shape=True)
    folder = Path(out).parent
    for image in bpy.data.images:
        if image.packed_file:
            # FBX embeds pictures by their files alone.
            image.filepath_raw = str(folder / f"{image.name}.png")
            image.save()
    bpy.ops.export_scene.fbx(
        filepath=out,
        path_mode="COPY",
        embed_textures=True,
        add_leaf_bones=False,
        use_mesh_modifiers=False,
        bake_anim=False,
    )


if __name__ == "__main__":
    _convert(*sys.argv[1:])
