"""`likeness run --dry-run`: what a run would make and why, what it would take over, and what that cost the last time.

It asks the questions of the run itself (orchestration/pipeline/runner.py) in the same order, and makes and records
nothing. What comes of an asset that has to be made is not known before, so what follows from it can only be said to
depend on it: where it comes out as it was, or where nobody reads what changed of it, nothing follows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from engine.files import write_whole
from engine.schema import SCHEMA_FILE, Schema, SchemaError
from engine.words import a_few
from orchestration.checks import results
from orchestration.checks.staleness import Staleness
from orchestration.config.catalog import Stage
from orchestration.config.profiles import resolve
from orchestration.config.settings import Settings
from orchestration.pipeline import reasons, run_cache
from orchestration.pipeline.definitions import build
from orchestration.pipeline.runner import chosen_stages, sources_of, why_gone
from orchestration.promotion import comparison
from orchestration.registry.aliases import AliasStore
from orchestration.storage.costs import Cost
from orchestration.storage.project import AssetRef, Project, SourceMissing, is_source, title
from orchestration.storage.staged_output import pointed_md5
from orchestration.storage.store import RemoteDown, StoreError
from orchestration.storage.versions import Version

NOTHING, TAKE_OVER, MAKE, DEPENDS, STOP, NOT_REACHED = "nothing", "take over", "make", "depends", "stop", "not reached"
"""What would become of an asset. `stop`: the run ends there with an error."""
WORD_FIELDS = ("label", "labels", "parts", "part", "ends")
"""Of a schema, fields that only people read."""
SHOWN = 3
"""Names of files, or keys of a configuration, in a reason."""


@dataclass(frozen=True)
class Source:
    """A folder of people's, as it is now beside what was recorded last."""

    name: str
    changed: bool
    why: str


@dataclass(frozen=True)
class Step:
    """What would become of one asset."""

    asset: str
    action: str
    why: str
    cost: Cost | None = None
    """Of making it the last time, where it may be made now and was measured then."""
    seconds: float | None = None
    """By the clock, which versions of before have too."""


@dataclass
class Plan:
    """What one `likeness run` would do."""

    sources: list[Source] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def cost(self, *actions: str) -> Cost:
        """What the steps with these actions cost the last time."""
        return Cost.total(step.cost for step in self.steps if step.cost and step.action in actions)

    def not_measured(self) -> list[str]:
        """Assets that may be made and of which nobody knows what that costs."""
        return [step.asset for step in self.steps if step.action in (MAKE, DEPENDS) and not step.cost]

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "sources": [asdict(source) for source in self.sources],
            "assets": [asdict(step) for step in self.steps],
            "cost": {
                "at_least": self.cost(MAKE).figures(""),
                "at_most": self.cost(MAKE, DEPENDS).figures(""),
                "not_measured": self.not_measured(),
            },
        }


def plan(
    settings: Settings,
    instance: dg.DagsterInstance,
    stages: Sequence[Stage],
    character: str,
    only: str | None = None,
    force: bool = False,
) -> Plan:
    """What `runner.run` would do with these arguments. Raises LikenessError for an asset that there is not;
    ProfileError, RegistryError, RemoteDown.
    """
    chosen = chosen_stages(settings, stages, only)
    planner = _Planner(Project.of(settings, instance, stages), stages, character, force)
    planner.look_at_sources()
    for stage in chosen:
        planner.decide(stage)
    return planner.plan


class _Planner:
    """Goes through the assets, parents first, with the version that each would have by then."""

    def __init__(self, project: Project, stages: Sequence[Stage], character: str, force: bool) -> None:
        self.project, self.stages, self.character, self.force = project, stages, character, force
        self.staleness = Staleness.of(project.instance, build(project.settings, stages))
        self.configs = resolve(project.settings.profile, stages)
        self.plan = Plan()
        self.versions: dict[tuple[str, str | None], Version | None] = {}
        """By input and character; None: not known before it is made."""
        self.words: dict[str, str] = {}
        """What changed of a character, by its md5 now, where only words for people did."""
        self.ended = False

    # --- sources

    def look_at_sources(self) -> None:
        """Compare each source with what was recorded of it."""
        with self.project.store.opened():
            for name, character in dict.fromkeys(sources_of(self.project.graph, self.stages, self.character)):
                seen = self.project.latest(name, character)
                now, why = self._source(name, character, seen)
                self.versions[name, character] = now
                changed = (seen and seen.md5) != (now and now.md5) or now is None
                self.plan.sources.append(Source(title(name, character), changed, why))

    def _source(self, name: str, character: str | None, seen: Version | None) -> tuple[Version | None, str]:
        if self.project.settings.sources == "remote":
            return seen, "as it was recorded; this machine's folders do not count"
        try:
            folder = self.project.source_folder(name, character)
        except SourceMissing as error:
            return None, str(error)
        md5 = self.project.store.version(folder, seen.md5 if seen else None)
        if seen is None:
            return Version(name, character, md5), "never seen before"
        return Version(name, character, md5), "as it was" if md5 == seen.md5 else self._difference(
            folder, seen.md5, md5
        )

    def _difference(self, folder: Path, recorded: str, md5: str) -> str:
        """Which files are others than those of a recorded version."""
        try:
            before = self.project.store.listing(recorded)
        except (StoreError, RemoteDown):
            return "changed; what it was is not to be had any more"
        now = self.project.store.files(folder)
        new, gone = sorted(now.keys() - before.keys()), sorted(before.keys() - now.keys())
        changed = sorted(name for name in now.keys() & before.keys() if now[name] != before[name])
        told = [
            f"{a_few(names, SHOWN)} {what}"
            for names, what in ((new, "new"), (changed, "changed"), (gone, "gone"))
            if names
        ]
        words = self._words(folder, before[SCHEMA_FILE]) if [*new, *gone, *changed] == [SCHEMA_FILE] and changed else ""
        if words:
            self.words[md5] = f"{words} in {SCHEMA_FILE} changed: words only"
        return "; ".join(told) + (f": words only ({words})" if words else "")

    def _words(self, folder: Path, recorded: str) -> str:
        """Which words two schemas differ in, "" where they differ in more than what people read."""
        with tempfile.TemporaryDirectory() as scratch:
            write_whole(Path(scratch) / SCHEMA_FILE, self.project.store.file(recorded).read_bytes())
            try:
                now, then = Schema.load(folder), Schema.load(Path(scratch))
            except SchemaError:
                return ""
        if now.without_words() != then.without_words():
            return ""
        names = dict.fromkeys(_differing(then.model_dump(mode="json"), now.model_dump(mode="json")))
        return a_few(list(names), SHOWN) or "comments"

    # --- assets

    def decide(self, stage: Stage) -> None:
        """Add what would become of a stage's asset, and note which version it would have then."""
        ref = AssetRef.of(stage, self.character)
        action, why, version = (NOT_REACHED, "the run ends before it", None) if self.ended else self._decided(ref)
        latest = self.project.latest_of(ref) if action in (MAKE, DEPENDS) else None
        last = latest.metadata if latest else {}
        cost = Cost.of(last)
        self.plan.steps.append(Step(str(ref), action, why, cost, cost.seconds if cost else last.get("seconds")))
        self.versions[ref.name, ref.character] = version
        self.ended = self.ended or action == STOP

    def _decided(self, ref: AssetRef) -> tuple[str, str, Version | None]:
        """Action, reason, and the version that it would have then."""
        if self.force:
            return MAKE, "--force", None
        latest, inputs = self.project.latest_of(ref), self._inputs(ref)
        known = {name: version for name, version in inputs.items() if version is not None}
        waiting = [name for name in inputs if name not in known]
        if absent := [name for name in waiting if not self._is_planned(name, ref)]:
            return STOP, f"{', '.join(absent)} is missing, or was never made", None
        if latest is None:
            return self._stale(ref, ["never made"], known, waiting)
        if code := list(reasons.code_changes(ref.stage, self.configs[ref.name], latest)):
            return self._stale(ref, code, known, waiting)
        changed = reasons.changed_inputs(latest, known)
        told = reasons.in_words(changed)
        if waiting and not _reads_only_parts(ref.stage, changed):
            return self._stale(ref, told, known, waiting)
        if waiting:
            same = f"nothing to do where what it reads of {'it' if len(waiting) == 1 else 'them'} comes out the same"
            return DEPENDS, "; ".join([*told, f"{', '.join(waiting)} first: {same}"]), None
        told = told or self._stale_for_dagster(ref)
        return self._stale(ref, told, known, []) if told else self._fresh(ref, latest)

    def _stale(
        self, ref: AssetRef, told: Sequence[str], inputs: Mapping[str, Version], waiting: Sequence[str]
    ) -> tuple[str, str, Version | None]:
        """What has to be made, unless its result is known."""
        why = "; ".join(told)
        if waiting:
            return MAKE, f"{why}; {', '.join(waiting)} first", None
        version, whence = self._taken_over(ref, inputs)
        if version is None:
            return MAKE, why, None
        words = self.words.get(inputs["character"].md5) if told == reasons.in_words(["character"]) else None
        return TAKE_OVER, f"{words}, nothing to do" if words else whence, version

    def _stale_for_dagster(self, ref: AssetRef) -> list[str]:
        """Whatever else Dagster knows, such as an input that was made again since."""
        why = self.staleness.stale(dg.AssetKey(ref.name), ref.character)
        return [why] if why else []

    def _fresh(self, ref: AssetRef, latest: Version | None) -> tuple[str, str, Version | None]:
        """Nothing that it is made of changed: it may still be gone, or barred by a check."""
        if gone := why_gone(self.project, ref):
            return MAKE, gone, None
        if failed := [result for result in results.newest(self.project, ref) if result.blocks]:
            return STOP, f"{failed[0]}", latest
        return NOTHING, "up to date", latest

    def _inputs(self, ref: AssetRef) -> dict[str, Version | None]:
        """The version of each input by then: the planned one, or the newest where nothing was planned for it."""
        found: dict[str, Version | None] = {}
        for name in ref.stage.code.INPUTS:
            key = name, self._character_of(name, ref)
            found[name] = self.versions[key] if key in self.versions else self.project.latest(name, ref.character)
        return found

    def _character_of(self, name: str, ref: AssetRef) -> str | None:
        if name == "character":
            return ref.character or "embedded"
        origin = self.project.graph.stages.get(name)
        return ref.character if origin and origin.by_character else None

    def _is_planned(self, name: str, ref: AssetRef) -> bool:
        """Whether an input whose version is not known will be there all the same."""
        return not is_source(name) and (name, self._character_of(name, ref)) in self.versions

    def _taken_over(self, ref: AssetRef, inputs: Mapping[str, Version]) -> tuple[Version | None, str]:
        """The result that is known for just what it reads of these inputs, and why it stands for them too."""
        if ref.name == comparison.ASSET:  # registers anew, and knows by itself what it registered before
            return None, ""
        project, read = self.project, {**inputs, **self._compared(ref, inputs)}
        try:
            key = run_cache.key_of(ref.stage, self.configs[ref.name], ref.character, read, self._folder)
        except StoreError:  # an input is gone: nobody can tell what would be read of it
            return None, ""
        if (found := run_cache.noted(project.instance, project.store, ref.stage, key)) is None:
            return None, ""
        return Version(ref.name, ref.character, found.md5), run_cache.told(found.reused(read))

    def _compared(self, ref: AssetRef, inputs: Mapping[str, Version]) -> dict[str, Version]:
        """The version in production, for a stage that compares with it."""
        if not ref.stage.compares or ref.character is None:
            return {}
        aliases = AliasStore.of(self.project.settings, ref.character)
        md5s = {name: version.md5 for name, version in inputs.items()}
        try:
            found = comparison.production_version(aliases, self.project.store, ref.character, md5s)
        except StoreError:
            return {}
        return {comparison.PRODUCTION: found} if found else {}

    def _folder(self, name: str, version: Version) -> Path:
        """A folder with this version: where it lies, if it lies there, else the store's."""
        if is_source(name) and self.versions.get((name, version.character)) == version:
            return self.project.source_folder(name, version.character)
        own = self.project.store.folder(name, version.character)
        return own if own.is_dir() and pointed_md5(own) == version.md5 else self.project.fetch(name, version)


def _differing(before: Any, after: Any, name: str = "") -> Iterator[str]:
    """Names of the words that differ in two documents of one structure."""
    if isinstance(before, Mapping) and isinstance(after, Mapping) and name not in WORD_FIELDS:
        for key in {**before, **after}:
            yield from _differing(before.get(key), after.get(key), key)
    elif isinstance(before, list) and isinstance(after, list) and name not in WORD_FIELDS:
        for one, other in zip(before, after, strict=False):
            yield from _differing(one, other, name)
    elif before != after:
        yield name


def _reads_only_parts(stage: Stage, names: Sequence[str]) -> bool:
    """Whether a change of each of these inputs may be one of what the stage does not read."""
    return set(names) <= getattr(stage.code, "READS", {}).keys()
