"""`likeness shadow`: how a version read players' photos beside the one in production."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.cli.terminal import (
    AsJson,
    Character,
    get_registry,
    get_settings,
    one_line_errors,
    print_json,
    print_note,
    screen,
    wide_screen,
)

if TYPE_CHECKING:
    from rich.table import Table

FIGURES = {
    "choices_differ": "choices that differ, share",
    "parameters_differ": "difference of the sliders, mean",
    "largest_difference": "difference of the sliders, largest",
    "similarity": "similarity of the two renders",
    "unread": "photos that the candidate could not read, share",
    "slower": "processor time, times production's",
}
GROUPS = 5
"""Of those that differ, so many are shown."""


def add_to(app: typer.Typer) -> None:
    """Add `shadow` to the command line."""
    app.command()(shadow)


@one_line_errors
def shadow(
    version: Annotated[str, typer.Argument(help="A version's number or alias: its comparisons alone.")] = "",
    character: Character = "",
    as_json: AsJson = False,
) -> None:
    """How a version read players' photos beside the one in production, **in its shadow** (`likeness serve --shadow
    candidate`): photos, means with 95 % intervals, quantiles.

    Nothing but these numbers is kept of a photo. Nobody knows the truth about photos of players, so the figures say how
    alike two versions answer; which one is better is the scorecard's to say. With `shadow: {photos: 200}` in the
    profile's `production_encoder`, the gate asks for them before a promotion.
    """
    from orchestration.promotion.shadow import reports

    registry = get_registry(get_settings(character=character, or_registered=True))
    number = int(registry.find(version).version) if version else None
    found = [each for each in reports(registry) if number in (None, each["candidate"])]
    if as_json:
        print_json(found)
        return
    for report in found:
        wide_screen(110).print(_table(registry.name, report))
        _print_groups(report)
    if not found:
        of = f" version {number}" if number else ""
        print_note(f"{registry.name}{of}: nothing was compared yet; `likeness serve --shadow {number or 'candidate'}`")


def _table(name: str, report: Mapping[str, Any]) -> Table:
    from rich.table import Table

    photos = ", ".join(f"{count} {outcome}" for outcome, count in report["photos"].items())
    title = f"{name} version {report['candidate']} beside version {report['production']}\nphotos: {photos}"
    shown = Table(title=title, title_justify="left")
    shown.add_column("")
    for column in ("mean", "95 %", "5 % below", "median", "5 % above", "photos"):
        shown.add_column(column, justify="right", no_wrap=True)
    for key, label in FIGURES.items():
        score = report[key]
        if by := score.get("by"):
            label += f", by the {by}"
        quantiles = (score.get("quantiles") or {}).values()
        cells = [_number(value) for value in quantiles] or [""] * 3
        shown.add_row(label, _number(score["value"]), _interval(score["ci"]), *cells, str(score["n"]))
    return shown


def _print_groups(report: Mapping[str, Any]) -> None:
    often = sorted(report["groups"].items(), key=lambda item: item[1]["value"], reverse=True)[:GROUPS]
    if often:
        told = ", ".join(f"{group} {score['value']:.0%}" for group, score in often)
        screen.print(f"chosen differently most often: {told}", highlight=False)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _interval(ends: list[float] | None) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}" if ends else ""
