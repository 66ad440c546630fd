"""Which assets are missing or stale. Dagster shows it in its UI but has no public Python call for it."""

from __future__ import annotations

from typing import Any

import dagster as dg

# Not public: the one place that knows. tests/orchestration/test_staleness.py says what it must answer.
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
    key = dg.AssetKey(asset)
    resolver = CachingStaleStatusResolver(instance, definitions.resolve_asset_graph(), _OneLook(instance))
    status = resolver.get_status(key, character)
    if status == StaleStatus.MISSING:
        return "missing"
    if status == StaleStatus.STALE:
        causes = {
            f"{cause.dependency_asset_key.to_user_string()} {cause.reason}"
            if cause.dependency_asset_key
            else cause.reason
            for cause in resolver.get_stale_causes(key, character)
        }
        return "; ".join(sorted(causes))
    return _failed_check(definitions, instance, key, character)


def _failed_check(
    definitions: dg.Definitions, instance: dg.DagsterInstance, key: dg.AssetKey, character: str | None
) -> str:
    """A blocking check that the newest version did not pass: Dagster keeps the version, and calls it fresh."""
    graph = definitions.resolve_asset_graph()
    records = dg.AssetRecordsFilter(key, asset_partitions=[character] if character else None)
    made = instance.fetch_materializations(records, limit=1).records
    for check in graph.get_check_keys_for_assets({key}):
        if not graph.get_check_spec(check).blocking or not made:
            continue
        last = instance.event_log_storage.get_latest_asset_check_execution_by_key([check]).get(check)
        evaluation = last.evaluation if last and last.run_id == made[0].run_id else None
        if evaluation and not evaluation.passed:
            return f"its check {check.name} failed: {evaluation.description}"
    return FRESH
