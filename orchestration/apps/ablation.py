"""`likeness ablate`: one variant of the method after another, from what the last `likeness run` left.

A variant is what it changes in the profile's configurations. Changed stages and all that follow from them are made
again, the rest is reused by md5. What is made lies in `.likeness/ablations/<key>/<stage>/`, where the key is that of
code, configuration and inputs: what was made once is found again, an interrupted training goes on from its checkpoint,
and two variants share what they have in common. Nothing is registered, and neither artifacts/ nor Dagster's records
change.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from pydantic import BaseModel, ValidationError

from engine.errors import LikenessError
from orchestration.checks.staleness import why_not_fresh
from orchestration.config.catalog import Stage, inputs_of
from orchestration.config.files import write_whole
from orchestration.config.garbage import collect_as_usual
from orchestration.config.profiles import config_hash, flatten, merged, problems, resolve
from orchestration.config.progress import Progress, duration
from orchestration.config.settings import Settings
from orchestration.pipeline.definitions import build
from orchestration.pipeline.materialize import call, log_outcome, stage_context
from orchestration.pipeline.runner import StageFailed
from orchestration.promotion.scorecards import scores
from orchestration.storage import versions
from orchestration.storage.instance import only_runner
from orchestration.storage.project import AssetRef, Project
from orchestration.storage.staged_output import replace_folder
from orchestration.storage.tracking import Tracking
from stages.evaluation import ablation

VARIANTS = Path(__file__).with_name("ablations.yaml")
EXPERIMENT = "likeness-ablations"
FULL, SCORECARD, ENCODER = "full", "scorecard", "encoder"
RECORD = "made.json"
"""Beside the folder of a finished stage; without it the stage is not finished."""


class AblationError(LikenessError):
    """The variants cannot be run as they are described, or there is nothing to start from."""


class Variant(BaseModel, frozen=True, extra="forbid"):
    """One entry of ablations.yaml."""

    about: str
    changes: dict[str, dict[str, Any]] = {}
    scores: dict[str, str] = {}
    slow: bool = False


class Variants(BaseModel, frozen=True, extra="forbid"):
    """A file of variants."""

    scorecard: dict[str, Any] = {}
    variants: dict[str, Variant]


@dataclass(frozen=True)
class Made:
    """An input as a stage reads it: a source, an artifact, or what a variant made."""

    folder: Path
    digest: str
    seconds: float | None = None
    new: bool = False
    """Was it made just now?"""


@dataclass
class AblationResult:
    """What one `likeness ablate` did."""

    rows: list[ablation.VariantRow] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    """`<variant>/<stage>` of what was made just now."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Variants that were not run, and why."""
    failed: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, dict[str, Path]] = field(default_factory=dict)
    """What each variant's scorecard read, by stage."""
    scorecards: dict[str, Path] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def reference(self) -> ablation.VariantRow | None:
        """The row of `full`, with which the others are compared; None where it failed."""
        return next((row for row in self.rows if row.name == FULL), None)


def read_variants(path: Path = VARIANTS) -> Variants:
    """A file of variants. Raises AblationError."""
    try:
        found = Variants.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise AblationError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValidationError) as error:
        raise AblationError(f"{path} has not the form of {VARIANTS.name}: {_one_line(error)}") from error
    if FULL not in found.variants:
        raise AblationError(f"{path} has no variant `{FULL}`, with which the others are compared")
    return found


def choose(found: Variants, names: Sequence[str]) -> dict[str, Variant]:
    """The variants with these names, or all but the slow ones; `full` always, and first. Raises AblationError."""
    if unknown := [name for name in names if name not in found.variants]:
        raise AblationError(f"no variant is called {', '.join(unknown)}; variants: {', '.join(found.variants)}")
    wanted = set(names) or {name for name, variant in found.variants.items() if not variant.slow}
    order = [FULL, *(name for name in found.variants if name in wanted and name != FULL)]
    return {name: found.variants[name] for name in order}


def configure(
    name: str, changes: Mapping[str, Mapping[str, Any]], base: Mapping[str, BaseModel], stages: Sequence[Stage]
) -> dict[str, BaseModel]:
    """Every stage's configuration under a variant. Raises AblationError."""
    known = [stage.name for stage in stages]
    if unknown := sorted(set(changes) - set(known)):
        raise AblationError(f"variant {name}: no stage is called {', '.join(unknown)}; stages: {', '.join(known)}")
    configs = {}
    for stage in stages:
        values = merged(base[stage.name].model_dump(mode="json"), changes.get(stage.name, {}))
        try:
            configs[stage.name] = stage.code.Config(**values)
        except ValidationError as error:
            raise AblationError(f"variant {name}, stage {stage.name}: {_one_line(error)}") from error
    return configs


def made_again(stages: Sequence[Stage], base: Mapping[str, BaseModel], configs: Mapping[str, BaseModel]) -> list[Stage]:
    """The stages, in order, whose configuration differs or that read something made by such a stage."""
    again: dict[str, Stage] = {}
    for stage in stages:
        if configs[stage.name] != base[stage.name] or again.keys() & set(inputs_of(stage, configs[stage.name])):
            again[stage.name] = stage
    return list(again.values())


def ablate(
    settings: Settings,
    instance: dg.DagsterInstance,
    stages: Sequence[Stage],
    progress: Progress,
    character: str,
    names: Sequence[str] = (),
    path: Path = VARIANTS,
) -> AblationResult:
    """Run the named variants, or all that are not slow, and score each by the stage `scorecard`.

    A variant that fails is reported and the others go on. Raises AblationError, AlreadyRunning, ProfileError or
    SourceMissing.
    """
    began, found = time.monotonic(), read_variants(path)
    base, graph = resolve(settings.profile, stages), up_to_scorecard(stages)
    changes = {name: merged({SCORECARD: found.scorecard}, v.changes) for name, v in choose(found, names).items()}
    configs = {name: configure(name, change, base, graph) for name, change in changes.items()}
    runner = _VariantRunner(settings, instance, stages, graph, progress, character, base)
    result = AblationResult()
    with only_runner(settings, instance):
        runner.require_fresh()
        collect_as_usual()
        for number, name in enumerate(configs, 1):
            label = f"[{number}/{len(configs)}] {name}"
            _run(runner, name, found.variants[name], configs[name], label, result)
    result.seconds = time.monotonic() - began
    return result


def up_to_scorecard(stages: Sequence[Stage]) -> list[Stage]:
    """The stages without what comes after the scorecard."""
    names = [stage.name for stage in stages]
    return list(stages[: names.index(SCORECARD) + 1])


def _run(
    runner: _VariantRunner,
    name: str,
    variant: Variant,
    configs: Mapping[str, BaseModel],
    label: str,
    result: AblationResult,
) -> None:
    """One variant's row; why there is none, otherwise."""
    if variant.scores:
        if card := result.scorecards.get(FULL):
            result.rows.append(ablation.row_of(name, variant.about, _scores_of(card), read_from=variant.scores))
        else:
            result.left_out[name] = f"it is read from the scorecard of {FULL}, which failed"
        return
    again = [stage for stage in made_again(runner.stages, runner.base, configs) if stage.name != SCORECARD]
    if not again and name != FULL:
        result.left_out[name] = f"changes nothing under profile {runner.settings.profile}"
        return
    try:
        made = runner.make(name, [*again, runner.stages[-1]], configs, label)
    except StageFailed as error:  # a finding about this variant; the others still say something
        result.failed[name] = str(error)
        runner.progress.end(f"{label}  failed")
        return
    trained = [made[stage.name].seconds for stage in again] or [made[ENCODER].seconds]
    seconds = None if None in trained else sum(value for value in trained if value is not None)
    result.made += [f"{name}/{stage}" for stage, thing in made.items() if thing.new]
    result.inputs[name] = {stage: thing.folder for stage, thing in made.items() if stage != SCORECARD}
    result.scorecards[name] = made[SCORECARD].folder
    result.rows.append(ablation.row_of(name, variant.about, _scores_of(made[SCORECARD].folder), seconds))


def _scores_of(scorecard: Path) -> dict[str, Mapping[str, Any]]:
    return dict(scores(json.loads((scorecard / "scorecard.json").read_text())))


class _VariantRunner:
    """Makes stages for one variant after another: what all variants have in common."""

    def __init__(
        self,
        settings: Settings,
        instance: dg.DagsterInstance,
        graph: Sequence[Stage],
        stages: Sequence[Stage],
        progress: Progress,
        character: str,
        base: Mapping[str, BaseModel],
    ) -> None:
        self.settings, self.instance, self.progress, self.character = settings, instance, progress, character
        self.graph, self.stages, self.base = graph, stages, base
        self.project = Project.of(settings, instance, graph)
        self.tracking = Tracking.of(settings, EXPERIMENT)
        self.known: dict[tuple[str, str | None], Made] = {}

    def require_fresh(self) -> None:
        """What is reused must be what the profile makes now, or the variants would not be comparable.

        Raises AblationError.
        """
        definitions = build(self.settings, self.graph)
        for stage in self.stages:
            ref = AssetRef.of(stage, self.character)
            if stage.name != SCORECARD and (why := why_not_fresh(definitions, self.instance, ref.name, ref.character)):
                raise AblationError(
                    f"{ref} is not what profile {self.settings.profile} makes ({why}): run "
                    f"`likeness run --profile {self.settings.profile} --character {self.character}` first"
                )

    def make(
        self, variant: str, stages: Iterable[Stage], configs: Mapping[str, BaseModel], label: str
    ) -> dict[str, Made]:
        """Make these stages in order; what was made and all that they read, by name."""
        made: dict[str, Made] = {}
        for stage in stages:
            names = inputs_of(stage, configs[stage.name])
            for name in names:
                if name not in made:
                    made[name] = self.left_by_the_last_run(name, AssetRef.of(stage, self.character).character)
            inputs = {name: made[name] for name in names}
            made[stage.name] = self.make_stage(variant, stage, configs[stage.name], inputs, label)
        return made

    def left_by_the_last_run(self, name: str, character: str | None) -> Made:
        """A source or an artifact, fetched once. Raises AblationError."""
        if (name, character) not in self.known:
            version = self.project.latest(name, character)
            if version is None:
                raise AblationError(f"{name} was never made: run `likeness run` first")
            folder = self.project.fetch(name, version)
            self.known[name, character] = Made(folder, version.md5, version.metadata.get("seconds"))
        return self.known[name, character]

    def make_stage(self, variant: str, stage: Stage, config: BaseModel, inputs: Mapping[str, Made], label: str) -> Made:
        """One stage of a variant; found again where it was made before. Raises StageFailed."""
        key = key_of(stage, config, inputs)
        home = self.settings.home / "ablations" / key
        folder, record, checkpoints = home / stage.name, home / RECORD, home / "checkpoints"
        if record.is_file() and folder.is_dir():
            return Made(folder, key, json.loads(record.read_text())["seconds"])
        interrupted = checkpoints.is_dir() and any(path.is_file() for path in checkpoints.rglob("*"))
        checkpoints.mkdir(parents=True, exist_ok=True)
        partial = home / f".{stage.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        shown = f"{label}: {AssetRef.of(stage, self.character)}"
        self.progress.stage(shown)
        began = time.monotonic()
        try:
            with self.tracking.run(f"{variant}: {stage.name}", self.tags(variant, stage, key)) as run:
                run.params(flatten(config.model_dump(mode="json")))
                run.inputs({name: made.digest for name, made in inputs.items()})
                context = stage_context(self.settings, stage, checkpoints, run, self.progress)
                metrics = call(stage, {name: made.folder for name, made in inputs.items()}, config, partial, context)
                seconds = time.monotonic() - began
                log_outcome(run, partial, metrics)
        except Exception as error:
            details = home / "error.txt"
            details.write_text(traceback.format_exc())
            raise StageFailed(f"{stage.name} failed: {_one_line(error)} (details: {details})") from error
        replace_folder(partial, folder)
        known = None if interrupted else round(seconds, 1)
        write_whole(record, json.dumps({"stage": stage.name, "seconds": known}) + "\n")
        shutil.rmtree(checkpoints, ignore_errors=True)
        self.progress.end(f"{shown}  done in {duration(seconds)}")
        return Made(folder, key, known, new=True)

    def tags(self, variant: str, stage: Stage, key: str) -> dict[str, str]:
        return {
            "ablation": variant,
            "asset": stage.name,
            "character": self.character,
            "profile": self.settings.profile,
            "output.key": key,
            "git.commit": versions.git_commit(),
        }


def key_of(stage: Stage, config: BaseModel, inputs: Mapping[str, Made]) -> str:
    """The same for the same code version, configuration and inputs."""
    parts = [stage.name, stage.code.VERSION, config_hash(config), {name: made.digest for name, made in inputs.items()}]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return problems(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def write_tables(
    result: AblationResult, settings: Settings, character: str, out: Path, progress: Callable[..., Any]
) -> None:
    """`ablations.md` and, where a variant was scored, the contact sheet `ablations.png`."""
    from stages.context import Context
    from stages.data.pictures import write_picture

    out.mkdir(parents=True, exist_ok=True)
    reference = result.reference
    rows = [*(ablation.limits(reference) if reference else []), *result.rows]
    heading = f"Ablations: {character}, profile {Path(settings.profile).stem}"
    write_whole(out / "ablations.md", ablation.markdown(rows, reference, heading))
    if result.inputs:
        context = Context(device=settings.pick_device(), on_progress=progress)
        write_picture(out / "ablations.png", ablation.contact_sheet(result.inputs, context))
