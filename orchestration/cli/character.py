"""`likeness character`: what technical artists do with a character before the pipeline sees it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestration.cli.terminal import (
    AsJson,
    Character,
    exit_with_error,
    get_settings,
    libraries_into_log,
    one_line_errors,
    print_error,
    print_json,
    print_note,
    print_warning,
    progress_bar,
    screen,
)
from orchestration.config.settings import Settings

app = typer.Typer(help="A studio's own character: write a template, check it, look at it.", no_args_is_help=True)

SHOWN_PROBLEMS = 20


class SheetKind(StrEnum):
    """What a contact sheet shows."""

    people = "people"
    sliders = "sliders"
    options = "options"


@app.command()
@one_line_errors
def init(
    folder: Annotated[Path, typer.Argument(help="The new folder, usually characters/NAME.")],
    origin: Annotated[str, typer.Option("--from", help="Start from a copy of this character of characters/.")] = "",
) -> None:
    """Write a commented **schema.yaml** and a README for a character of your own."""
    from orchestration.apps import character_files

    source = Settings().characters / origin if origin else None
    for path in character_files.write(folder, source):
        print(path)
    print_note(f"fill it in, then: likeness character check {folder}")


@app.command()
@one_line_errors
def check(
    folder: Annotated[Path, typer.Argument(help="A character's folder.")],
    sheet: Annotated[Path | None, typer.Option("--sheet", help="PNG of aligned pictures.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check schema, table and pictures; find where the face lies and write it down; draw a contact sheet.

    Exit status 1 when anything is wrong, a single row included.
    """
    from stages.context import Context
    from stages.evaluation import character_check

    settings = Settings()
    picture = sheet or settings.root / "out" / f"character-{folder.resolve().name}.png"
    with libraries_into_log(settings), progress_bar() as progress:
        progress.stage("check")
        context = Context(workers=settings.workers, on_progress=progress.step)
        report = character_check.check(folder, settings.data / "embedded", picture, context)
    if as_json:
        print_json(report.document())
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(1)


def _print_report(report: Any) -> None:
    from rich.table import Table

    screen.print(f"{report.character}: {report.source}" if report.source else report.character, highlight=False)
    shown = Table(show_header=False)
    for name, value in report.facts.items():
        shown.add_row(name.replace("_", " "), str(value))
    if report.facts:
        screen.print(shown)
    for warning in report.warnings:
        print_warning(warning)
    for problem in report.problems[:SHOWN_PROBLEMS]:
        print_error(problem)
    if (more := len(report.problems) - SHOWN_PROBLEMS) > 0:
        print_note(f"and {more} more rows: --json lists all")
    for error in report.errors:
        print_error(error)
    if report.sheet:
        print(f"every face should lie on the points: {report.sheet}")
    if report.ok:
        screen.print(f"ready: likeness run --character {report.character}", highlight=False)


@app.command()
@one_line_errors
def sheet(
    what: Annotated[SheetKind, typer.Argument(help="What to show.")],
    out: Annotated[Path, typer.Option("--out", help="The PNG or JPEG to write.")],
    character: Character = "",
    count: Annotated[int, typer.Option("--count", min=1, max=1024, help="People on the sheet.")] = 48,
    size: Annotated[
        int, typer.Option("--size", min=0, max=2048, help="Side of a face in pixels; 0: 512 for people, 224 else.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Other people.")] = 0,
) -> None:
    """Draw a contact sheet in the game look: random **people**, all **sliders** at their ends, or all **options**."""
    from engine import sheets
    from engine.renderer import Renderer

    settings = get_settings(character=character)
    sheets.require_writable(out)
    sheets.require_embedded(settings.characters / settings.character)
    with libraries_into_log(settings), progress_bar() as progress:
        progress.stage(f"sheet of {what.value}")
        renderer = Renderer(settings.characters / settings.character, settings.data / "embedded")
        if what is SheetKind.people:
            picture = sheets.people(renderer, count, size or 512, seed, progress.step)
        else:
            picture = sheets.SHEETS[what.value](renderer, size or 224, progress=progress.step)
        sheets.save(picture, out)
    print(out)


@app.command()
@one_line_errors
def portraits(
    out: Annotated[Path, typer.Option("--out", help="Folder for portraits.png and portraits.json.")],
    people: Annotated[int, typer.Option("--people", min=10, help="People who do not exist.")] = 100,
    shots: Annotated[int, typer.Option("--shots", min=2, help="Photos of each.")] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Other people.")] = 4711,
    as_json: AsJson = False,
) -> None:
    """How photo-like the **portraits** are to a recogniser: verification beside real photos, by what makes it hard."""
    from orchestration.storage.project import EMBEDDED
    from stages.context import Context
    from stages.evaluation import portrait_report

    settings = get_settings()
    inputs = {
        "embedded": settings.data / "embedded",
        "photos": settings.data / "photos",
        "character": settings.characters / EMBEDDED,
    }
    if not inputs["embedded"].is_dir():
        exit_with_error(f"{inputs['embedded']} is missing: run `likeness inputs`")
    with libraries_into_log(settings), progress_bar() as progress:
        progress.stage("portraits")
        context = Context(workers=settings.workers, on_progress=progress.step)
        config = portrait_report.PortraitReportConfig(people=people, shots=shots, seed=seed)
        report = portrait_report.run(inputs, config, out, context)
    if as_json:
        print_json(report)
    else:
        _print_portraits(report, out)


def _print_portraits(report: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    shown = Table("", "value", "95 % interval", "n")

    def add(name: str, entry: Any) -> None:
        value = "–" if entry["value"] is None else f"{entry['value']:.3f}"
        interval = "–" if entry["ci"] is None else " – ".join(f"{end:.3f}" for end in entry["ci"])
        shown.add_row(name, value, interval, str(entry["n"]))

    add("a face is found and aligned", report["portraits"]["aligned"])
    for domain in ("portraits", "photos"):
        add(f"{domain}: told apart right, SFace", report[domain]["accuracy"])
        add(f"{domain}: AUC", report[domain]["auc"])
        add(f"{domain}: cosine, same person", report[domain]["same"])
        add(f"{domain}: cosine, different people", report[domain]["different"])
    add("portraits, their common part taken out: told apart right", report["centred"]["accuracy"])
    add("portraits, their common part taken out: AUC", report["centred"]["auc"])
    add("LFW, as published for SFace", report["photos"]["published_lfw"])
    add("cosine of the domains' means", report["gap"]["means"])
    add("a line tells the domains apart, AUC", report["gap"]["classifier"])
    shown.add_section()
    for name, band in report["bands"].items():
        add(f"same person accepted, {name}", band["accepted"])
    screen.print(shown)
    print(f"{out / 'portraits.png'}  {out / 'portraits.json'}")
