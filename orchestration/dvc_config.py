"""DVC's own configuration of this project, so that `dvc status`, `pull` and `push` of an expert mean the same stores.

Commands of ours never read it for where things are: the settings say that. What the settings say otherwise than
.dvc/config is written to .dvc/config.local, which git ignores, with paths inside the project relative to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestration.settings import Settings
from orchestration.store import REMOTE


def differences(settings: Settings) -> dict[str, tuple[str, str]]:
    """What DVC itself would use otherwise than the settings say, `cache` and `remote`: its own, the settings'."""
    config = _load(settings)
    own = {
        "cache": str(config["cache"].get("dir") or settings.root / ".dvc" / "cache"),
        "remote": str(config["remote"].get(config["core"].get("remote"), {}).get("url", "none")),
    }
    wanted = {"cache": str(settings.home / "cache"), "remote": settings.remote}
    return {name: (own[name], wanted[name]) for name in own if not _same(settings, own[name], wanted[name])}


def write_local(settings: Settings) -> list[str]:
    """Bring .dvc/config.local to what LIKENESS_HOME and LIKENESS_DVC_REMOTE say; what was written.

    What these leave at its default is the expert's own, and so is every other key.
    """
    if not (settings.root / ".dvc").is_dir():
        return []
    given = {"cache": "home" in settings.model_fields_set, "remote": bool(settings.dvc_remote)}
    given["remote"] |= given["cache"]
    wrong = {name: wanted for name, (_, wanted) in differences(settings).items() if given[name]}
    if wrong:
        with _load(settings).edit("local") as local:
            if "cache" in wrong:
                local.setdefault("cache", {})["dir"] = _relative(settings, wrong["cache"])
            if "remote" in wrong:
                local.setdefault("core", {})["remote"] = REMOTE
                local.setdefault("remote", {}).setdefault(REMOTE, {})["url"] = _relative(settings, wrong["remote"])
    return sorted(wrong)


def _load(settings: Settings) -> Any:
    from dvc.config import Config

    return Config(dvc_dir=str(settings.root / ".dvc"))


def _same(settings: Settings, one: str, other: str) -> bool:
    if "://" in one or "://" in other:
        return one.rstrip("/") == other.rstrip("/")
    # DVC gives paths of its files as absolute ones; ours are relative to where a command is called.
    return (settings.root / one).resolve() == Path(other).resolve()


def _relative(settings: Settings, path: str) -> str:
    """A path inside the project as DVC writes it relative to its file, so that a moved project stays whole."""
    from dvc.config_schema import RelPath

    inside = "://" not in path and Path(path).resolve().is_relative_to(settings.root)
    return RelPath(str(Path(path).resolve())) if inside else path
