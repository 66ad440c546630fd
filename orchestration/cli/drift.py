"""`likeness drift`: whether players' photos are like those of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich import box
from rich.table import Table

from engine.errors import LikenessError
from orchestration.cli.terminal import (
    AsJson,
    Character,
    Profile,
    get_registry,
    get_settings,
    libraries_into_log,
    marked,
    one_line_errors,
    print_json,
    progress_bar,
    screen,
)

if TYPE_CHECKING:
    from orchestration.checks.served import Drift, ServedPhotos

MARKS = {True: marked("green", "ok"), False: marked("yellow", "drifted"), None: marked("dim", "–")}
SHIFTS = 3
"""Bins that a line names."""


def add_to(app: typer.Typer) -> None:
    """Add `drift` to the command line."""
    app.command()(drift)


@one_line_errors
def drift(profile: Profile = "", character: Character = "", as_json: AsJson = False) -> None:
    """Whether the photos that **players** send are like those that the model in production was trained on: pose, light,
    sharpness, remarks, and what the model chooses of them.

    The service counts them in bins where LIKENESS_SERVE_STATISTICS is true; nothing else is kept of a photo. A
    distribution that is farther from training's than the profile's `checks: {served: …}` allows is marked; few photos
    never are. The first time for a version takes a while: the model reads a sample of its training.
    """
    from orchestration.checks.production import NoReference
    from orchestration.checks.served import examine
    from orchestration.config.catalog import STAGES
    from orchestration.config.profiles import resolve_checks

    settings = get_settings(profile, character)
    rule = resolve_checks(settings.profile, STAGES).served
    try:
        with libraries_into_log(settings), progress_bar() as progress:
            found = examine(settings, get_registry(settings), rule, progress)
    except NoReference as error:
        raise LikenessError(str(error)) from error
    if as_json:
        print_json(found.document())
    else:
        _show(found)


def _show(found: ServedPhotos) -> None:
    title = f"{found.photos} photos that {found.model} version {found.version} read since {found.first}"
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("")
    shown.add_column("index", justify="right", no_wrap=True)
    shown.add_column("limit", justify="right", no_wrap=True)
    shown.add_column("")
    shown.add_column("share in training → now, where it moved most")
    for each in found.drifts:
        figures = ("–" if value is None else f"{value:.3f}" for value in (each.index, each.limit))
        shown.add_row(each.name, *figures, MARKS[each.ok], each.note or _shifts(each))
    screen.print(shown, highlight=False)


def _shifts(each: Drift) -> str:
    old, new = max(sum(each.training.values()), 1), max(sum(each.served.values()), 1)
    shares = {
        name: (each.training.get(name, 0) / old, each.served.get(name, 0) / new)
        for name in {**each.training, **each.served}
    }
    most = sorted(shares, key=lambda name: abs(shares[name][1] - shares[name][0]), reverse=True)[:SHIFTS]
    return "; ".join(f"{name}: {shares[name][0]:.0%} → {shares[name][1]:.0%}" for name in most)
