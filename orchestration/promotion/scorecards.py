"""The last evaluation, candidate beside production, as `likeness scorecard` shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from rich import box
from rich.table import Table

from engine.errors import LikenessError
from orchestration.registry.promotion_events import PRODUCTION, RegistryError
from orchestration.registry.registered_models import Registry
from orchestration.storage import versions
from orchestration.storage.store import Store
from orchestration.storage.tracking import Tracking
from stages.evaluation.scores import DIFFERENCES, scores

THROUGHPUT = "throughput"
PAGE = "scorecard.html"


def complete(scores: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The stage's scorecard.json with what the materialisation's metadata say besides: the measured speed, which may
    not be in a tracked folder, and the md5 of the version it was compared with.
    """
    speeds = {
        name.removeprefix(THROUGHPUT).lstrip("._/") or "photos_per_second": {
            "value": float(value),
            "baseline": None,
            "bound": None,
            "ci": None,
            "n": None,
        }
        for name, value in metrics.items()
        if name.startswith(THROUGHPUT)
    }
    card = {**scores, THROUGHPUT: {**scores.get(THROUGHPUT, {}), **speeds}}
    if compared := card.get(PRODUCTION):
        card[PRODUCTION] = {"md5": (metrics.get("inputs") or {}).get(PRODUCTION), **compared}
    return card


def compare(instance: dg.DagsterInstance, store: Store, tracking: Tracking, character: str) -> dict[str, Any]:
    """The candidate's scores at the top level, production's under `production` (null where there is none).

    Where both were scored in one run, `production.differences` has candidate less production with intervals. Where the
    scorecard was made against no version, or against one that is not in production any more, production's figures are
    those of its own evaluation, if they are still there, and `production.note` says so. Raises LikenessError,
    RegistryError.
    """
    version = versions.latest(instance, "scorecard", character)
    if version is None:
        raise LikenessError(f"nothing was evaluated yet for {character}: run `likeness run`")
    folder = store.checkout("scorecard", version.md5, character)
    candidate = complete(json.loads((folder / "scorecard.json").read_text()), version.metadata)
    registry = Registry(tracking, character)
    state = registry.alias_store.state()
    if (current := state.production) is None:
        return {**candidate, PRODUCTION: None}
    md5 = state.tags[current].get("md5")
    compared = candidate.get(PRODUCTION) or {}
    if compared and compared.get("md5") == md5:
        return {**candidate, PRODUCTION: {**compared, "version": int(current)}}
    try:
        own = {name: section for name, section in registry.scorecard(current).items() if name != PRODUCTION}
        note = f"figures of version {current}'s own evaluation: it was not in production when this scorecard was made"
    except RegistryError as error:
        own, note = {}, str(error)
    return {**candidate, PRODUCTION: {**own, "md5": md5, "version": int(current), "note": note}}


def table(card: Mapping[str, Any], detailed: bool = False) -> Table:
    """Scores with intervals, baselines, bounds and production's, one a line; those of single sliders, classes, groups
    of people and strengths of degradation only when detailed."""
    shown = Table(title="Scorecard", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("score", no_wrap=True)
    production = card.get(PRODUCTION) or {}
    apart = production.get(DIFFERENCES, {})
    columns = ["candidate", "95 %", "baseline", "bound", "production"] + ["difference", "its 95 %"] * bool(apart)
    for column in columns:
        shown.add_column(column, justify="right", no_wrap=True)
    before, hidden = dict(scores(production)), 0
    for path, score in scores(card):
        if path.count(".") > 1 and not detailed:
            hidden += 1
            continue
        cells = (score["value"], score.get("baseline"), score.get("bound"), before.get(path, {}).get("value"))
        value, *others = ("–" if cell is None else f"{cell:.4g}" for cell in cells)
        difference = apart.get(path, {})
        if apart:
            others += [f"{difference['value']:+.3g}" if difference else "", _told(difference.get("ci"))]
        shown.add_row(path, value, _told(score.get("ci")), *others)
    reasons = dict.fromkeys(
        score["reason"] for path, score in scores(card) if "reason" in score and (detailed or path.count(".") < 2)
    )
    captions = [f"{hidden} more with `likeness scorecard --detailed`"] if hidden else []
    if production:
        captions.append(f"production: {production.get('note') or _same_run(production)}")
    shown.caption = "\n".join([*captions, *(f"– {reason}" for reason in reasons)])
    return shown


def _same_run(production: Mapping[str, Any]) -> str:
    return f"version {production['version']}, on the same people in the same run, by its own code"


def _told(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.3g} to {interval[1]:.3g}" if interval else ""


def page(store: Store, character: str) -> Path:
    """The last evaluation as a page for a browser; where it lies once `compare` has brought it."""
    return store.folder("scorecard", character) / PAGE
