"""What a retraining changed: each asset that it made, beside the version that was there before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestration.config.catalog import SOURCES
from orchestration.config.profiles import flatten
from orchestration.lineage import OnStep, silent
from orchestration.lineage.retrainings import Made, Retraining
from orchestration.lineage.table_rows import RowChanges, compare
from orchestration.promotion import card_scores
from orchestration.promotion.comparison import PRODUCTION
from orchestration.storage.costs import PREFIX, Cost
from orchestration.storage.project import title
from orchestration.storage.store import RemoteDown, Store, StoreError
from orchestration.storage.version_index import VersionIndex
from orchestration.storage.versions import WHY, Version
from stages.evaluation.scores import DIFFERENCES

TABLE, SCORECARD = ".parquet", "scorecard.json"
CLOCKS = ("seconds", "seconds_around_the_stage")
"""Figures that are never the same twice, and stand with the cost."""

Pair = tuple[Any, Any]
"""Before and after; None where there was none."""


@dataclass(frozen=True)
class FileChanges:
    """From one version of a source to the next."""

    source: str
    before: str | None
    after: str
    added: Sequence[str] = ()
    removed: Sequence[str] = ()
    changed: Sequence[str] = ()
    unknown: str = ""
    """Why nobody can tell."""


@dataclass(frozen=True)
class ScoreChange:
    """One score of the scorecard, with its 95 % intervals."""

    path: str
    name: str
    before: float | None
    before_ci: Sequence[float] | None
    after: float | None
    after_ci: Sequence[float] | None
    difference: Mapping[str, Any] | None = None
    """Of the two on the same people in one run (value, ci), where the version before was the one in production."""


@dataclass
class AssetDiff:
    """One asset: the version that the retraining made, beside the one before."""

    asset: str
    action: str
    """`made` or `taken over`."""
    why: str
    before: str | None
    """md5; None where it was never made before."""
    after: str
    code: Pair | None = None
    """VERSION of the stage, where it changed."""
    config: dict[str, Pair] = field(default_factory=dict)
    """Keys that changed."""
    rows: dict[str, RowChanges] = field(default_factory=dict)
    """By table."""
    rows_unknown: str = ""
    """Why rows could not be compared."""
    metrics: dict[str, Pair] = field(default_factory=dict)
    """Figures that changed."""
    cost: Pair = (None, None)
    """What this version and the one before cost."""


@dataclass
class RetrainingDiff:
    """A retraining beside what was there before it."""

    sources: list[FileChanges] = field(default_factory=list)
    assets: list[AssetDiff] = field(default_factory=list)
    scores: list[ScoreChange] = field(default_factory=list)
    cost: Pair = (None, None)
    """Of the versions that it replaced, and its own."""

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return asdict(self)


def diff(retraining: Retraining, index: VersionIndex, store: Store, progress: OnStep = silent) -> RetrainingDiff:
    """What a retraining changed. Rows are compared where both versions are in this machine's cache."""
    found, pairs = RetrainingDiff(), [(made, _before(made, retraining, index)) for made in retraining.newest.values()]
    found.sources = [*_sources(pairs, store)]
    for made, before in pairs:
        found.assets.append(_asset(made, before, store, progress))
        if made.version.asset == "scorecard" and before:
            found.scores += _scores(made.version, before, pairs, store)
    own = [made.cost for made, _ in pairs if made.cost]
    replaced = [cost for made, before in pairs if made.cost and before and (cost := Cost.of(before.metadata))]
    found.cost = (_figures(Cost.total(replaced) if replaced else None), _figures(Cost.total(own) if own else None))
    return found


def _before(made: Made, retraining: Retraining, index: VersionIndex) -> Version | None:
    """The newest version of the same asset that was there before the retraining."""
    first = min(other.ref.event for other in retraining.every if other.name == made.name)
    refs = [ref for ref in index.refs(made.ref.asset) if ref.character == made.ref.character and ref.event < first]
    return next(iter(index.versions(refs[:1])), None)


def _sources(pairs: Sequence[tuple[Made, Version | None]], store: Store) -> Iterator[FileChanges]:
    """Sources that any asset read in another version than before."""
    seen: dict[str, tuple[str | None, str]] = {}
    for made, before in pairs:
        then = (before.metadata.get("inputs") or {}) if before else {}
        for name, md5 in (made.version.metadata.get("inputs") or {}).items():
            if name in SOURCES or name == "character":
                whose = (made.version.character or "embedded") if name == "character" else None
                source = title(name, whose)
                if seen.get(source, (None,))[0] is None:  # an asset that was there before knows what it had read
                    seen[source] = then.get(name), md5
    for source, (before, after) in seen.items():
        if before != after:
            yield _files(source, before, after, store)


def _files(source: str, before: str | None, after: str, store: Store) -> FileChanges:
    try:
        then, now = store.listing(before) if before else {}, store.listing(after)
    except (StoreError, RemoteDown) as error:
        return FileChanges(source, before, after, unknown=str(error))
    changed = sorted(name for name in then.keys() & now.keys() if then[name] != now[name])
    return FileChanges(
        source, before, after, sorted(now.keys() - then.keys()), sorted(then.keys() - now.keys()), changed
    )


def _asset(made: Made, before: Version | None, store: Store, progress: OnStep) -> AssetDiff:
    after = made.version
    found = AssetDiff(
        made.name,
        "taken over" if made.is_reused else "made",
        str(after.metadata.get(WHY) or ""),
        before.md5 if before else None,
        after.md5,
    )
    found.cost = (_figures(Cost.of(before.metadata)) if before else None, _figures(made.cost))
    if before is None:
        return found
    then, now = (version.code.rpartition("-")[0] for version in (before, after))
    found.code = (then, now) if then != now else None
    configs = [flatten(version.metadata.get("config") or {}) for version in (before, after)]
    found.config = _changes(*configs) if all(configs) else {}  # not every version noted it
    found.metrics = _changes(_metrics(before), _metrics(after))
    if before.md5 != after.md5:
        try:
            found.rows = _rows(before.md5, after.md5, store, progress)
        except (StoreError, RemoteDown) as error:
            found.rows_unknown = str(error)
    return found


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Pair]:
    names = sorted({*before, *after})
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def _metrics(version: Version) -> dict[str, float]:
    figures = {name: value for name, value in version.metadata.items() if isinstance(value, float)}
    return {name: value for name, value in figures.items() if name not in CLOCKS and not name.startswith(PREFIX)}


def _rows(before: str, after: str, store: Store, progress: OnStep) -> dict[str, RowChanges]:
    """Of each table that both versions have. Raises StoreError where one is not in the cache, RemoteDown."""
    then, now = store.listing(before), store.listing(after)
    names = [name for name in now if name.endswith(TABLE) and name in then and then[name] != now[name]]
    if names and not (store.is_cached(before) and store.is_cached(after)):
        raise StoreError("not in this machine's cache; `likeness restore MD5 --out DIR` brings a version here")
    return {name: compare(store.file(then[name]), store.file(now[name]), progress) for name in names}


def _scores(
    after: Version, before: Version, pairs: Sequence[tuple[Made, Version | None]], store: Store
) -> Iterator[ScoreChange]:
    """The scores that head the scorecard, before and after."""
    cards = [_card(version, store) for version in (before, after)]
    then, now = ({score["path"]: score for score in card_scores.main(card)} for card in cards)
    compared = (after.metadata.get("inputs") or {}).get(PRODUCTION)
    models = [old.md5 for made, old in pairs if old and made.version.asset == "production_encoder"]
    apart = (cards[1].get(PRODUCTION) or {}).get(DIFFERENCES, {}) if compared in models else {}
    for path, score in now.items():
        old = then.get(path, {})
        if (old.get("value"), score["value"]) != (None, None):
            ends = old.get("value"), old.get("ci"), score["value"], score.get("ci")
            yield ScoreChange(path, score["name"], *ends, apart.get(path))


def _card(version: Version, store: Store) -> dict[str, Any]:
    try:
        return json.loads(store.file(store.listing(version.md5)[SCORECARD]).read_text())
    except (StoreError, RemoteDown, KeyError):
        return {}


def _figures(cost: Cost | None) -> dict[str, float] | None:
    return cost.figures("") if cost else None
