"""`likeness retrainings`: what each retraining was, and what it changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.words import a_few
from orchestration.cli.terminal import (
    AsJson,
    get_settings,
    libraries_into_log,
    one_line_errors,
    print_json,
    progress_bar,
    screen,
    wide_screen,
)
from orchestration.config.progress import duration

if TYPE_CHECKING:
    from rich.table import Table

    from orchestration.config.settings import Settings
    from orchestration.lineage.retraining_diff import AssetDiff, FileChanges, RetrainingDiff
    from orchestration.lineage.retrainings import Retraining

COLOURS = {"failed": "red", "interrupted": "yellow", "running": "cyan"}
PAGES = {"dagster": "Dagster", "mlflow": "MLflow"}
FEW = 4
"""Names of files, or changed keys, in a line."""
FOR_LINES: dict[str, Any] = {"highlight": False, "soft_wrap": True}


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(retrainings)


@one_line_errors
def retrainings(
    retraining: Annotated[
        str, typer.Argument(metavar="[ID]", help="One of them, by the beginning of its id, or `last`.")
    ] = "",
    newest: Annotated[int, typer.Option("--newest", min=1, help="How many are listed.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Every **retraining**, newest first: who or what began it and why, what it made and kept, how it ended, how long
    it took, what it **cost**, which version it registered and what the gate said.

    With ID **what it changed**: rows and files, configuration, code, metrics before and after, and what the versions
    before had cost. A retraining is one `likeness run`, or all that the daemon made because of one change.
    """
    from orchestration.lineage import retraining_diff
    from orchestration.lineage import retrainings as reading
    from orchestration.pipeline.production_encoder import PIPELINE
    from orchestration.storage.instance import open_instance
    from orchestration.storage.project import Project
    from orchestration.storage.version_index import VersionIndex

    settings = get_settings(or_registered=True)
    with libraries_into_log(settings), open_instance(settings) as instance, progress_bar() as progress:
        project = Project.of(settings, instance, PIPELINE)
        if not retraining:
            _list(reading.find_all(project, newest), as_json)
            return
        progress.stage("what it changed")
        found = reading.find(project, retraining)
        diff = retraining_diff.diff(found, VersionIndex(instance), project.store, progress.step)
    links = _links(settings, found.id)
    if as_json:
        print_json({**found.document(), "links": links, "diff": diff.document()})
    else:
        _show(found, diff, links)


def _list(found: Sequence[Retraining], as_json: bool) -> None:
    if as_json:
        print_json([each.document() for each in found])
        return
    if not found:
        screen.print("none yet: `likeness run` is one", highlight=False)
        return
    from rich.table import Table

    shown = Table()
    for column in ("retraining", "by", "why", "made", "kept", "state", "took", "cost", "registered"):
        shown.add_column(column, no_wrap=column in ("retraining", "took", "state"))
    for each in found:
        cost = f"{duration(each.cost.cpu_seconds)} of a core, {each.cost.energy_wh:.3g} Wh" if each.cost else ""
        counts = f"{len(each.made)}" + (f" and {len(each.reused)} taken over" if each.reused else "")
        models = "; ".join(_model(model, in_short=True) for model in each.models)
        shown.add_row(
            each.id, each.by, each.why, counts, str(len(each.kept)), each.state, duration(each.seconds), cost, models,
            style=COLOURS.get(each.state, ""),
        )  # fmt: skip
    wide_screen(160).print(shown)


def _model(model: Mapping[str, Any], in_short: bool = False) -> str:
    gate = model["gate"].partition(":")[0] if in_short else model["gate"]
    again = "" if model["new"] else ", which was there"
    return f"{model['model']} {model['version']}{again}: {gate}"


def _links(settings: Settings, retraining: str) -> dict[str, str]:
    """Where its runs are looked at together."""
    from orchestration.config import addresses
    from orchestration.pipeline.retraining import runs_page
    from orchestration.registry.aliases import registry_errors
    from orchestration.registry.promotion_events import RegistryError
    from orchestration.storage.tracking import Tracking

    found = {"dagster": runs_page(addresses.dagster_page(settings), retraining)}
    with suppress(RegistryError), registry_errors(settings.tracking_uri):
        found["mlflow"] = Tracking.of(settings).search_page(retraining)
    return found


def _show(found: Retraining, diff: RetrainingDiff, links: Mapping[str, str]) -> None:
    began = datetime.fromtimestamp(found.began).strftime("%Y-%m-%d %H:%M:%S")
    screen.print(f"retraining {found.id}: {found.state}, {duration(found.seconds)} from {began} on", **FOR_LINES)
    screen.print(f"by {found.by}" + (f": {found.why}" if found.why else ""), **FOR_LINES)
    for what, run in found.unsuccessful.items():
        screen.print(f"{what} did not succeed: run {run.run_id[:8]}", style="red", **FOR_LINES)
    for word, names in (("made", found.made), ("taken from earlier runs", found.reused), ("kept", found.kept)):
        if names:
            screen.print(f"{word}: {', '.join(names)}", **FOR_LINES)
    for model in found.models:
        screen.print(_model(model), **FOR_LINES)
    for line in (*map(_source, diff.sources), *(line for asset in diff.assets for line in _changes(asset))):
        screen.print(line, **FOR_LINES)
    if diff.scores:
        wide_screen(120).print(_scores(diff))
    wide_screen(120).print(_costs(diff))
    if found.cost:
        screen.print(f"all that it made cost {found.cost}", **FOR_LINES)
    for where, url in links.items():
        screen.print(f"its runs in {PAGES[where]}: {url}", **FOR_LINES)


def _source(changes: FileChanges) -> str:
    if changes.unknown:
        return f"{changes.source}: another version than before; nobody can tell what changed: {changes.unknown}"
    told = [
        f"{len(names):,} {what} ({a_few(names, FEW)})"
        for what, names in (("new", changes.added), ("gone", changes.removed), ("changed", changes.changed))
        if names
    ]
    return f"{changes.source}, files: {'; '.join(told) or 'the same'}"


def _changes(asset: AssetDiff) -> Iterator[str]:
    """What is other than before, a line each."""
    if asset.before is None:
        yield f"{asset.asset}: never made before"
        return
    if asset.before == asset.after:
        yield f"{asset.asset}: the same bytes as before"
    if asset.code:
        yield f"{asset.asset}, code: version {asset.code[0] or 'unknown'} → {asset.code[1]}"
    if asset.config:
        told = [f"{key} {before} → {after}" for key, (before, after) in asset.config.items()]
        yield f"{asset.asset}, configuration: {a_few(told, FEW)}"
    for table, rows in asset.rows.items():
        counts = (
            f"{rows.added:,} new, {rows.removed:,} gone, {rows.changed:,} changed, {rows.before:,} → {rows.after:,}"
        )
        yield f"{asset.asset}, rows of {table}: {counts}"
    if asset.rows_unknown:
        yield f"{asset.asset}, rows: {asset.rows_unknown}"
    if asset.metrics:
        told = [f"{name} {_number(before)} → {_number(after)}" for name, (before, after) in asset.metrics.items()]
        yield f"{asset.asset}, metrics: {a_few(told, 2 * FEW)}"


def _scores(diff: RetrainingDiff) -> Table:
    from rich.table import Table

    shown = Table(title="Scores", title_justify="left")
    for column in ("score", "before", "95 %", "after", "95 %", "difference", "95 %"):
        shown.add_column(column, justify="left" if column == "score" else "right", no_wrap=True)
    for score in diff.scores:
        apart = score.difference or {}
        shown.add_row(
            score.path, _number(score.before), _interval(score.before_ci), _number(score.after),
            _interval(score.after_ci), _number(apart.get("value")) if apart else "", _interval(apart.get("ci")),
        )  # fmt: skip
    return shown


def _costs(diff: RetrainingDiff) -> Table:
    from rich.table import Table

    shown = Table(title="Cost", title_justify="left")
    for column in ("asset", "", "why", "before", "now"):
        shown.add_column(column)
    for asset in diff.assets:
        shown.add_row(asset.asset, asset.action, asset.why, *map(_cost, asset.cost))
    shown.add_row("all that was made", "", "", *map(_cost, diff.cost))
    return shown


def _cost(figures: Mapping[str, float] | None) -> str:
    return f"{duration(figures['cpu_seconds'])}, {figures['energy_wh']:.3g} Wh" if figures else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _interval(ends: Sequence[float] | None) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}" if ends else ""
