"""What a person means by TARGET: a model version, an md5, a `character.json`, a served character's id or a photo."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.character_json import read_object
from engine.errors import LikenessError
from orchestration.config.catalog import SOURCES
from orchestration.config.settings import Settings
from orchestration.lineage import served
from orchestration.registry.aliases import AliasStore, registry_errors
from orchestration.registry.promotion_events import CANDIDATE, NEWEST, PREVIOUS, PRODUCTION
from orchestration.registry.registered_models import Registry, RegistryError
from orchestration.storage.tracking import Tracking
from orchestration.storage.version_index import VersionIndex
from orchestration.storage.versions import REUSED, Version

MODEL = "production_encoder"
ALIASES = (NEWEST, CANDIDATE, PRODUCTION, PREVIOUS)
SHORTEST = 6
"""Characters of an md5 that are needed to find it."""


class TargetError(LikenessError):
    """There is no such thing, or more than one."""


@dataclass(frozen=True)
class LineageTarget:
    """A version and the md5 of everything that it came from."""

    asset: str
    character: str | None
    md5: str
    """Empty when only its inputs are known: a character.json whose model is not registered any more."""
    ancestors: Mapping[str, str]
    model: Mapping[str, Any] | None = None
    """Name, version, aliases, MLflow run and commit, where it is a registered model."""
    file: Path | None = None
    """The character.json that named it."""
    notes: tuple[str, ...] = ()

    @property
    def aliases(self) -> Sequence[str]:
        """Of the registered model; none where it is no model."""
        return (self.model or {}).get("aliases", ())

    @property
    def versions(self) -> dict[str, str]:
        """The target and all ancestors: md5 by asset, `character` for the source of that name."""
        return {**self.ancestors, **({self.asset: self.md5} if self.md5 else {})}


def find_version(word: str, settings: Settings, version_index: VersionIndex) -> LineageTarget | None:
    """The version that `word` names; None where it can only be a photo. Raises TargetError, RegistryError."""
    path = Path(word)
    if path.suffix == ".json" and path.is_file():
        return _of_document(path, settings)
    name, _, number = word.rpartition("/")
    if (number.isdigit() and len(number) < SHORTEST) or number in ALIASES:
        if not name or name in settings.character_names() or AliasStore.of(settings, name).state().tags:
            return _of_model(number, name or settings.character, settings)
    elif re.fullmatch(r"[0-9a-f]{6,32}(\.dir)?", word.lower()):
        return _of_md5(word.lower(), settings, version_index)
    return _of_served(word, settings)


def find_all_models(settings: Settings) -> list[LineageTarget]:
    """Every registered version of every character, the rejected too. Raises RegistryError, OutOfDate."""
    registry = Registry(Tracking.of(settings), settings.character)
    with registry_errors(registry.tracking.uri):
        names = [model.name for model in registry.client.search_registered_models(max_results=1000)]
    characters = [name.removeprefix("likeness-") for name in names if name.startswith("likeness-")]
    return [
        _of_model(str(version["version"]), character, settings)
        for character in sorted(characters)
        for version in Registry(registry.tracking, character).versions()
    ]


def in_production(settings: Settings, character: str) -> LineageTarget | None:
    """The version that is in production for a character, None where there is none."""
    try:
        return _of_model(PRODUCTION, character, settings)
    except RegistryError:
        return None


def _of_model(number: str, character: str, settings: Settings) -> LineageTarget:
    registry = Registry(Tracking.of(settings), character)
    return _target(registry, registry.find(number))


def _target(registry: Registry, version: Any) -> LineageTarget:
    tags = dict(version.tags)
    number = str(version.version)
    aliases = sorted(alias for alias, at in registry.aliases().items() if at == number)
    ancestors = {name.removeprefix("input."): md5 for name, md5 in tags.items() if name.startswith("input.")}
    model = {
        "name": registry.name,
        "version": int(number),
        "aliases": aliases,
        "rejected": "rejected" in tags,
        "mlflow_run": version.run_id,
        "git_commit": tags.get("git.commit"),
        "dagster_run": tags.get("dagster.run_id"),
    }
    return LineageTarget(MODEL, registry.character, tags.get("md5", ""), ancestors, model)


def _of_document(path: Path, settings: Settings) -> LineageTarget:
    return _of_character(read_object(path), path, settings)


def _of_served(word: str, settings: Settings) -> LineageTarget | None:
    try:
        found = served.find(word, settings)
    except served.Gone as error:
        raise TargetError(str(error)) from error
    return found and _of_character(found[0].document, found[1], settings)


def _of_character(document: Mapping[str, Any], path: Path, settings: Settings) -> LineageTarget:
    """A character by its own account of where it comes from, completed by the registry where it agrees."""
    origin = document.get("provenance")
    if not isinstance(origin, dict) or not isinstance(origin.get("inputs"), dict):
        raise TargetError(f"{path} does not say where it comes from (`provenance`): create it again")
    for name, md5 in origin["inputs"].items():
        if not isinstance(md5, str):
            raise TargetError(f"{path}: provenance.inputs.{name} is {md5!r}, no md5: create it again")
    character, version = document.get("character"), str(origin.get("version"))
    if not isinstance(character, str) or not re.fullmatch(r"[\w.-]+", character):
        raise TargetError(f"{path}: character is {character!r}, no character's name: mend it, or create it again")
    if not version.isdecimal():
        raise TargetError(f"{path}: provenance.version is {version!r}, no number of a model: create it again")
    try:
        known = _of_model(version, character, settings)
    except RegistryError:
        known = None
    if known and dict(known.ancestors) == origin["inputs"]:
        return LineageTarget(MODEL, character, known.md5, known.ancestors, known.model, path)
    note = f"{origin.get('model')} version {version} is not the one in the registry that made this file"
    return LineageTarget(MODEL, character, "", origin["inputs"], None, path, (note,))


def _of_md5(word: str, settings: Settings, version_index: VersionIndex) -> LineageTarget | None:
    refs = version_index.refs(prefix=word)
    found = sorted({ref.md5 for ref in refs})
    if len(found) > 1:
        named = sorted({f"{ref.asset} {ref.md5}" for ref in refs})
        raise TargetError(f"{word} is the beginning of {len(found)} md5s: {', '.join(named[:5])}; give more of it")
    if not found:
        return None
    version = _made(_newest(version_index.versions(refs[:1]), found[0]), version_index)
    if version.asset == MODEL:
        registry = Registry(Tracking.of(settings), version.character or settings.character)
        if registered := registry.with_md5(version.md5):
            return _target(registry, registered)
    asset = "character" if version.asset == "characters" else version.asset
    return LineageTarget(asset, version.character, version.md5, {} if version.asset in SOURCES else version.lineage)


def _made(version: Version, version_index: VersionIndex) -> Version:
    """The record of the run that made this content, where it was taken over since."""
    reused = version.metadata.get(REUSED)
    if not reused:
        return version
    known = version_index.of(version.asset, version.md5)
    return next((one for one in known if one.run_id == reused["run"]), version)


def _newest(versions: list[Version], md5: str) -> Version:
    if not versions:
        raise TargetError(f"Dagster has a tag with md5 {md5} but no event: was its storage pruned?")
    return versions[0]
