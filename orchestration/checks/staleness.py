"""Which assets are missing or stale. Dagster shows it in its UI but has no public Python call for it."""

from __future__ import annotations

from typing import Any

import dagster as dg

from orchestration.checks.results import evaluation_of
from orchestration.storage.dagster_internals import (
    BaseAssetGraph,
    CachingStaleStatusResolver,
    LoadingContext,
    StaleStatus,
)
from orchestration.storage.versions import newest_record

FRESH = ""


class _OneLook(LoadingContext):
    """What the resolver caches lives as long as one question."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance, self._loaders = instance, {}

    @property
    def instance(self) -> dg.DagsterInstance:
        return self._instance

    @property
    def loaders(self) -> Any:
        return self._loaders


def why_not_fresh(
    definitions: dg.Definitions, instance: dg.DagsterInstance, asset: str, character: str | None = None
) -> str:
    """Why the asset cannot be taken as it is, "" when it can: it has to be made, or it failed a blocking check.

    Looks one level up: ask for parents first, and make them when they need it.
    """
    return Staleness.of(instance, definitions).why(dg.AssetKey(asset), character)


class Staleness:
    """One look at a graph: what was asked once is not read from the database again, so do not keep it for long."""

    def __init__(
        self, instance: dg.DagsterInstance, graph: BaseAssetGraph[Any], loading: LoadingContext | None = None
    ) -> None:
        self._instance, self._graph = instance, graph
        self._resolver = CachingStaleStatusResolver(instance, graph, loading or _OneLook(instance))

    @classmethod
    def of(cls, instance: dg.DagsterInstance, definitions: dg.Definitions) -> Staleness:
        """Of the graph that these definitions make."""
        return cls(instance, definitions.resolve_asset_graph())

    def why(self, key: dg.AssetKey, character: str | None = None) -> str:
        """As `why_not_fresh`; sources are always fresh."""
        return self.stale(key, character) or self._failed_check(key, character)

    def stale(self, key: dg.AssetKey, character: str | None = None) -> str:
        """Why it has to be made, "" when nothing that it is made of changed since it was."""
        status = self._resolver.get_status(key, character)
        if status == StaleStatus.MISSING:
            return "missing"
        if status != StaleStatus.STALE:
            return FRESH
        causes = {
            f"{cause.dependency_asset_key.to_user_string()} {cause.reason}"
            if cause.dependency_asset_key
            else cause.reason
            for cause in self._resolver.get_stale_causes(key, character)
        }
        return "; ".join(sorted(causes))

    def _failed_check(self, key: dg.AssetKey, character: str | None) -> str:
        """A blocking check that the newest version did not pass: Dagster keeps the version, and calls it fresh."""
        checks = [check for check in self._graph.get_check_keys_for_assets({key}) if self._graph.get(check).blocking]
        made = newest_record(self._instance, key.to_user_string(), character) if checks else None
        if made is None:
            return FRESH
        for check in checks:
            evaluation = evaluation_of(self._instance, check, made)
            if evaluation and not evaluation.passed:
                return f"its check {check.name} failed: {evaluation.description}"
        return FRESH
