"""Retrainings as they are recorded: the runs that share one id, what they made, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dagster as dg

from engine.errors import LikenessError
from engine.words import a_few
from orchestration.config.catalog import SOURCES
from orchestration.lineage.resolve import MODEL
from orchestration.storage.costs import Cost
from orchestration.storage.dagster_internals import BACKFILL_ID_TAG
from orchestration.storage.instance import CHARACTER_TAG, RETRAINING_TAG, WHY_TAG, is_of_command
from orchestration.storage.project import AssetRef, Project, title
from orchestration.storage.version_index import VersionIndex, VersionRef
from orchestration.storage.versions import REUSED, WHY, Version, as_text

RUNNING, DONE, FAILED, INTERRUPTED = "running", "done", "failed", "interrupted"
LAST = "last"
FEW = 2
"""Reasons that are told."""
AUTOMATION_SENSOR = "retrain"
"""The name of the sensor that evaluates the conditions (orchestration/pipeline/sensors.py)."""


class UnknownRetraining(LikenessError):
    """No retraining, or more than one, has an id that begins like that."""


@dataclass(frozen=True)
class Made:
    """A version that a retraining made, or took over from an earlier run."""

    ref: VersionRef
    version: Version

    @property
    def name(self) -> str:
        """Of the asset, with its character."""
        return title(self.version.asset, self.version.character)

    @property
    def is_reused(self) -> bool:
        """Whether nothing was made: its result was known."""
        return REUSED in self.version.metadata

    @property
    def cost(self) -> Cost | None:
        """What it cost now; None where nothing was made, or measured."""
        return None if self.is_reused else Cost.of(self.version.metadata)


@dataclass(frozen=True)
class Retraining:
    """All runs with one id."""

    id: str
    runs: Sequence[Any]
    """Dagster's records of them, oldest first."""
    every: Sequence[Made]
    """Every version that they recorded, oldest first; of an asset that was tried again there may be two."""
    known: Sequence[str]
    """Assets that were there to be kept: those of its characters that were ever made."""

    @cached_property
    def newest(self) -> dict[str, Made]:
        """The last version of each asset."""
        return {made.name: made for made in self.every}

    @property
    def made(self) -> list[str]:
        """Assets that were made."""
        return [name for name, made in self.newest.items() if not made.is_reused]

    @property
    def reused(self) -> list[str]:
        """Assets whose result was taken from an earlier run."""
        return [name for name, made in self.newest.items() if made.is_reused]

    @property
    def kept(self) -> list[str]:
        """Assets that were up to date, or not asked for; none while it runs, for they may be made yet."""
        return [name for name in self.known if name not in self.newest] if self.state != RUNNING else []

    @property
    def characters(self) -> list[str]:
        """Those that it was for."""
        return characters_of([record.dagster_run for record in self.runs], [made.version for made in self.every])

    @property
    def began(self) -> float:
        """Seconds since 1970."""
        first = self.runs[0]
        return first.start_time or first.create_timestamp.timestamp()

    @property
    def ended(self) -> float | None:
        """Seconds since 1970; None while it runs."""
        ends = [record.end_time for record in self.runs]
        return None if self.state == RUNNING else max((end for end in ends if end), default=None)

    @property
    def seconds(self) -> float:
        """For which any of its runs was at work: two side by side count once, and what lies between them does not."""
        now = time.time()
        spans = sorted((r.start_time, r.end_time or now) for r in self.runs if r.start_time)
        total, until = 0.0, 0.0
        for start, end in spans:
            total += max(end - max(start, until), 0.0)
            until = max(until, end)
        return total

    @cached_property
    def unsuccessful(self) -> dict[str, dg.DagsterRun]:
        """Runs that did not succeed and that no later one made good, by what they were to make."""
        last = {_what(record.dagster_run): record for record in self.runs}
        return {
            what: record.dagster_run
            for what, record in last.items()
            if record.dagster_run.is_failure_or_canceled and not self._was_made_good(record)
        }

    def _was_made_good(self, record: Any) -> bool:
        """Whether a later run, of other assets too, made all that this one was to make."""
        made = {each.version.asset: each.version.when for each in self.every}
        wanted = [key.to_user_string() for key in record.dagster_run.asset_selection or ()]
        return bool(wanted) and all(made.get(asset, 0.0) > (record.end_time or 0.0) for asset in wanted)

    @property
    def state(self) -> str:
        """Whether it came to its end."""
        if any(not record.dagster_run.is_finished for record in self.runs):
            return RUNNING
        if not self.unsuccessful:
            return DONE
        return FAILED if any(run.is_failure for run in self.unsuccessful.values()) else INTERRUPTED

    @property
    def by(self) -> str:
        """Who or what began it."""
        return started_by(self.runs[0].dagster_run)

    @property
    def why(self) -> str:
        """What had changed: the reasons of all that was not made because of something else that it made."""
        own = {made.version.md5 for made in self.every}
        roots = {
            name: str(made.version.metadata.get(WHY) or "")
            for name, made in self.newest.items()
            if own.isdisjoint((made.version.metadata.get("inputs") or {}).values())
        }
        by_reason: dict[str, list[str]] = {}
        for name, why in roots.items():
            by_reason.setdefault(why, []).append(name)
        told = [f"{why} ({a_few(names, FEW)})" for why, names in by_reason.items() if why]
        tags = self.runs[0].dagster_run.tags
        changed = tags.get("likeness/changed")
        return a_few(told, FEW, "; ") or tags.get(WHY_TAG) or (f"{changed} changed" if changed else "")

    @property
    def cost(self) -> Cost | None:
        """Of all that it made; None where nothing was measured."""
        costs = [made.cost for made in self.every if made.cost]
        return Cost.total(costs) if costs else None

    @property
    def models(self) -> list[dict[str, Any]]:
        """The registered versions that it came to, and what the gate said of each."""
        return [_model(made.version.metadata) for made in self.newest.values() if made.version.asset == MODEL]

    def document(self) -> dict[str, Any]:
        """What `--json` prints of it in the list."""
        return {
            "id": self.id,
            "began": as_text(self.began),
            "ended": as_text(self.ended) if self.ended else None,
            "by": self.by,
            "why": self.why,
            "characters": self.characters,
            "state": self.state,
            "failed": list(self.unsuccessful),
            "made": self.made,
            "reused": self.reused,
            "kept": self.kept,
            "seconds": round(self.seconds, 1),
            "cost": self.cost.figures("") if self.cost else None,
            "models": self.models,
            "dagster_runs": [record.dagster_run.run_id for record in self.runs],
        }


def find_all(project: Project, newest: int | None = None) -> list[Retraining]:
    """Retrainings, newest first; all, or so many."""
    tags = dict(project.instance.get_run_tags([RETRAINING_TAG]))
    ids = sorted(tags.get(RETRAINING_TAG, ()), reverse=True)
    return [read(project, each) for each in ids[:newest]]


def find(project: Project, word: str) -> Retraining:
    """The one whose id begins so, or `last`. Raises UnknownRetraining."""
    ids = sorted(dict(project.instance.get_run_tags([RETRAINING_TAG])).get(RETRAINING_TAG, ()))
    fitting = ids[-1:] if word == LAST else [each for each in ids if each.startswith(word)]
    if len(fitting) == 1:
        return read(project, fitting[0])
    if not ids:
        raise UnknownRetraining("no retraining is recorded yet: `likeness run` is one")
    if not fitting:
        raise UnknownRetraining(f"no retraining is called {word}: `likeness retrainings` lists them")
    raise UnknownRetraining(f"{len(fitting)} retrainings begin with {word}: {a_few(fitting, 5)}; give more of it")


def read(project: Project, retraining: str) -> Retraining:
    """What is recorded of one."""
    wanted = dg.RunsFilter(tags={RETRAINING_TAG: retraining})
    runs = list(project.instance.get_run_records(wanted, ascending=True))
    index = VersionIndex(project.instance)
    own = [ref for ref in index.of_runs([record.dagster_run.run_id for record in runs]) if _is_asset(project, ref)]
    every = [Made(ref, version) for ref in own[::-1] for version in index.versions([ref])]
    names = characters_of([record.dagster_run for record in runs], [made.version for made in every])
    return Retraining(retraining, runs, every, list(_known(project, names)))


def characters_of(runs: Sequence[dg.DagsterRun], versions: Sequence[Version]) -> list[str]:
    """Whom runs were for: what a `likeness run` says, and the partitions of what was made."""
    named = {run.tags.get(CHARACTER_TAG) or run.tags.get("dagster/partition") for run in runs}
    return sorted(str(name) for name in {*named, *(version.character for version in versions)} if name)


def _known(project: Project, characters: Sequence[str]) -> dict[str, None]:
    """Names of the assets that these characters have; without a character, those that all share."""
    refs = [AssetRef.of(stage, name) for stage in project.graph.stages.values() for name in characters or [None]]
    ours = [ref for ref in dict.fromkeys(refs) if ref.character or not ref.stage.by_character]
    return {str(ref): None for ref in ours if project.latest_of(ref)}


def _is_asset(project: Project, ref: VersionRef) -> bool:
    return ref.asset in project.graph.stages and ref.asset not in SOURCES


def _what(run: dg.DagsterRun) -> str:
    """What a run was to make, in words."""
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or run.job_name
    return title(assets, run.tags.get("dagster/partition"))


def started_by(run: dg.DagsterRun) -> str:
    """Who or what launched a run."""
    tags, person = run.tags, run.tags.get("user")
    if is_of_command(run):
        return f"likeness run by {person}" if person else "likeness run"
    if backfill := tags.get(BACKFILL_ID_TAG):
        return f"backfill {backfill}"
    if person:
        return f"Dagster, by {person}"
    if schedule := tags.get("dagster/schedule_name"):
        return f"schedule {schedule}"
    if sensor := tags.get("dagster/sensor_name"):
        return "automation" if sensor == AUTOMATION_SENSOR else f"sensor {sensor}"
    return "Dagster, by hand"


def _model(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A registered version: whether it was new, and the gate's result."""
    refusals, in_production = list(metadata.get("refused_because") or ()), bool(metadata.get("in_production"))
    passed = "in production" if in_production else "passed, and waits to be promoted"
    return {
        "model": metadata.get("model"),
        "version": metadata.get("version"),
        "new": bool(metadata.get("new_version", True)),
        "gate": f"refused: {'; '.join(refusals)}" if refusals else passed,
        "in_production": in_production,
        "refused_because": refusals,
    }
