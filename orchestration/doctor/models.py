"""Whether what is in production can be loaded, came there by gate or record, and is of a character that is there."""

from __future__ import annotations

import time
from collections.abc import Iterator

from orchestration.config.settings import Settings
from orchestration.doctor.diagnosis import Diagnosis
from orchestration.registry.promotion_events import PRODUCTION, RegistryError
from orchestration.registry.registered_models import Registry
from orchestration.registry.remedies import command, without_production
from orchestration.storage.mlflow_files import is_unmade
from orchestration.storage.tracking import Tracking

LIBRARIES = ("torch", "cv2", "mediapipe")
"""What a registered model imports."""


def check(settings: Settings) -> Iterator[Diagnosis]:
    """Every character that has a folder or a registered version."""
    if is_unmade(settings.tracking_uri):
        yield Diagnosis.ok("models", "none yet")
        return
    tracking = Tracking.of(settings)
    models = [model.name for model in tracking.client().search_registered_models(max_results=1000)]
    registered = [name.removeprefix("likeness-") for name in models if name.startswith("likeness-")]
    for character in sorted({*registered, settings.character}):
        yield from _of(settings, Registry(tracking, character))


def _of(settings: Settings, registry: Registry) -> Iterator[Diagnosis]:
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
    yield _loaded(registry, state.production)


def _loaded(registry: Registry, number: str) -> Diagnosis:
    began = time.monotonic()
    try:
        registry.load(PRODUCTION)
    except RegistryError as error:
        detail, _, remedy = str(error).rpartition(": ")
        return Diagnosis.error(registry.name, detail, remedy)
    return Diagnosis.ok(registry.name, f"version {number} is in production, loaded in {time.monotonic() - began:.1f} s")
