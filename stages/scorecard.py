"""Score an encoder on people who never trained: recovery, verification, likeness, appearance, imitator,
parsing, identity, robustness, groups of people, and the gradient search beside it.

Every score stands beside the same score of the average face (`baseline`), the best that could be reached (`bound`),
a 95 % interval from resampling people (`ci`) and the number of samples (`n`). `scorecard.json` holds what the same
inputs always give; what the clock says is only in the returned metrics. A score that a character cannot have is null
and says why (`reason`); one for which the imitator drew in the engine's place says so (`by`). `scorecard.html` shows
all of it to people.

With the input `production`, a packed encoder, that version is scored beside the candidate on the same people, and
`scorecard.json` has its scores and the differences under `production`, which is null otherwise.
"""

import json
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from engine.files import write_whole
from engine.processes import memory_released_after
from engine.schema import Schema
from stages.context import Context
from stages.data import source_files
from stages.evaluation import page, schema_mapping, search
from stages.evaluation.appearance import appearance
from stages.evaluation.context import EvaluationContext, ScorecardConfig
from stages.evaluation.groups import groups
from stages.evaluation.identity import identity
from stages.evaluation.imitator import imitator
from stages.evaluation.likeness import likeness
from stages.evaluation.parsing import parsing
from stages.evaluation.production import Unseen, beside, written
from stages.evaluation.recovery import recovery
from stages.evaluation.report import Report
from stages.evaluation.robustness import robustness
from stages.evaluation.scores import PRODUCTION, scores
from stages.evaluation.verification import verification

VERSION = "15"
Config = ScorecardConfig
INPUTS = (
    "embedded", "photos", "character", "aligned_faces", "identity_model", "parsing_model", "rendered_pairs",
    "imitator", "identity_imitator", "encoder",
)  # fmt: skip
SECTIONS = (recovery, verification, likeness, appearance, imitator, parsing, identity, robustness, groups)
"""In this order: `groups` is made from what the others leave in the report."""
COMPARED = (recovery, verification, likeness, appearance, imitator, parsing, identity)
"""What production is scored by as well."""


def run(inputs: Mapping[str, Path], config: ScorecardConfig, out: Path, context: Context) -> dict[str, float]:
    """Write `scorecard.json`, `scorecard.html` and pictures. Returns the main figures and the speed."""
    torch.set_grad_enabled(False)
    try:
        card, report, clock = _measured(inputs, config, out, context)
    finally:
        torch.set_grad_enabled(True)
    card = written(card)
    write_whole(out / "scorecard.html", page.html(card, report).encode())
    write_whole(out / "scorecard.json", (json.dumps(card, indent=1) + "\n").encode())
    return flat(card) | clock


def compare(
    inputs: Mapping[str, Path], config: ScorecardConfig, candidate: Path, production: Path, context: Context
) -> dict[str, Any]:
    """Two packed encoders on the same people: the candidate's sections, and production's beside it as in `run`.

    Needs the inputs `embedded`, `character`, `aligned_faces` and `rendered_pairs`. Raises CannotDo when the candidate
    cannot be scored by what the stage asks for today.
    """
    torch.set_grad_enabled(False)
    try:
        context.progress("compare: loading", 0, len(COMPARED) + 2)
        schema = Schema.load(inputs["character"])
        networks = schema_mapping.networks(candidate, schema, context.device)
        own = {**inputs, "identity_model": candidate / "model" / "identity_model"}
        evaluation, report = EvaluationContext.load(own, config, context, networks), Unseen(Path())
        card: dict[str, Any] = {}
        for number, section in enumerate(COMPARED, 1):
            context.progress(f"compare: {section.__name__}", number, len(COMPARED) + 2)
            card[section.__name__] = section(evaluation, report)
        context.progress("compare: the version in production", len(COMPARED) + 1, len(COMPARED) + 2)
        return written(card | {PRODUCTION: beside(evaluation, card, COMPARED, production)})
    finally:
        torch.set_grad_enabled(True)


def _measured(
    inputs: Mapping[str, Path], config: ScorecardConfig, out: Path, context: Context
) -> tuple[dict[str, Any], Report, dict[str, float]]:
    """All sections, and what the clock says; the seconds of each section go to the progress."""
    steps, began = len(SECTIONS) + 4, time.monotonic()
    context.progress("scorecard: loading", 0, steps)
    evaluation = EvaluationContext.load(inputs, config, context)
    card: dict[str, Any] = {}
    report = Report(out, evaluation.schema.label or evaluation.schema.name)

    def note(number: int, name: str) -> None:
        nonlocal began
        now = time.monotonic()
        context.progress(f"scorecard: {name}", number, steps, seconds=round(now - began, 2))
        began = now

    note(1, "loading")
    for number, section in enumerate(SECTIONS, start=2):
        with memory_released_after():  # pictures and maps of many people, which the next section has no use for
            card[section.__name__] = section(evaluation, report)
        note(number, section.__name__)
    card[PRODUCTION] = beside(evaluation, card, COMPARED, inputs[PRODUCTION]) if PRODUCTION in inputs else None
    clock = {"comparison_seconds": time.monotonic() - began}
    note(steps - 2, "the version in production")
    card["search"], seconds = search.compare(evaluation, out)
    clock |= {f"throughput.{name.replace('.', '_')}": value for name, value in seconds.items()}
    note(steps - 1, "search")
    clock["throughput.photos_per_second"] = throughput(evaluation)
    note(steps, "throughput")
    return card, report, clock


def flat(card: Mapping[str, Any]) -> dict[str, float]:
    """The values of the candidate's scores under dotted names."""
    return {path: float(score["value"]) for path, score in scores(card) if score["value"] is not None}


def throughput(evaluation: EvaluationContext) -> float:
    """Photos a second from the file's bytes to parameters: decoding, landmarks, alignment, embedding, encoder."""
    timed = evaluation.config.timed
    files = islice(source_files.counted(evaluation.inputs["photos"]), timed)
    photos = [path.read_bytes() for path in files] or evaluation.faces["image"].head(timed).tolist()
    photos = (photos * timed)[:timed]
    with evaluation.predictor() as predictor:
        predictor.predict_many(photos[:1])
        start = time.perf_counter()
        for photo in photos:
            predictor.predict_many([photo])  # one after the other; a photo without a face takes its time as well
        return len(photos) / (time.perf_counter() - start)
