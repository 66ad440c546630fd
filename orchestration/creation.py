"""Photos to characters with a registered model, and characters back to pictures."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.registry import PRODUCTION, Registry, provenance
from orchestration.settings import Settings
from orchestration.store import replace_folder

FORMAT = 1
RENDER_SIZE = 512


class CreationError(Exception):
    """The photos or the character cannot be worked on at all."""


@dataclass
class Created:
    """What became of one photo."""

    photo: Path
    folder: Path | None = None
    error: str | None = None
    warnings: Sequence[str] = ()

    def summary(self) -> dict[str, Any]:
        if self.folder is None:
            return {"photo": str(self.photo), "error": self.error}
        files = {
            name.split(".")[0]: str(self.folder / name) for name in ("character.json", "aligned.png", "render.png")
        }
        return {"photo": str(self.photo), **files, "warnings": list(self.warnings)}


def create(
    settings: Settings,
    registry: Registry,
    photos: Sequence[Path],
    out: Path,
    version: str,
    size: int = RENDER_SIZE,
    done: Callable[[Created], None] = lambda created: None,
) -> list[Created]:
    """Write out/<stem>/{character.json,aligned.png,render.png} for each photo; one that fails does not stop the others.

    Raises CreationError before any work when two photos would be written to one place, RegistryError without a model.
    """
    refuse_twins(photos)
    model, found = registry.load(version)
    origin = {**provenance(found), "schema_md5": model.schema_md5}
    require_schema(settings, registry.character, model.schema_md5)
    results = []
    with model.predictor:
        for photo in photos:
            created = Created(photo)
            try:
                if not photo.is_file():
                    raise FileNotFoundError("there is no such file")
                created.warnings = _create_one(
                    settings, registry.character, model, origin, photo, out / photo.stem, size
                )
                created.folder = out / photo.stem
            # ValueError: no picture, or no face, in words for the photo's owner. OSError: unreadable or unwritable.
            except (ValueError, OSError) as error:
                created.error = str(error)
            results.append(created)
            done(created)
    return results


def refuse_twins(photos: Sequence[Path]) -> None:
    """Raises CreationError when two photos have the same stem."""
    seen: dict[str, Path] = {}
    for photo in photos:
        if photo.stem in seen:
            raise CreationError(
                f"{seen[photo.stem]} and {photo} would both be written to {photo.stem}/: "
                "rename one, or give them different --out"
            )
        seen[photo.stem] = photo


def require_schema(settings: Settings, character: str, md5: str) -> None:
    """The engine can only draw what its own schema names. Raises CreationError."""
    from engine.schema import Schema

    folder = settings.characters / character
    if not folder.is_dir():
        raise CreationError(
            f"there is no character {character} in {settings.characters}: there are {settings.character_names()}"
        )
    if Schema.md5(folder) != md5:
        raise CreationError(
            f"{character}'s schema.yaml is not the one this was made for (md5 {md5}): bring that file back, "
            f"or run `likeness run --character {character}` and create again"
        )


def _create_one(
    settings: Settings, character: str, model: Any, origin: dict[str, Any], photo: Path, folder: Path, size: int
) -> Sequence[str]:
    from PIL import Image

    content = photo.read_bytes()
    found, named = model.read(content)
    document = {
        "format": FORMAT,
        "character": character,
        "schema_md5": origin["schema_md5"],
        **named,
        "photo": {
            "sha256": hashlib.sha256(content).hexdigest(),
            "faces": found.faces,
            "box": [round(float(side), 1) for side in found.box],
            "yaw": round(float(found.yaw), 1),
            "pitch": round(float(found.pitch), 1),
            "warnings": list(found.warnings),
        },
        "provenance": {name: origin[name] for name in ("model", "version", "run", "commit", "inputs")},
    }
    picture, by = draw(settings, document, size, model)
    document["render"] = {"by": by}
    partial = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}.partial")
    partial.mkdir(parents=True)
    try:
        (partial / "character.json").write_text(json.dumps(document, indent=2) + "\n")
        Image.fromarray(found.aligned).save(partial / "aligned.png")
        Image.fromarray(picture).save(partial / "render.png")
        replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return found.warnings


def read_document(path: Path) -> dict[str, Any]:
    """A character.json of this format. Raises CreationError."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CreationError(f"{path} cannot be read as a character: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        version = document.get("format") if isinstance(document, dict) else None
        raise CreationError(f"{path} has format {version!r}, this version reads format {FORMAT}: create it again")
    if missing := {"character", "schema_md5", "parameters", "discrete"} - set(document):
        raise CreationError(f"{path} lacks {', '.join(sorted(missing))}: create it again")
    return document


def render(settings: Settings, registry: Registry, document: dict[str, Any], size: int) -> Any:
    """A picture [size,size,3] of a character document; the model that made it is asked where no engine can draw it.

    Raises CreationError, CharacterError or engine.schema.SchemaError, and RegistryError when that model is gone.
    """
    from engine.character import Character

    require_schema(settings, document["character"], document["schema_md5"])
    if Character.load(settings.characters / document["character"]).has_engine:
        return draw(settings, document, size, None)[0]
    version = (document.get("provenance") or {}).get("version", PRODUCTION)
    model, _ = registry.load(str(version))
    return draw(settings, document, size, model)[0]


def draw(settings: Settings, document: dict[str, Any], size: int, model: Any) -> tuple[Any, str]:
    """The engine's own picture of a character document, RGB uint8 `size` pixels high, or the imitator's of a registered
    model, marked; and which of them drew it. Raises CharacterError or engine.schema.SchemaError.
    """
    from engine.character import Character
    from models.images import resize
    from stages.drawing import engine_of
    from stages.pictures import IMITATOR_MARK, marked

    folder = settings.characters / document["character"]
    schema = Character.load(folder).schema
    x = schema.from_document(document["parameters"], document["discrete"])
    engine = engine_of(folder, settings.data / "embedded", "cpu")
    if engine is not None:
        return engine.picture(*schema.choose(x[None]), size), "engine"
    picture = model.draw(x) if model is not None else None
    if picture is None:
        raise CreationError(
            f"{schema.name} has only exported pairs, and this model has no imitator for it: "
            f"run `likeness run --character {schema.name}`"
        )
    return marked(resize(picture, size), IMITATOR_MARK), "imitator"
