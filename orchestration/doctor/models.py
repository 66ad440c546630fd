"""Whether what is in production can be loaded, came there by gate or record, and is of a character that is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestration.config.settings import Settings
from orchestration.doctor.diagnosis import Diagnosis
from orchestration.registry.promotion_events import RegistryError
from orchestration.registry.registered_models import Registry
from orchestration.registry.remedies import broken, command, without_production
from orchestration.registry.trial_load import load_apart
from orchestration.storage.mlflow_files import is_unmade
from orchestration.storage.store import RemoteDown, Store, StoreError
from orchestration.storage.tracking import Tracking


def check(settings: Settings, load: bool = True) -> Iterator[Diagnosis]:
    """Every character that has a folder or a registered version; with `load` what is in production is loaded, in a
    process of its own.
    """
    if is_unmade(settings.tracking_uri):
        yield Diagnosis.ok("models", "none yet")
        return
    tracking = Tracking.of(settings)
    models = [model.name for model in tracking.client().search_registered_models(max_results=1000)]
    registered = [name.removeprefix("likeness-") for name in models if name.startswith("likeness-")]
    for character in sorted({*registered, settings.character}):
        yield from _of(settings, Registry(tracking, character), load)


def _of(settings: Settings, registry: Registry, load: bool) -> Iterator[Diagnosis]:
    name, character = registry.name, registry.character
    state = registry.alias_store.state()
    if not state.tags:
        yield Diagnosis.ok(name, f"no version yet: {command('run', character)} registers the first")
        return
    if character not in settings.character_names():
        newest = max(state.tags, key=int)
        detail = f"has versions, but {settings.characters / character} is gone"
        yield Diagnosis.warning(
            name, detail, f"`likeness restore {character}/{newest} --out DIR` has it as DIR/character"
        )
    if state.production is None:
        detail, _, remedy = without_production(registry, state).partition(": ")
        yield Diagnosis.warning(name, detail.removeprefix(f"{name} "), remedy)
        return
    if outside := state.moved_outside():
        keep = command(f"promote {state.production} --why REASON", character)
        back = f"; {command(f'promote {outside.before}', character)} undoes it" if outside.before in state.tags else ""
        yield Diagnosis.warning(name, str(outside), f"{keep} records it{back}")
    if lost := registry.lost(state.production):
        yield Diagnosis.error(name, f"version {state.production}: {lost}", broken(registry, state.production))
    elif load:
        yield _loaded(settings, registry, state.production)
    else:
        yield Diagnosis.ok(name, f"version {state.production} is in production, and was not loaded")


def _loaded(settings: Settings, registry: Registry, number: str) -> Diagnosis:
    """Whether the version in production can be loaded, and is what was registered."""
    try:
        seconds, files = load_apart(registry)
    except RegistryError as error:
        detail, _, remedy = str(error).rpartition(": ")
        return Diagnosis.error(registry.name, detail, remedy)
    if others := _others(settings, registry, number, files):
        more = f", nor are {len(others) - 1} others" if others[1:] else ""
        detail = f"version {number}: {others[0]} is not what was registered{more}"
        return Diagnosis.error(registry.name, detail, broken(registry, number))
    return Diagnosis.ok(registry.name, f"version {number} is in production, loaded in {seconds:.1f} s")


def _others(settings: Settings, registry: Registry, number: str, files: Mapping[str, str]) -> list[str]:
    """Files whose bytes are not those of the folder that was registered; none where nobody can tell."""
    md5 = registry.find(number).tags.get("md5")
    try:
        registered = Store.of(settings).listing(md5) if md5 and (settings.root / ".dvc").is_dir() else {}
    except (StoreError, RemoteDown):
        return []  # the check of registered data says so
    return [path for path, its_md5 in files.items() if registered.get(path, its_md5) != its_md5]
