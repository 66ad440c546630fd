"""`likeness checks`: what the checks said of the newest versions, and judging them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from engine.errors import LikenessError
from orchestration.cli.terminal import (
    AsJson,
    Character,
    Profile,
    get_settings,
    libraries_into_log,
    marked,
    one_line_errors,
    print_json,
    progress_bar,
    screen,
)

if TYPE_CHECKING:
    from orchestration.checks.results import CheckResult

MARKS = {True: marked("green", "ok"), False: marked("red", "failed"), None: marked("dim", "–")}


def add_to(app: typer.Typer) -> None:
    """Add the command `checks`."""
    app.command()(checks)


@one_line_errors
def checks(
    asset: Annotated[
        str, typer.Argument(help="This asset alone, with every expectation.", show_default="every asset")
    ] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Judge the newest versions again first; nothing is made for it.")
    ] = False,
    profile: Profile = "",
    character: Character = "",
    as_json: AsJson = False,
) -> None:
    """The **newest result of every check**, and the rows that fail.

    A version that failed a blocking check is kept, but nothing is made from it. What is asked for stands in the
    profile's section `checks`; `likeness run` judges again where that changed. Exit status 1 when a version is blocked.
    """
    from orchestration.storage.instance import open_instance

    settings = get_settings(profile, character)
    with libraries_into_log(settings), progress_bar() as progress, open_instance(settings) as instance:
        found = _results(settings, instance, asset, progress if again else None)
    if as_json:
        print_json([document(result) for result in found])
    else:
        show(found, bool(asset))
    if any(result.blocks for result in found):
        raise typer.Exit(1)


def _results(settings: Any, instance: Any, asset: str, progress: Any) -> list[CheckResult]:
    """Of every stage or one; judged again where there is progress to show. Raises LikenessError."""
    from orchestration.checks import results
    from orchestration.config.catalog import COLLECTED, STAGES
    from orchestration.storage.project import AssetRef, Project

    checked = [stage for stage in (*STAGES, *COLLECTED) if stage.tables or stage.group == "models"]
    chosen = [stage for stage in checked if asset in ("", stage.name)]
    if not chosen:
        raise LikenessError(f"no asset called {asset} has checks; these have: {', '.join(s.name for s in checked)}")
    project = Project.of(settings, instance, STAGES)
    found = []
    for number, stage in enumerate(chosen, 1):
        ref = AssetRef.of(stage, settings.character)
        if progress:
            progress.stage(f"[{number}/{len(chosen)}] checks of {ref}")
            results.evaluate_again(project, ref, every=True)
        found += results.newest(project, ref)
    return found


def document(result: CheckResult) -> dict[str, Any]:
    """What --json prints of one check."""
    return {
        "asset": result.asset,
        "character": result.character,
        "md5": result.md5,
        "check": result.check,
        "blocking": result.blocking,
        "passed": result.passed,
        "description": result.description,
        "judged_by_other_rules": result.outdated,
        "expectations": result.expectations(),
        "failing_rows": result.rows(),
        **result.facts(),
    }


def show(found: list[CheckResult], every_expectation: bool) -> None:
    """A line for each check; below, what is to be seen of those that failed, or of all."""
    if not found:
        screen.print("nothing was checked yet: `likeness run` makes and checks every asset")
        return
    shown = Table("asset", "check", "", "what came of it", box=box.SIMPLE_HEAD, pad_edge=False)
    for result in found:
        mark = MARKS[result.passed] if result.blocking or result.passed else marked("yellow", "warning")
        name = f"{result.asset}/{result.character}" if result.character else result.asset
        note = "\nby other rules than those of this profile: --again judges by them" if result.outdated else ""
        shown.add_row(name, result.check, mark, _told(result) + note)
    screen.print(shown, highlight=False)
    for result in found:
        if every_expectation or result.passed is False:
            _show_one(result, every_expectation)


def _told(result: CheckResult) -> str:
    if result.passed is not False:
        facts = result.facts()
        seen = [f"{facts[name]:,} {name.replace('_', ' ')}" for name in ("rows", "pictures_opened") if name in facts]
        return ", ".join([result.description, *seen])
    return "\n".join(_failure(record) for record in result.expectations() if not record["ok"])


def _failure(record: dict[str, Any]) -> str:
    wanted = f", expected {record['expected']}" if record.get("expected") and not record["failing"] else ""
    return f"{record['expectation']} {record.get('column', '')}: {record['observed']}{wanted}"


def _show_one(result: CheckResult, every_expectation: bool) -> None:
    expectations, rows = result.expectations(), result.rows()
    if every_expectation and expectations:
        screen.print(_table(f"{result.asset}: {result.check}", expectations), highlight=False)
    if rows:
        total = result.facts().get("failing_count") or len(rows)
        title = f"{result.asset}: {result.check}: failing rows, {len(rows)} of {max(total, len(rows)):,}"
        screen.print(_table(title, rows), highlight=False)


def _table(title: str, records: list[dict[str, Any]]) -> Table:
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in records[0]:
        shown.add_column("" if name == "ok" else name, overflow="fold")
    for record in records:
        shown.add_row(*(MARKS[value] if isinstance(value, bool) else str(value) for value in record.values()))
    return shown
