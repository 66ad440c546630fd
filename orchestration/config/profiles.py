"""Profiles: one YAML file each, only what differs from the defaults in the code; an unknown name is an error."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from engine.errors import LikenessError
from orchestration.config.catalog import Stage
from orchestration.config.check_rules import RUN, Rules

ConfigT = TypeVar("ConfigT", bound=BaseModel)
PROFILES = Path(__file__).parents[1] / "profiles"
CHECKS = "checks"
"""The section of a profile that is no stage's: what the checks ask for."""
PRODUCTION = "production"
"""The group of the asset that trains nothing."""


class ProfileError(LikenessError, ValueError):
    """The profile does not exist, or names a stage or a key that does not."""


def profile_names() -> list[str]:
    """The profiles that likeness brings, sorted."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def resolve(profile: str, stages: Sequence[Stage]) -> dict[str, BaseModel]:
    """Each stage's whole configuration under this profile: its defaults and what the profile changes.

    profile: the name of a file in orchestration/profiles/, or a path that ends in .yaml. Raises ProfileError.
    """
    changes = changes_of(profile, stages)
    return {stage.name: configure(profile, stage, changes[stage.name]) for stage in stages}


def changes_of(profile: str, stages: Sequence[Stage]) -> dict[str, Mapping[str, Any]]:
    """What a profile changes of each stage's defaults, not validated yet. Raises ProfileError."""
    content = _read(profile)
    unknown = sorted(set(content) - {stage.name for stage in stages} - {CHECKS})
    if unknown:
        raise ProfileError(
            f"profile {profile}: no stage is called {', '.join(unknown)}; "
            f"stages: {', '.join(stage.name for stage in stages)}"
        )
    return {stage.name: content.get(stage.name) or {} for stage in stages}


def resolve_one(profile: str, name: str, config: type[ConfigT]) -> ConfigT:
    """One stage's whole configuration, without loading any other stage. Raises ProfileError."""
    return _validated(profile, name, config, _read(profile).get(name) or {})


def resolve_checks(profile: str, stages: Sequence[Stage]) -> Rules:
    """What the checks ask for under this profile. Raises ProfileError."""
    changes = _read(profile).get(CHECKS) or {}
    unknown = sorted(set(changes.get("metrics") or {}) - {stage.name for stage in stages})
    if unknown:
        raise ProfileError(f"profile {profile}, section {CHECKS}: metrics: no stage is called {', '.join(unknown)}")
    budgeted = [RUN, *(stage.name for stage in stages if stage.group != PRODUCTION)]
    if unknown := sorted(set(changes.get("budget") or {}) - set(budgeted)):
        names = f"{', '.join(unknown)}; there are: {', '.join(budgeted)}"
        raise ProfileError(f"profile {profile}, section {CHECKS}: budget: there is none for {names}")
    try:
        return Rules.model_validate(merged(Rules().model_dump(), changes))
    except ValidationError as error:
        raise ProfileError(f"profile {profile}, section {CHECKS}: {problems(error)}") from error


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes`, mapping by mapping."""
    both = {
        name: merged(values[name], change)
        for name, change in changes.items()
        if isinstance(change, Mapping) and isinstance(values.get(name), Mapping)
    }
    return {**values, **changes, **both}


def _read(profile: str) -> Mapping[str, Any]:
    path = Path(profile) if profile.endswith(".yaml") else PROFILES / f"{profile}.yaml"
    if not path.exists():
        raise ProfileError(
            f"there is no profile {profile}; there are: {', '.join(profile_names())}, or a path to a .yaml file"
        )
    content = yaml.safe_load(path.read_text()) or {}
    if not isinstance(content, dict) or not all(isinstance(value, dict | None) for value in content.values()):
        raise ProfileError(f"profile {profile}: expected `stage: {{key: value}}` entries")
    return content


def configure(profile: str, stage: Stage, changes: Mapping[str, Any]) -> BaseModel:
    """One stage's whole configuration. Raises ProfileError."""
    return _validated(profile, stage.name, stage.code.Config, changes)


def _validated(profile: str, name: str, config: type[ConfigT], overrides: Mapping[str, Any]) -> ConfigT:
    try:
        return config(**overrides)
    except ValidationError as error:
        raise ProfileError(f"profile {profile}, stage {name}: {problems(error)}") from error


def problems(error: ValidationError) -> str:
    """What is wrong with which keys, on one line."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors())


def config_hash(config: BaseModel) -> str:
    """A short hash that changes with any value of the configuration, and with the contents of files that it names."""
    values, files = config.model_dump(mode="json"), file_digests(config.model_dump())
    content = json.dumps([values, files] if files else values, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def file_digests(values: Any, kind: type[str | Path] = Path) -> dict[str, str]:
    """sha256 of each file that values of this kind name, of a configuration or what a profile says of one.

    A file that is not there, or not to be read, has none: the stage that wants it says so.
    """
    if isinstance(values, Mapping | list | tuple):
        parts = values.values() if isinstance(values, Mapping) else values
        return {name: digest for part in parts for name, digest in file_digests(part, kind).items()}
    if not isinstance(values, kind):
        return {}
    path = Path(values).absolute()
    with suppress(OSError):
        if path.is_file():  # a pipe would be waited for
            status = path.stat()
            return {str(values): _sha256(path, status.st_size, status.st_mtime_ns, status.st_ino)}
    return {}


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, *_status: int) -> str:
    """Of a file as it was when it had this status: weights have hundreds of megabytes, and are asked for often."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_version(stage: Stage, config: BaseModel) -> str:
    """The stage's version, bumped by hand, and its configuration: `smoke` results never pass for `quickstart` ones."""
    return f"{stage.code.VERSION}-{config_hash(config)}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} → {"a.b": 1}, as MLflow's parameters and metrics want it."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
