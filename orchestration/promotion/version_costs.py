"""What a registered version cost: all the steps that it came from, and those that no version before it had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestration.config.catalog import STAGES
from orchestration.registry.registered_models import INPUT, Registry
from orchestration.storage.costs import Cost
from orchestration.storage.version_index import VersionIndex, fitting


@dataclass(frozen=True)
class VersionCosts:
    """Sums over steps."""

    all: Cost
    """To make it from nothing."""
    new: Cost
    """To make what it has that no version before it had: what the retraining cost."""
    unmeasured: tuple[str, ...]
    """Steps that were made before costs were measured, or of which Dagster has no record."""


def of_version(registry: Registry, version: str, index: VersionIndex, own: Cost | None) -> VersionCosts:
    """The costs of a version, by its number. own: of its registration. Raises RegistryError."""
    tags = registry.alias_store.state().tags
    before = {md5 for number in tags if int(number) < int(version) for md5 in _inputs(tags[number]).values()}
    steps, inputs = {}, _inputs(tags[version])
    for name in (stage.name for stage in STAGES if stage.name in inputs):
        made = fitting(index.of(name, inputs[name]), inputs, registry.character)
        steps[name] = Cost.of(made.metadata) if made else None
    last = [own] if own else []
    known = {name: cost for name, cost in steps.items() if cost}
    new = [cost for name, cost in known.items() if inputs[name] not in before]
    unmeasured = [name for name, cost in steps.items() if cost is None]
    return VersionCosts(Cost.total([*known.values(), *last]), Cost.total([*new, *last]), tuple(unmeasured))


def _inputs(tags: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(INPUT): md5 for name, md5 in tags.items() if name.startswith(INPUT)}
