"""`likeness export`: a character.json as a file that other programs open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import LikenessError
from engine.exporters.options import DEFAULTS, UNKNOWN_AUTHOR, ExportOptions
from orchestration.config.settings import Settings

if TYPE_CHECKING:
    from engine.exporters.export_mesh import ExportMesh

FORMATS = ("glb", "vrm", "fbx", "obj", "mhm")
Base = Literal["character", "template"]


def export(
    settings: Settings,
    document: Mapping[str, Any],
    form: str,
    out: Path,
    base: Base = "character",
    options: ExportOptions = DEFAULTS,
    authors: Sequence[str] = (),
) -> list[Path]:
    """Write a character document as `form` (one of FORMATS) to `out`, and what belongs to it beside it.

    Args:
        base: what the geometry of a .glb is before any morph target moves it. `template` is the same for all
            characters; the targets' weights make the character then.
        options: of formats that have geometry.
        authors: whom a .vrm names.

    Returns the files written. Raises LikenessError, CreationError, CharacterError, SchemaError.
    """
    from engine.character import Character
    from engine.engines import EmbeddedEngine, open_engine
    from engine.exporters.detail import character_mesh
    from engine.exporters.mhm import to_mhm
    from engine.files import write_whole
    from orchestration.apps.create import require_schema

    if form not in FORMATS:
        raise LikenessError(f"unknown format {form!r}: it is one of {', '.join(FORMATS)}")
    name = str(document["character"])
    require_schema(settings, name, document["schema_md5"])
    character = Character.load(settings.characters / name)
    if not character.is_embedded:
        raise LikenessError(
            f"{name} is drawn by an engine of its own, whose geometry is not here: "
            "only characters of the embedded engine can be exported"
        )
    schema = character.schema
    x = schema.from_document(document["parameters"], document["discrete"])
    sliders, choices = (values[0] for values in schema.choose(x[None]))
    try:
        if form == "mhm":
            write_whole(out, to_mhm(schema, sliders, choices, out.stem).encode())
            return [out]
        engine = open_engine(character, settings.data / "embedded")
        assert isinstance(engine, EmbeddedEngine)
        as_shown = form != "glb" or base == "character"
        mesh = character_mesh(engine.renderer, sliders, choices, options, as_shown=as_shown)
        return _write(mesh, document, form, out, options, authors)
    except OSError as error:
        raise LikenessError(f"{out} cannot be written: {error.strerror or error}") from error


def _write(
    mesh: ExportMesh,
    document: Mapping[str, Any],
    form: str,
    out: Path,
    options: ExportOptions,
    authors: Sequence[str],
) -> list[Path]:
    from engine.exporters.fbx import write_fbx
    from engine.exporters.glb import about, to_glb
    from engine.exporters.obj import write_obj
    from engine.exporters.vrm import to_vrm
    from engine.files import write_whole

    if form == "obj":
        return write_obj(mesh, out)
    if form == "vrm":
        write_whole(out, to_vrm(mesh, about(document), out.stem, authors or (UNKNOWN_AUTHOR,)))
    elif form == "fbx":
        write_fbx(to_glb(mesh, about(document), options.bones), out)
    else:
        write_whole(out, to_glb(mesh, about(document), options.bones))
    return [out]
