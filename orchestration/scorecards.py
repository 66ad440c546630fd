"""The last evaluation, candidate beside production, as `likeness scorecard` shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from rich import box
from rich.table import Table

from orchestration import lineage
from orchestration.registry import PRODUCTION, Registry
from orchestration.store import Store
from orchestration.tracking import Tracking

THROUGHPUT = "throughput"
PAGE = "scorecard.html"


class NoScorecard(Exception):
    """Nothing was evaluated yet."""


def complete(scores: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The stage's scorecard.json with the measured speed, which may not be in a tracked folder."""
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
    return {**scores, THROUGHPUT: {**scores.get(THROUGHPUT, {}), **speeds}}


def compare(instance: dg.DagsterInstance, store: Store, tracking: Tracking, character: str) -> dict[str, Any]:
    """The candidate's scores at the top level, production's under `production` (null where there is none).

    Raises NoScorecard.
    """
    version = lineage.latest(instance, "scorecard", character)
    if version is None:
        raise NoScorecard(f"nothing was evaluated yet for {character}: run `likeness run`")
    folder = store.checkout("scorecard", version.md5, character)
    candidate = complete(json.loads((folder / "scorecard.json").read_text()), version.metadata)
    registry = Registry(tracking, character)
    current = registry.aliases().get(PRODUCTION)
    return {**candidate, "production": registry.scorecard(current) if current else None}


def scores(card: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every {"value", …} in the card with its dotted path."""
    for name, content in card.items():
        if not isinstance(content, Mapping) or name == "production":
            continue
        if "value" in content:
            yield f"{prefix}{name}", content
        else:
            yield from scores(content, f"{prefix}{name}.")


def table(card: Mapping[str, Any], detailed: bool = False) -> Table:
    """Scores with intervals, baselines, bounds and production's, one a line; those of single sliders, classes, groups
    of people and strengths of degradation only when detailed."""
    shown = Table(title="Scorecard", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("score", no_wrap=True)
    for column in ("candidate", "95 %", "baseline", "bound", "production"):
        shown.add_column(column, justify="right", no_wrap=True)
    before = dict(scores(card["production"])) if card.get("production") else {}
    hidden = 0
    for path, score in scores(card):
        if path.count(".") > 1 and not detailed:
            hidden += 1
            continue
        interval, production = score.get("ci"), before.get(path, {})
        cells = (score["value"], score.get("baseline"), score.get("bound"), production.get("value"))
        value, *others = ("–" if cell is None else f"{cell:.4g}" for cell in cells)
        shown.add_row(path, value, f"{interval[0]:.3g} to {interval[1]:.3g}" if interval else "", *others)
    reasons = dict.fromkeys(
        score["reason"] for path, score in scores(card) if "reason" in score and (detailed or path.count(".") < 2)
    )
    captions = [f"{hidden} more with `likeness scorecard --detailed`"] if hidden else []
    shown.caption = "\n".join([*captions, *(f"– {reason}" for reason in reasons)])
    return shown


def page(store: Store, character: str) -> Path:
    """The last evaluation as a page for a browser; where it lies once `compare` has brought it."""
    return store.folder("scorecard", character) / PAGE
