"""A character as Wavefront OBJ, as it is shown: one group and material for each piece, textures beside it.

OBJ knows no morph targets. Lengths are metres, Y up; vertices that differ only in texture coordinates are one.
"""

from pathlib import Path

import numpy as np

from engine.exporters.figure import Figure
from engine.exporters.files import write_whole
from engine.exporters.materials import Alpha, Material, as_png, to_srgb


def write_obj(figure: Figure, path: Path) -> list[Path]:
    """Write `path`, and beside it `<stem>.mtl` and `<stem>_<material>.png`. Returns all files. Raises OSError."""
    materials = {piece.material.name: piece.material for piece in figure.pieces}
    pictures: dict[int, Path] = {}  # materials that share a picture share the file
    for material in materials.values():
        if material.picture is not None and id(material.picture) not in pictures:
            pictures[id(material.picture)] = path.with_name(f"{path.stem}_{material.name}.png")
            write_whole(pictures[id(material.picture)], as_png(material.picture))
    library = path.with_suffix(".mtl")
    entries = [_entry(material, pictures.get(id(material.picture))) for material in materials.values()]
    write_whole(library, "\n".join(entries).encode())
    write_whole(path, _mesh(figure, library.name).encode())
    return [path, library, *pictures.values()]


def _mesh(figure: Figure, library: str) -> str:
    uvs = np.concatenate([piece.uvs for piece in figure.pieces])
    lines = ["# metres, Y up", f"mtllib {library}"]
    lines += ["v {:.6f} {:.6f} {:.6f}".format(*point) for point in figure.vertices[figure.worn].tolist()]
    lines += ["vt {:.6f} {:.6f}".format(*uv) for uv in uvs.tolist()]
    lines += ["vn {:.4f} {:.4f} {:.4f}".format(*normal) for normal in figure.normals.tolist()]
    first = 1
    for piece in figure.pieces:
        lines += [f"g {piece.name}", f"usemtl {piece.material.name}"]
        places, corners = figure.places(piece) + 1, np.arange(first, first + len(piece.uvs))
        for triangle in piece.triangles:
            lines.append("f " + " ".join(f"{places[c]}/{corners[c]}/{places[c]}" for c in triangle))
        first += len(piece.uvs)
    return "\n".join(lines) + "\n"


def _entry(material: Material, picture: Path | None) -> str:
    """One material of the .mtl file, in Phong's terms and in those of its PBR extension."""
    colour = to_srgb(np.array(material.colour, np.float32))
    lines = [
        f"newmtl {material.name}",
        "Kd {:.4f} {:.4f} {:.4f}".format(*colour.tolist()),
        "Ks 0.0400 0.0400 0.0400",
        f"Ns {2.0 / material.roughness**4 - 2.0:.2f}",
        f"Pr {material.roughness:.2f}",
        "Pm 0.00",
        "illum 2",
    ]
    if picture is not None:
        lines.append(f"map_Kd {picture.name}")
        if material.alpha is not Alpha.OPAQUE:
            lines.append(f"map_d -imfchan m {picture.name}")
    return "\n".join(lines) + "\n"
