"""DVC's own configuration of this project, so that `dvc status`, `pull` and `push` of an expert mean the same stores.

Commands of ours never read it for where things are: the settings say that. What the settings say otherwise than
.dvc/config is written to .dvc/config.local, which git ignores, with paths inside the project relative to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestration.config.settings import Settings
from orchestration.storage.dvc_repo import REMOTE
from orchestration.storage.store import StoreError


def differences(settings: Settings) -> dict[str, tuple[str, str]]:
    """What DVC itself would use otherwise than the settings say, `cache` and `remote`: its own ("" for none), ours."""
    config = _load(settings)
    own = {
        "cache": str(config["cache"].get("dir") or ""),
        "remote": str(config["remote"].get(config["core"].get("remote"), {}).get("url") or ""),
    }
    wanted = {"cache": str(settings.home / "cache"), "remote": settings.remote}
    return {name: (own[name], wanted[name]) for name in own if not _same(settings, own[name], wanted[name])}


def to_write(settings: Settings) -> dict[str, str]:
    """What `write_local` would write: where the settings leave something at its default, an expert's own stays."""
    moved = "home" in settings.model_fields_set
    said = {"cache": moved, "remote": moved or bool(settings.dvc_remote)}
    return {name: wanted for name, (own, wanted) in differences(settings).items() if said[name] or not own}


def write_local(settings: Settings) -> None:
    """Bring .dvc/config.local to what the settings say; every other key in it stays. Raises StoreError."""
    if not (settings.root / ".dvc").is_dir():
        return
    if wanted := to_write(settings):
        with _load(settings).edit("local") as local:
            if "cache" in wanted:
                local.setdefault("cache", {})["dir"] = _relative(settings, wanted["cache"])
            if "remote" in wanted:
                local.setdefault("core", {})["remote"] = REMOTE
                local.setdefault("remote", {}).setdefault(REMOTE, {})["url"] = _relative(settings, wanted["remote"])


def _load(settings: Settings) -> Any:
    """Raises StoreError."""
    from dvc.config import Config, ConfigError

    folder = settings.root / ".dvc"
    try:
        return Config(dvc_dir=str(folder))
    except ConfigError as error:
        raise StoreError(f"DVC's configuration in {folder} cannot be read: {error}: correct it") from error


def _same(settings: Settings, one: str, other: str) -> bool:
    if not one or "://" in one or "://" in other:
        return one.rstrip("/") == other.rstrip("/")
    # DVC gives paths of its files as absolute ones; ours are relative to where a command is called.
    return (settings.root / one).resolve() == Path(other).resolve()


def _relative(settings: Settings, path: str) -> str:
    """A path inside the project as DVC writes it relative to its file, so that a moved project stays whole."""
    from dvc.config_schema import RelPath

    inside = "://" not in path and Path(path).resolve().is_relative_to(settings.root)
    return RelPath(str(Path(path).resolve())) if inside else path
