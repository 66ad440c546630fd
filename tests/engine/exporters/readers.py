"""What other programs make of an exported file: Khronos' validator, three.js, Blender."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HAS_BLENDER = find_spec("bpy") is not None
BLENDER = """
import bpy, json, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[1], disable_bone_shape=True)  # a ball, otherwise
meshes = {
    one.name: [key.name for key in one.data.shape_keys.key_blocks] if one.data.shape_keys else []
    for one in bpy.data.objects if one.type == "MESH"
}
bones = [bone.name for one in bpy.data.objects if one.type == "ARMATURE" for bone in one.data.bones]
print(json.dumps({"meshes": meshes, "bones": bones, "images": len(bpy.data.images)}))
"""


def report(script: str, file: Path) -> dict[str, Any]:
    """What a script of this folder prints of a file."""
    command = ["node", str(HERE / script), str(file)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def complaints(file: Path) -> dict[str, Any]:
    """What Khronos' validator counts in a .glb or .vrm, errors and warnings, what it says of them, and `info`."""
    found = report("validate_gltf.mjs", file)
    return {**found["issues"], "info": found["info"]}


def in_blender(file: Path) -> dict[str, Any]:
    """The meshes with their shape keys, the bones, and the number of pictures that Blender reads."""
    done = subprocess.run([sys.executable, "-c", BLENDER, str(file)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
