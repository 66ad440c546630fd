"""Whether what registered models consist of, and what those in use were made from, is still to be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestration.config.settings import Settings
from orchestration.lineage.resolve import LineageTarget, find_all_models
from orchestration.registry.registered_models import Registry
from orchestration.storage.erasure_log import Erasure, ErasureLog
from orchestration.storage.instance import open_instance
from orchestration.storage.mlflow_files import is_unmade
from orchestration.storage.store import RemoteDown, Store, StoreError
from orchestration.storage.tracking import Tracking


@dataclass
class RegisteredData:
    """Versions by md5, with what they are called."""

    models: int
    """Registered versions whose md5 is known."""
    lost: dict[str, str] = field(default_factory=dict)
    """Nothing brings them back."""
    damaged: dict[str, str] = field(default_factory=dict)
    """In the remote."""
    lacking: dict[str, str] = field(default_factory=dict)
    """Here alone: the remote does not have them as a whole."""
    fine: int = 0


def examine(settings: Settings) -> RegisteredData:
    """Where the data of registered models are: their own of all, those that they came from of models with an alias.

    What `likeness forget` took is no loss. Raises RemoteDown, RegistryError.
    """
    models = [target for target in registered_models(settings) if target.md5]
    found, store, wanted = RegisteredData(len(models)), Store.of(settings), names(models)
    if not wanted:
        return found
    about = store.availabilities(wanted, read=False)
    with open_instance(settings) as instance:
        erased = ErasureLog(instance).erased()
    packages = {target.md5 for target in models if target.aliases}
    for md5, name in wanted.items():
        if about[md5].lost and (md5 in packages or not _is_erased(store, md5, erased)):
            found.lost[md5] = name
        elif about[md5].damaged:
            found.damaged[md5] = name
        elif not about[md5].remote and not about[md5].lost:
            found.lacking[md5] = name
        else:
            found.fine += 1
    return found


def registered_models(settings: Settings) -> list[LineageTarget]:
    """Every registered version; none where there is no registry yet. Raises RegistryError."""
    if not (settings.root / ".dvc").is_dir() or is_unmade(settings.tracking_uri):
        return []
    return find_all_models(settings)


def names(models: list[LineageTarget]) -> dict[str, str]:
    """What has to be there, by md5."""
    wanted = {target.md5: version_name(target) for target in models if target.md5}
    for target in (target for target in models if target.aliases):
        wanted = {md5: f"{asset} of {version_name(target)}" for asset, md5 in target.ancestors.items()} | wanted
    return wanted


def lost_packages(settings: Settings) -> dict[str, str]:
    """What MLflow has lost of registered versions, by `likeness-embedded/1`. Raises RegistryError."""
    found = {}
    for target in registered_models(settings):
        about = target.model or {}
        registry = Registry(Tracking.of(settings), str(target.character))
        if lost := registry.lost(str(about["version"])):
            found[f"{about['name']}/{about['version']}"] = lost
    return found


def version_name(target: LineageTarget) -> str:
    """How people call a registered version."""
    about = target.model or {}
    return f"{about.get('name')} version {about.get('version')}"


def _is_erased(store: Store, md5: str, erased: Mapping[str, Erasure]) -> bool:
    """Whether `likeness forget` took files of this version, which is no fault."""
    try:
        return not erased.keys().isdisjoint(store.listing(md5).values())
    except (RemoteDown, StoreError):
        return md5 in erased
