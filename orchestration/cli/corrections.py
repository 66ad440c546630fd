"""`likeness corrections`: what players correct of their characters, on average."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import LikenessError
from orchestration.cli.terminal import (
    AsJson,
    Character,
    Profile,
    exit_with_error,
    get_settings,
    libraries_into_log,
    marked,
    one_line_errors,
    print_json,
    progress_bar,
    screen,
    wide_screen,
)
from orchestration.config.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

    from orchestration.storage.versions import Version

WIDTH, SLIDERS, CHANGES = 110, 20, 3
"""Columns of the terminal; sliders of each version, and changes of each group, that are shown."""
NONE = (
    "nothing was collected yet: LIKENESS_SERVE_CORRECTIONS=true likeness serve, and, once players have corrected "
    "something, `likeness corrections --collect`"
)


def add_to(app: typer.Typer) -> None:
    """Add `corrections` to the command line."""
    app.command()(corrections)


@one_line_errors
def corrections(
    collect: Annotated[
        bool,
        typer.Option("--collect", help="First collect what the service keeps, and erase what was taken back since."),
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write it as a page, with every slider.")
    ] = None,
    profile: Profile = "",
    character: Character = "",
    as_json: AsJson = False,
) -> None:
    """What **players correct**: mean correction of each slider and group with 95 % intervals, by the version that had
    read the photo; which choices are changed to what.

    The service keeps it where LIKENESS_SERVE_CORRECTIONS is true, of players who agree, and never the photo. It is
    collected into the asset `corrections` by --collect, or every day in Dagster; a character counts from the day after
    its last change. A player's are erased by `likeness forget ID --player`.
    """
    from orchestration.pipeline import corrections as pipeline
    from orchestration.pipeline.production_encoder import PIPELINE
    from orchestration.storage.instance import open_instance
    from orchestration.storage.project import Project
    from stages.evaluation import corrections as report

    settings = get_settings(profile, character)
    with open_instance(settings) as instance:
        if collect:
            _collect(settings, instance)
        project = Project.of(settings, instance, PIPELINE)
        version = pipeline.latest(project, settings.character)
        if version is None:
            raise LikenessError(NONE)
        # Its own listing and file: what readers hold of it in links would have to be erased, too.
        found = json.loads(project.store.file(project.store.listing(version.md5)["report.json"]).read_text())
    if html:
        html.write_text(report.html(found))
    if as_json:
        print_json({**found, "md5": version.md5, "set_aside": _aside(version)})
    else:
        _show(found, version)
        if html:
            print(html)


def _collect(settings: Settings, instance: Any) -> None:
    from orchestration.pipeline import corrections as pipeline
    from orchestration.pipeline import runner
    from orchestration.pipeline.definitions import build

    with libraries_into_log(settings) as log, progress_bar() as progress:
        made = build(settings, progress=progress).resolve_job_def(pipeline.JOB)
        outcome = made.execute_in_process(
            instance=instance, partition_key=settings.character, run_config=runner.QUIET, raise_on_error=False
        )
    if not outcome.success:
        exit_with_error(f"corrections were not collected; {log} and `likeness dagster` say why")


def _aside(version: Version) -> int:
    return int(version.metadata.get("rows_set_aside", 0))


def _show(found: Mapping[str, Any], version: Version) -> None:
    from stages.evaluation.corrections import chosen_otherwise, moved_most

    days = f", {' to '.join(found['days'])}" if found["days"] else ""
    screen.print(
        f"{found['rows']} characters of {found['players']} players who agreed{days}; corrections {version.md5[:12]}",
        highlight=False,
    )
    if aside := _aside(version):
        where = f"{aside} rows could not be used: `set_aside.parquet` in artifacts/corrections says why"
        screen.print(marked("yellow", "set aside:", where), highlight=False, soft_wrap=True)
    for each in found["versions"]:
        wide_screen(WIDTH).print(_sliders(each, moved_most(each)))
        wide_screen(WIDTH).print(_groups(chosen_otherwise(each)))


def _sliders(version: Mapping[str, Any], moved: list[tuple[str, Mapping[str, Any]]]) -> Table:
    from stages.evaluation.scores import interval, number, words

    how = f", searched closer by {version['refined']}" if version["refined"] else ""
    title = f"Version {version['version']}{how}: {version['rows']} characters of {version['players']} players"
    shown = _table(title, "slider", "part", "mean correction", "95 %", "distance", "changed it")
    for name, slider in moved[:SLIDERS]:
        mean = slider["mean"]
        shown.add_row(
            words(name), words(slider["part"]), f"{mean['value']:+.3f}", interval(mean["ci"]),
            number(slider["distance"]["value"]), f"{slider['count']} of {mean['n']}",
        )  # fmt: skip
    if len(moved) > SLIDERS:
        shown.caption = f"and {len(moved) - SLIDERS} more: --json, --html"
    return shown


def _groups(changed: list[tuple[str, Mapping[str, Any]]]) -> Table:
    from stages.evaluation.scores import interval, number, words

    shown = _table("", "group", "changed", "95 %", "changed it", "from → to")
    for name, group in changed:
        share = group["changed"]
        often = ", ".join(f"{each['from']} → {each['to']} ({each['count']})" for each in group["changes"][:CHANGES])
        shown.add_row(
            words(name), number(share["value"]), interval(share["ci"]), f"{group['count']} of {share['n']}", often
        )
    return shown


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    shown = Table(title=title or None, title_justify="left")
    for name in columns:
        shown.add_column(name, justify="left" if name in ("slider", "part", "group", "from → to") else "right")
    return shown
