"""`likeness lineage`, `restore`, `forget`, `clean`: where data comes from, getting it back, and getting rid of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from engine.words import a_few
from orchestration.cli.terminal import (
    AsJson,
    Character,
    get_settings,
    libraries_into_log,
    marked,
    one_line_errors,
    print_json,
    print_note,
    progress_bar,
    screen,
    who_acts,
    wide_screen,
)
from orchestration.config.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from orchestration.lineage.erase_corrections import CorrectionsPlan
    from orchestration.lineage.erase_plan import ErasePlan
    from orchestration.lineage.photo_index import PhotoIndex, TracedPhoto
    from orchestration.lineage.photo_trace import PhotoTrace
    from orchestration.lineage.prune import PrunePlan

TREE_WIDTH, FEW = 110, 3
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (lineage, restore, forget, clean):
        app.command()(command)


@one_line_errors
def lineage(
    target: Annotated[
        str,
        typer.Argument(
            help="A model version (`3`, `production`, `embedded/3`), an md5 or its first six characters or more, a "
            "`character.json`, the id of a served character, or a photo (a file, `person/file`, its md5 or sha256)."
        ),
    ],
    character: Character = "",
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Also draw it: .svg or .png.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Everything that TARGET **came from**, down to the sources; of a photo, everything that was **made of it**.

    For each version: md5, rows, runs, commit, configuration that is not production's, and whether its bytes are still
    to be had.
    """
    with _opened(character) as (_, index):
        from orchestration.lineage import drawing, graph, tree
        from orchestration.lineage.resolve import find_version, in_production

        found = find_version(target, index.settings, index.version_index)
        if found is None:
            _show_photo(index, target, as_json)
            return
        production = in_production(index.settings, found.character or index.settings.character)
        answer = graph.build(found, production, index.version_index, index.store, index.erasure_log.erased())
        if picture:
            drawing.draw(answer, picture)
    if as_json:
        print_json(answer.document())
        return
    wide_screen(TREE_WIDTH).print(tree.shown(answer))
    print(tree.against(answer))
    if picture:
        print(picture)


@one_line_errors
def restore(
    target: Annotated[str, typer.Argument(help="As for `likeness lineage`, photos left out.")],
    out: Annotated[Path, typer.Option("--out", help="Each version gets a folder in here, sources too.")],
    character: Character = "",
    as_json: AsJson = False,
) -> None:
    """Bring back **all data that TARGET was made from**, each folder proved by its md5, and write `restored.json`.

    What is there already and proves to be right is left alone, so an interrupted restore goes on. When bytes are gone,
    it says which and why, restores all others, and exits with 1.
    """
    from orchestration.lineage.resolve import TargetError, find_version
    from orchestration.lineage.restore import document_of
    from orchestration.lineage.restore import restore as bring_back

    with _opened(character) as (_, index), progress_bar() as progress:
        found = find_version(target, index.settings, index.version_index)
        if found is None:
            raise TargetError(f"nothing is called {target}: see `likeness models`, or give six characters of an md5")
        index.erasure_log.copy_to(index.settings.home)
        results = bring_back(found, out, index.store, index.erasure_log.erased(), progress.step)
    document = document_of(found, results)
    if as_json:
        print_json(document)
    else:
        shown = _table(f"{out}", "folder", "md5, proved", "status", "files", "megabytes")
        for result in results:
            colour = "green" if result.complete else "red"
            shown.add_row(
                result.folder or result.asset, result.md5, marked(colour, result.status),
                str(result.files), f"{result.bytes / 1e6:.1f}",
            )  # fmt: skip
        wide_screen(TREE_WIDTH).print(shown)
    for result in results:
        for path, why in result.lost.items():
            place = f"{result.asset}/{path}" if path else result.asset
            print_note(marked("bold red", "gone:", f"{place}: {why}"))
    if not document["complete"]:
        raise typer.Exit(1)


@one_line_errors
def forget(
    photo: Annotated[
        str,
        typer.Argument(
            help="A photo (a file, `person/file`, md5, sha256); with --person a name, with --player a player's id."
        ),
    ],
    person: Annotated[bool, typer.Option("--person", help="All photos of the person with this folder.")] = False,
    player: Annotated[
        bool,
        typer.Option("--player", help="All corrections that the player with this id of the game's shared."),
    ] = False,
    why: Annotated[str, typer.Option("--why", help="The reason, for the record.")] = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Remove a **photo**, or all of a **person's**, from data/photos and from everything that was ever made of it.

    Erases its bytes, and each table, sheet and page that may show it, from cache, remote, working copies, MLflow and
    Dagster; lists which models were trained on it and must be retrained. Nothing brings it back: `restore` then names
    what was erased. Interrupted, the same command finishes; other machines' caches are cleared by running it there.

    With --player, everything that a **player** shared of corrections: the service's rows, and each version of the table
    `corrections` that has one of them. Rows that come later, out of a backup or another service, are dropped.
    """
    if player:
        if person:
            raise typer.BadParameter("--person is about photos, --player about corrections: one at a time")
        _forget_player(photo, why, yes, dry_run, as_json)
        return
    from orchestration.lineage.erase import Eraser
    from orchestration.lineage.erase_search import EraseSearch
    from orchestration.lineage.prune import nothing_runs
    from orchestration.registry.people import FORGET

    who = "" if dry_run else who_acts(Settings(), FORGET)
    with _opened() as (instance, index), nullcontext() if dry_run else nothing_runs(index.settings, instance):
        with progress_bar() as progress:
            photos = index.find(photo, person)
            search = EraseSearch(index, progress.step)
            plan = search.plan(photos, photo.strip("/") if person else "")
        if not as_json:
            _print_plan(plan)
        if going := not (dry_run or plan.nothing_left):
            _confirm(yes, as_json, "Erase all this for good?")
            with progress_bar() as progress:
                Eraser(instance, index, who).erase(plan, why, progress.step)
    if as_json:
        print_json({**plan.document(), "done": not dry_run})
    elif going:
        screen.print("forgotten; the next `likeness run` makes everything without it", highlight=False)
        _print_untold(index.settings)
    else:
        screen.print("nothing was changed" if dry_run else "there is nothing left to erase here", highlight=False)


def _forget_player(player: str, why: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    from orchestration.lineage import erase_corrections
    from orchestration.lineage.prune import nothing_runs
    from orchestration.registry.people import FORGET

    who = "" if dry_run else who_acts(Settings(), FORGET)
    with _opened() as (instance, index), nullcontext() if dry_run else nothing_runs(index.settings, instance):
        plan = erase_corrections.plan(index.settings, instance, player)
        if not as_json:
            _print_corrections_plan(plan)
        if going := not (dry_run or plan.nothing_left):
            _confirm(yes, as_json, "Erase all this for good?")
            with progress_bar() as progress:
                erase_corrections.erase(index.settings, instance, plan, why, who, progress.step)
    if as_json:
        print_json({**plan.document(), "done": not dry_run})
    elif going:
        screen.print("forgotten; `likeness corrections --collect` makes the table without it", highlight=False)
        _print_untold(index.settings)
    else:
        screen.print("nothing was changed" if dry_run else "there is nothing left to erase here", highlight=False)


@one_line_errors
def clean(
    keep: Annotated[int, typer.Option("--keep", min=1, help="Newest versions of each asset that stay.")] = 1,
    older_than: Annotated[
        float, typer.Option("--older-than", min=0, metavar="DAYS", help="What was made or used since then stays.")
    ] = 7.0,
    runs_older_than: Annotated[
        float | None,
        typer.Option(
            "--runs-older-than",
            min=0,
            metavar="DAYS",
            help="Also runs of Dagster and MLflow, from that age on.",
            show_default="LIKENESS_KEEP_RUNS_DAYS, else never",
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Free room: data that **no registered model and no current asset** needs, in cache and remote; dead checkpoints.

    Every registered version, rejected ones too, can still be restored afterwards, and its lineage is whole. Refuses
    while a run is at work, but for --dry-run.
    """
    from orchestration.lineage import prune

    with _opened() as (instance, index), nullcontext() if dry_run else prune.nothing_runs(index.settings, instance):
        with progress_bar() as progress:
            days = index.settings.keep_runs_days if runs_older_than is None else runs_older_than
            plan = prune.plan(index.settings, instance, index.store, keep, older_than, progress.step, days)
        if not as_json:
            _print_cleaning(plan)
        freed = 0
        if not dry_run and not plan.empty:
            _confirm(yes, as_json, "Remove this?")
            with progress_bar() as progress:
                freed = prune.carry_out(plan, index.settings, instance, index.store, progress.step)
    if as_json:
        print_json({**plan.document(), "freed": freed})
    else:
        screen.print(f"freed {freed / 1e6:.1f} MB" if freed else "nothing was removed", highlight=False)


@contextmanager
def _opened(character: str = "") -> Iterator[tuple[dg.DagsterInstance, PhotoIndex]]:
    """The Dagster instance, and the stores that these commands ask."""
    from orchestration.lineage.photo_index import PhotoIndex
    from orchestration.storage.erasure_log import ErasureLog
    from orchestration.storage.instance import open_instance
    from orchestration.storage.store import Store
    from orchestration.storage.version_index import VersionIndex

    settings = get_settings(character=character, or_registered=True)
    with libraries_into_log(settings), open_instance(settings) as instance:
        yield instance, PhotoIndex(settings, Store.of(settings), VersionIndex(instance), ErasureLog(instance))


def _confirm(yes: bool, as_json: bool, question: str) -> None:
    if yes:
        return
    if as_json:
        raise typer.BadParameter("--json does not ask: add --yes or --dry-run")
    typer.confirm(question, abort=True, err=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="right" if name in ("files", "number", "megabytes") else "left")
    return table


def _show_photo(index: PhotoIndex, word: str, as_json: bool) -> None:
    from orchestration.lineage.photo_trace import trace

    photos = index.find(word)
    with progress_bar() as progress:
        found = trace(index, photos, progress.step)
    if as_json:
        print_json(found.document())
    else:
        _print_trace(found)


def _print_trace(found: PhotoTrace) -> None:
    for photo in found.photos:
        _print_photo(photo)
    for entry in found.forgotten:
        said = f"on {entry.when} by {entry.who}" + (f": {entry.why}" if entry.why else "")
        screen.print(marked("red", "forgotten", said), highlight=False, soft_wrap=True)
    versions = _table("Data versions that contain it, or may show it", "asset", "md5", "rows")
    for md5 in found.sources:
        versions.add_row("photos", md5, "the photo itself")
    for version in found.showing:
        rows = found.rows.get(version.md5, {})
        splits = ", ".join(f"{path}: {split or 'no split'}" for path, split in sorted(rows.items()))
        name = f"{version.asset}/{version.character}" if version.character else version.asset
        unread = "its table is gone: nobody can tell" if version.md5 in found.unread else "made from these"
        versions.add_row(name, version.md5, splits or unread)
    wide_screen(TREE_WIDTH).print(versions)
    models = _table("Registered models", "model", "aliases", "use", "what to do")
    for use in found.uses:
        model = use.model.model or {}
        colour = "red" if use.retrain else "green"
        models.add_row(
            f"{model.get('name')} {model.get('version')}", ", ".join(model.get("aliases", ())),
            marked(colour, use.how), "retrain, so that nothing of it is left" if use.retrain else "nothing",
        )  # fmt: skip
    wide_screen(TREE_WIDTH).print(models if found.uses else "no model is registered")


def _print_photo(photo: TracedPhoto) -> None:
    gone = "" if photo.here else "(not in data/photos now)"
    screen.print(marked("bold", ", ".join(photo.paths), gone), highlight=False, soft_wrap=True)
    print(f"md5 {photo.md5}  sha256 {photo.sha256 or 'unknown'}")
    if len(photo.paths) > 1:
        screen.print(marked("yellow", "the same bytes lie in all these places: it is one photo"), highlight=False)


def _print_plan(plan: ErasePlan) -> None:
    _print_trace(plan.trace)
    table = _table("To be erased", "what", "files", "megabytes")
    for what, files, size in plan.groups():
        table.add_row(what, f"{files:,}", f"{size / 1e6:.2f}")
    wide_screen(TREE_WIDTH).print(table)
    for md5, where in plan.spared.items():
        names = ", ".join(path for photo in plan.trace.photos if photo.md5 == md5 for path in photo.paths)
        text = f"{names}: cache and remote keep these bytes, which others have too ({where})"
        screen.print(marked("yellow", "spared:", text), highlight=False, soft_wrap=True)
    if commands := dict.fromkeys(plan.retrain):
        screen.print(marked("bold", "to be retrained:", f"{'; '.join(commands)}"), highlight=False, soft_wrap=True)
    else:
        print("no registered model was trained on it: none must be retrained")
    for text in plan.document()["not_erased"]:
        screen.print(marked("yellow", "not erased:", text), highlight=False, soft_wrap=True)


def _print_corrections_plan(plan: CorrectionsPlan) -> None:
    table = _table("To be erased", "what", "files", "megabytes")
    table.add_row("rows that the service keeps", f"{len(plan.served):,}", "")
    versions: dict[str, list[int]] = {}
    for md5, size in plan.sizes.items():
        versions.setdefault(plan.found.objects[md5].split("/")[0], []).append(size)
    for version, sizes in sorted(versions.items()):
        asset, _, md5 = version.partition(" ")
        table.add_row(f"cache and remote, {asset} {md5[:12]}", f"{len(sizes):,}", f"{sum(sizes) / 1e6:.2f}")
    table.add_row("working copies", f"{len(plan.found.copies):,}", "")
    wide_screen(TREE_WIDTH).print(table)
    if plan.retrain:
        screen.print(marked("bold", "to be retrained:", "; ".join(plan.retrain)), highlight=False, soft_wrap=True)
    else:
        print("no registered model was trained on it: none must be retrained")
    for text in plan.document()["not_erased"]:
        screen.print(marked("yellow", "not erased:", text), highlight=False, soft_wrap=True)


def _print_untold(settings: Settings) -> None:
    from orchestration.storage import backup_log

    if untold := backup_log.untold(settings.home):
        places = a_few([str(place) for place in untold], FEW)
        remedy = "delete them, or restore them with `--erasures` of a newer backup"
        screen.print(marked("yellow", "backups that are not there now:", f"{places}: {remedy}"), soft_wrap=True)


def _print_cleaning(plan: PrunePlan) -> None:
    table = _table("What nothing needs", "kind", "what", "number", "megabytes")
    for kind in plan.kinds:
        table.add_row(kind.name, kind.about, f"{kind.count:,}", f"{kind.bytes / 1e6:,.1f}")
    wide_screen(TREE_WIDTH).print(table)
    screen.print(
        f"{plan.kept_versions} versions stay, among them all that {plan.models} registered models need; "
        f"{len(plan.dropped)} versions could not be restored afterwards",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
