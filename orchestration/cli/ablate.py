"""`likeness ablate`: what each part of the method is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from orchestration.cli.terminal import (
    AsJson,
    Character,
    Profile,
    exit_with_error,
    get_settings,
    libraries_into_log,
    one_line_errors,
    print_error,
    print_json,
    progress_bar,
    screen,
)

if TYPE_CHECKING:
    from orchestration.apps.ablation import AblationResult

WIDEST = 400
"""Columns of text that a table may have."""


@one_line_errors
def ablate(
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", help="This variant; may be given again.", show_default="all that are not slow"),
    ] = None,
    profile: Profile = "",
    character: Character = "",
    variants: Annotated[
        Path | None,
        typer.Option("--variants", help="A file of variants.", show_default="orchestration/apps/ablations.yaml"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for table and pictures.", show_default="out")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train and score **variants** of the method from what the last `likeness run` left: each term off, no attention,
    no facial prior, no supervision, another recogniser.

    Writes `ablations.md` (the table) and `ablations.png` (the same photos drawn by each variant). What was made once is
    not made again; interrupted, the same command goes on. The pipeline's own results and models stay as they are.
    """
    from orchestration.apps import ablation
    from orchestration.doctor import require_machine
    from orchestration.pipeline.production_encoder import PIPELINE
    from orchestration.storage.instance import open_instance

    require_machine()
    settings = get_settings(profile, character)
    folder = out or settings.root / "out"
    with libraries_into_log(settings), progress_bar() as progress, open_instance(settings) as instance:
        try:
            result = ablation.ablate(
                settings, instance, PIPELINE, progress, settings.character, variant or (), variants or ablation.VARIANTS
            )
        except ablation.AblationError as error:
            exit_with_error(str(error))
            return
        progress.stage("contact sheet")
        ablation.write_tables(result, settings, settings.character, folder, progress.step)
        progress.end("contact sheet  done")
    if as_json:
        print_json(document(result, settings.profile, settings.character, folder))
    else:
        show(result)
        for name in ("ablations.md", "ablations.png"):
            if (folder / name).exists():
                print(folder / name)
    for name, reason in result.failed.items():
        print_error(f"{name}: {reason}")
    if result.failed:
        raise typer.Exit(1)


def show(result: AblationResult) -> None:
    """The table, with intervals where the terminal is wide enough. A narrower one wraps its lines, but cuts nothing."""
    shown = table(result, True)
    if shown.width is not None and shown.width > screen.width:
        shown = table(result, False)
    screen.print(shown, crop=False)


def table(result: AblationResult, intervals: bool) -> Table:
    """Variants as rows, scores as columns; as wide as its content."""
    from stages.evaluation import ablation

    shown = Table(title="Ablations", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    shown.add_column("variant", no_wrap=True)
    for title in (*(column.title for column in ablation.COLUMNS), ablation.SECONDS):
        shown.add_column(title.replace(" ", "\n"), justify="right", no_wrap=True)
    reference = result.reference
    for row in [*(ablation.limits(reference) if reference else []), *result.rows]:
        cells = [ablation.cell(row, column, reference) for column in ablation.COLUMNS]
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        shown.add_row(row.name, *("\n".join(cell if intervals else cell[:1]) for cell in cells), seconds)
    shown.caption = "\n".join(
        [ablation.legend(result.rows, reference), *(f"{name}: {why}" for name, why in result.left_out.items())]
    )
    shown.width = screen.measure(shown, options=screen.options.update(width=WIDEST)).maximum
    return shown


def document(result: AblationResult, profile: str, character: str, folder: Path) -> dict[str, Any]:
    """What --json prints."""
    from stages.evaluation import ablation

    full = result.reference.scores if result.reference else {}
    variants = []
    for row in result.rows:
        scores = {
            path: dict(score) | {"against_full": ablation.difference(score, full.get(path))}
            for path, score in row.scores.items()
        }
        card = result.scorecards.get(row.name)
        variants.append(
            {
                "name": row.name,
                "about": row.about,
                "scores": scores,
                "seconds": row.seconds,
                "scorecard": str(card) if card else None,
            }
        )
    return {
        "profile": profile,
        "character": character,
        "variants": variants,
        "made": result.made,
        "left_out": result.left_out,
        "failed": result.failed,
        "seconds": round(result.seconds, 1),
        "table": str(folder / "ablations.md"),
        "pictures": str(folder / "ablations.png") if result.inputs else None,
    }
