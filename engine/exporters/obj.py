"""A character as Wavefront OBJ, as it is shown: one group and material for each primitive, textures beside it.

OBJ knows no morph targets. Lengths are metres, Y up; vertices that differ only in texture coordinates are one.

What the files call each other is plain: readers split names at blanks, take them for addresses or options, or read them
in another encoding. Options of textures are not understood by all either, so opacity is a picture of its own.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.exporters.export_mesh import ExportMesh
from engine.exporters.materials import Alpha, Bytes, Material, as_png, to_srgb
from engine.files import write_whole

PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
NOT_PLAIN = re.compile(r"[^A-Za-z0-9_]+")
HEAD_BYTES = 4096
"""Of an older file; its library stands in its first lines."""


@dataclass(frozen=True)
class TextureFiles:
    """File names of a material's pictures; None where it has none."""

    colour: str | None = None
    opacity: str | None = None


def write_obj(mesh: ExportMesh, path: Path) -> list[Path]:
    """Write `path`, and beside it `<base>.mtl`, `<base>_<material>.png` and `<base>_<material>_opacity.png`.

    The base is the file's stem, or, where that is not plain, a plain one of this file alone. What an older export to
    the same path had beside it and this one has not is removed. Returns all files. Raises OSError.
    """
    base = _base(path)
    older = _beside(path)
    materials = {primitive.material.name: primitive.material for primitive in mesh.primitives}
    pictures: dict[str, Bytes] = {}
    textures = {name: _textures(material, base, pictures) for name, material in materials.items()}
    for name, picture in pictures.items():
        write_whole(path.with_name(name), as_png(picture))
    library = path.with_name(f"{base}.mtl")
    entries = [_entry(material, textures[name]) for name, material in materials.items()]
    write_whole(library, "\n".join(entries).encode())
    write_whole(path, _mesh(mesh, library.name).encode())
    written = [path, library, *map(path.with_name, pictures)]
    for file in older - set(written):
        file.unlink(missing_ok=True)
    return written


def _base(path: Path) -> str:
    """How the names of what belongs to a file begin: no other file's do."""
    if path.suffix == ".obj" and PLAIN.fullmatch(path.stem):
        return path.stem
    digest = hashlib.sha256(path.name.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{NOT_PLAIN.sub('_', path.stem).strip('_') or 'figure'}-{digest}"


def _beside(path: Path) -> set[Path]:
    """The library that an older export to this path named, and its pictures."""
    named = re.search(rb"^mtllib (.+?)\s*$", _head(path), re.MULTILINE)
    # Older exports called their library by the stem, whatever it was.
    bases = [_base(path), path.stem] if path.suffix == ".obj" else [_base(path)]
    for base in bases:
        library = path.with_name(f"{base}.mtl")
        if named and named[1] == library.name.encode() and library.is_file():
            content = library.read_text(errors="replace")
            pictures = re.findall(rf"^map_.*?({re.escape(base)}_\w+\.png)$", content, re.MULTILINE)
            return {library, *map(path.with_name, pictures)}
    return set()


def _head(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _textures(material: Material, base: str, pictures: dict[str, Bytes]) -> TextureFiles:
    """The names of a material's pictures, which are added to `pictures`; materials that share one share the file."""
    picture = material.picture
    if picture is None:
        return TextureFiles()
    shared = (name for name, other in pictures.items() if other is picture)
    colour = next(shared, f"{base}_{material.name}.png")
    pictures[colour] = picture
    if material.alpha is Alpha.OPAQUE:
        return TextureFiles(colour)
    opacity = f"{base}_{material.name}_opacity.png"
    # three.js takes the opacity from the green channel, Blender from the alpha channel.
    pictures[opacity] = np.repeat(picture[..., 3:], 4, axis=2)
    return TextureFiles(colour, opacity)


def _mesh(mesh: ExportMesh, library: str) -> str:
    uvs = np.concatenate([primitive.uvs for primitive in mesh.primitives])
    lines = ["# metres, Y up", f"mtllib {library}"]
    lines += ["v {:.6f} {:.6f} {:.6f}".format(*point) for point in mesh.vertices[mesh.worn].tolist()]
    lines += ["vt {:.6f} {:.6f}".format(*uv) for uv in uvs.tolist()]
    lines += ["vn {:.4f} {:.4f} {:.4f}".format(*normal) for normal in mesh.normals.tolist()]
    first = 1
    for primitive in mesh.primitives:
        lines += [f"g {primitive.name}", f"usemtl {primitive.material.name}"]
        places, corners = mesh.places(primitive) + 1, np.arange(first, first + len(primitive.uvs))
        for triangle in primitive.triangles:
            lines.append("f " + " ".join(f"{places[c]}/{corners[c]}/{places[c]}" for c in triangle))
        first += len(primitive.uvs)
    return "\n".join(lines) + "\n"


def _entry(material: Material, textures: TextureFiles) -> str:
    """One material of the .mtl file, in Phong's terms and in those of its PBR extension."""
    colour = to_srgb(np.array(material.colour, np.float32))
    lines = [
        f"newmtl {material.name}",
        "Kd {:.4f} {:.4f} {:.4f}".format(*colour.tolist()),
        "Ks 0.0400 0.0400 0.0400",
        f"Ns {2.0 / material.roughness**4 - 2.0:.2f}",
        f"Pr {material.roughness:.2f}",
        f"Pm {material.metal:.2f}",
        "illum 2",
    ]
    if material.opacity < 1.0:
        lines.append(f"d {material.opacity:.3f}")
    if textures.colour:
        lines.append(f"map_Kd {textures.colour}")
    if textures.opacity:
        lines.append(f"map_d {textures.opacity}")
    return "\n".join(lines) + "\n"
