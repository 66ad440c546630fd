"""Which assets are missing or stale. Dagster shows it in its UI but has no public Python call for it."""

from __future__ import annotations

from typing import Any

import dagster as dg

# Not public: the one place that knows. tests/orchestration/test_staleness.py says what it must answer.
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContext

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
    """Why the asset has to be made, "" when it has not.

    Looks one level up: ask for parents first, and make them when they need it.
    """
    return Staleness(instance, definitions.resolve_asset_graph()).why(dg.AssetKey(asset), character)


class Staleness:
    """One look at a graph: what was asked once is not read from the database again, so do not keep it for long."""

    def __init__(
        self, instance: dg.DagsterInstance, graph: BaseAssetGraph[Any], loading: LoadingContext | None = None
    ) -> None:
        self._instance, self._graph = instance, graph
        self._resolver = CachingStaleStatusResolver(instance, graph, loading or _OneLook(instance))

    def why(self, key: dg.AssetKey, character: str | None = None) -> str:
        """As `why_not_fresh`; sources are always fresh."""
        status = self._resolver.get_status(key, character)
        if status == StaleStatus.MISSING:
            return "missing"
        if status == StaleStatus.STALE:
            causes = {
                f"{cause.dependency_asset_key.to_user_string()} {cause.reason}"
                if cause.dependency_asset_key
                else cause.reason
                for cause in self._resolver.get_stale_causes(key, character)
            }
            return "; ".join(sorted(causes))
        return self._failed_check(key, character)

    def _failed_check(self, key: dg.AssetKey, character: str | None) -> str:
        """A blocking check that the newest version did not pass: Dagster keeps the version, and calls it fresh."""
        checks = [check for check in self._graph.get_check_keys_for_assets({key}) if self._graph.get(check).blocking]
        if not checks:
            return FRESH
        records = dg.AssetRecordsFilter(key, asset_partitions=[character] if character else None)
        made = self._instance.fetch_materializations(records, limit=1).records
        latest = self._instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
        for check in checks:
            last = latest.get(check)
            evaluation = last.evaluation if last and made and last.run_id == made[0].run_id else None
            if evaluation and not evaluation.passed:
                return f"its check {check.name} failed: {evaluation.description}"
        return FRESH
