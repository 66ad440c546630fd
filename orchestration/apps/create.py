"""Photos to characters with a registered model, and characters back to pictures."""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.character_json import character_document, photo_digest, photo_entry
from models.images import BadImage, decode_photo, encode_bmp, encode_png
from models.precision import read_in
from orchestration.apps.character_pictures import CreationError, draw
from orchestration.apps.refinement import Method, missing, refined, require_engine
from orchestration.config.imports import when_used
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings
from orchestration.registry.registered_models import PRODUCTION, Registry, provenance

log = logging.getLogger(__name__)

RENDER_SIZE = 512


@dataclass
class Created:
    """What became of one photo, or of one person's photos."""

    photo: Path
    """The photo; of several, their person's name."""
    folder: Path | None = None
    error: str | None = None
    warnings: Sequence[str] = ()
    refinement: dict[str, Any] | None = None
    """What the search after the encoder's answer came to, as in character.json."""

    def summary(self) -> dict[str, Any]:
        """What `create --json` prints of it."""
        if self.folder is None:
            return {"photo": str(self.photo), "error": self.error}
        files = {
            name.split(".")[0]: str(self.folder / name) for name in ("character.json", "aligned.png", "render.png")
        }
        refinement = {} if self.refinement is None else {"refinement": self.refinement}
        return {"photo": str(self.photo), **files, "warnings": list(self.warnings), **refinement}


def create(
    settings: Settings,
    registry: Registry,
    photos: Sequence[Path],
    out: Path,
    version: str,
    size: int = RENDER_SIZE,
    done: Callable[[Created], None] = lambda created: None,
    refine: Method | None = None,
    progress: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(Progress(lambda line: None)),
    person: str | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> list[Created]:
    """Write out/<stem>/{character.json,aligned.png,render.png} for each photo; one that fails does not stop the others.

    `photos`: files, and folders that stand for all photos in them; `note` is told what was left out of a folder.
    `person`: all are of this one person, who becomes one character, out/<person>/; photos that cannot be used are
    warnings. `refine`: how to search on from the encoder's answer, shown by `progress`. Raises CreationError before
    any work when two photos would be written to one place or the model cannot do what is asked, RegistryError without
    a model.
    """
    photos = photos_of(photos, note)
    if person is None:
        refuse_twins(photos)
    people = [(photo, [photo]) for photo in photos] if person is None else [(Path(person), list(photos))]
    folders = {name: folder_of(out, name.stem if person is None else person) for name, _ in people}
    model, registered = registry.load(version)
    origin = {**provenance(registered), "schema_md5": model.schema_md5}
    require_schema(settings, registry.character, model.schema_md5)
    if refine is not None:
        require_engine(settings, registry.character, refine)
    if refine is not None and (flag := missing(model, refine)):
        raise CreationError(
            f"{registry.name} version {registered.version} was registered before there was {flag}: "
            f"run `likeness run` for a newer one, or leave {flag} out"
        )
    if person is not None and not hasattr(model, "read_person"):
        raise CreationError(
            f"{registry.name} version {registered.version} was registered before there was --person: "
            "run `likeness run` for a newer one, or give it one photo"
        )
    read_in(model.predictor, settings.precision)
    results = []
    import_mediapipe()
    with model.predictor:
        for name, group in people:
            created = Created(name)
            try:
                document, found, created.warnings = _read(registry.character, origin, model, group)
                if refine is not None:
                    with progress() as shown:
                        shown.stage(f"refine {name.name}")
                        document["refinement"] = refined(refine, settings, document, model, found, shown)
                _write(settings, document, model, found.aligned, folders[name], size)
                created.refinement, created.folder = document.get("refinement"), folders[name]
            # ValueError: no picture, or no face, in words for the photo's owner. OSError: unreadable or unwritable.
            except (ValueError, OSError) as error:
                created.error = str(error)
            results.append(created)
            done(created)
    return results


def import_mediapipe() -> None:
    """What every version's code finds faces with, but for what draws on them, which imports matplotlib."""
    vision = "mediapipe.tasks.python.vision"
    with when_used(f"{vision}.drawing_styles", f"{vision}.drawing_utils"):
        import mediapipe  # noqa: F401


def _read(
    character: str, origin: dict[str, Any], model: Any, photos: Sequence[Path]
) -> tuple[dict[str, Any], Any, list[str]]:
    """The document of one person's photos before anything is drawn, what the model found, and its warnings."""
    contents = [_content(photo, photo if len(photos) > 1 else None) for photo in photos]
    if len(photos) == 1:
        found, named = _asked(model.read, _as_bmp(contents[0]))
        photo = photo_entry(contents[0], found)
        document = character_document(character, origin["schema_md5"], named, photo, origin)
        return document, found, list(found.warnings)
    found, named, each = _read_person(model, contents)
    # the first whose crop was taken: pose, box and crop of the answer are those of the most frontal photo
    taken = next(n for n, one in enumerate(each) if not isinstance(one, Exception) and one.aligned is found.aligned)
    photo = photo_entry(contents[taken], found)
    document = character_document(character, origin["schema_md5"], named, photo, origin)
    document["photos"] = [
        photo_entry(content, one)
        if not isinstance(one, Exception)
        else {"error": str(one), "sha256": photo_digest(content)}
        for content, one in zip(contents, each, strict=True)
    ]
    warnings = []
    for photo, one in zip(photos, each, strict=True):
        told = [f"left out: {one}"] if isinstance(one, Exception) else one.warnings
        warnings += [f"{photo.name}: {text}" for text in told]
    return document, found, warnings


def _read_person(model: Any, contents: Sequence[bytes]) -> tuple[Any, dict[str, Any], list[Any]]:
    """What a model says of one person, and what of each photo: a prediction or the photo's error."""
    pictures: list[bytes | BadImage] = []
    for content in contents:
        try:
            pictures.append(_as_bmp(content))
        except BadImage as error:
            pictures.append(error)
    good = [picture for picture in pictures if isinstance(picture, bytes)]
    if not good:
        raise ValueError("; ".join(dict.fromkeys(map(str, pictures))))
    found, named, read = _asked(model.read_person, good)
    rest = iter(read)
    return found, named, [next(rest) if isinstance(picture, bytes) else picture for picture in pictures]


def _as_bmp(content: bytes) -> bytes:
    """A stranger's photo, upright and in sRGB, as every version's own code can read it. Raises BadImage."""
    return encode_bmp(decode_photo(content))


def _asked(read: Callable[..., Any], photos: Any) -> Any:
    """What a version's own code makes of photos. What nobody foresaw is these photos' problem; the next go on."""
    try:
        return read(photos)
    except (ValueError, OSError):
        raise
    except Exception as error:
        log.exception("a photo cannot be read")
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"this photo cannot be read ({reason}): save it anew as a JPEG, or take another") from error


def _content(photo: Path, named: Path | None) -> bytes:
    """A photo's bytes. Raises OSError in words for whoever gave its name; `named`: what these begin with."""
    said = "" if named is None else f"{named}: "
    if photo.exists() and not photo.is_file():
        raise OSError(f"{said}this is no file that can be read as a photo")
    try:
        return photo.read_bytes()
    except FileNotFoundError as error:
        pattern = any(mark in photo.name for mark in "*?[")
        reason = "no file has a name of this pattern" if pattern else "there is no such file"
        raise FileNotFoundError(said + reason) from error
    except PermissionError as error:
        raise PermissionError(f"{said}you may not read this file: allow it with `chmod u+r`, or copy it") from error


def photos_of(given: Sequence[Path], note: Callable[[str], None]) -> list[Path]:
    """The photos that are meant: a folder stands for all photos below it, as it does in a photo set, but for those that
    `create` wrote itself. Raises CreationError.
    """
    from stages.data import source_files

    photos = []
    for path in given:
        if not _is_folder(path):
            photos.append(path)
            continue
        try:
            seen = source_files.report(path)
        except OSError as error:
            raise CreationError(f"the folder {error.filename or path} cannot be read: {error.strerror}") from error
        found = [photo for photo in seen.photos if not (photo.parent / "character.json").exists()]
        if not found:
            left_out = f" ({seen})" if seen.left_out else ""
            raise CreationError(
                f"{path} is a folder without photos: name the photos, or a folder that holds some{left_out}"
            )
        if seen.left_out:
            note(f"{path}: {seen}")
        photos += found
    return photos


def folder_of(out: Path, name: str) -> Path:
    """Where a character is written. Raises CreationError where something else lies there, which would be lost."""
    if name in ("", ".", "..") or "/" in name:
        raise CreationError(f"{name!r} cannot be the name of a folder in {out}: rename the photo, or say --person NAME")
    folder = out / name
    if _is_taken(folder):
        raise CreationError(f"{folder} is there and holds no character: choose another --out, or move it away")
    return folder


def _is_taken(folder: Path) -> bool:
    try:
        if not folder.exists() or (folder / "character.json").is_file():
            return False
        return not folder.is_dir() or any(folder.iterdir())
    except OSError:  # a name that is too long, say: this photo's error, when it is written
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, say: this photo's error, when it is read
        return False


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
            f"there is no character {character} in {settings.characters}: there are "
            f"{', '.join(settings.character_names()) or 'none'}. Where it was removed, `likeness restore "
            f"{character}/VERSION --out DIR` brings its folder back, as DIR/character; `likeness models --character "
            f"{character}` lists its versions"
        )
    if md5 not in Schema.md5s(folder):
        raise CreationError(
            f"{character}'s schema.yaml is not the one this was made for (md5 {md5}): bring that file back, "
            f"or run `likeness run --character {character}` and create again (--model newest where the gate refuses it)"
        )


def _write(settings: Settings, document: dict[str, Any], model: Any, aligned: Any, folder: Path, size: int) -> None:
    """The three files, each whole, character.json last."""
    picture, by = draw(settings, document, size, model)
    document["render"] = {"by": by}
    partial = folder.with_name(f".{uuid.uuid4().hex[:8]}.partial")
    partial.mkdir(parents=True)
    try:
        (partial / "character.json").write_text(json.dumps(document, indent=2) + "\n")
        (partial / "aligned.png").write_bytes(encode_png(aligned))
        (partial / "render.png").write_bytes(encode_png(picture))
        folder.mkdir(exist_ok=True)  # what else was put there stays
        for name in ("aligned.png", "render.png", "character.json"):
            (partial / name).replace(folder / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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
