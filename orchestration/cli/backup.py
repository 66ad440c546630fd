"""`likeness backup`, `restore-backup`: a project that outlives its machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import LikenessError
from engine.words import a_few
from orchestration.cli.terminal import (
    AsJson,
    libraries_into_log,
    marked,
    one_line_errors,
    print_json,
    print_note,
    print_warning,
    progress_bar,
    screen,
)
from orchestration.config.settings import Settings
from serving.configuration import ServiceSettings

if TYPE_CHECKING:
    from orchestration.apps.backup_format import Manifest

FEW = 3


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(backup)
    app.command("restore-backup")(restore_backup)
    app.command()(upgrade)


@one_line_errors
def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, on another disk or machine.")],
    with_cache: Annotated[
        bool,
        typer.Option("--with-cache", help="Also data versions that the DVC remote has; else it must be kept, too."),
    ] = False,
    without_mlflow: Annotated[
        bool,
        typer.Option("--without-mlflow", help="Leave MLflow out, whose server lies elsewhere and is backed up there."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy all that the project needs to go on elsewhere into DIR, **while servers and runs are at work**: Dagster's
    and MLflow's databases (SQLite, or PostgreSQL by pg_dump), registered models, photos, characters, data versions that
    no remote has, keys, served characters.

    Whole or not at all: DIR is there when everything in it is, with the sha256 of each file in `manifest.json`.
    It holds photos and keys, and only its owner may read it. `likeness restore-backup DIR` brings it back.
    """
    from orchestration.apps import backup as making

    settings = Settings()
    with libraries_into_log(settings), progress_bar() as progress:
        progress.stage("backup")
        made = making.make(folder, settings, ServiceSettings(), with_cache, without_mlflow, progress.step)
    if as_json:
        print_json({"folder": str(folder.absolute()), **made.summary()})
        return
    _print_left_out(made)
    if gone := made.missing:
        told = f"{a_few(list(gone.values()), FEW)}: see `likeness doctor`"
        print_warning(f"{len(gone)} that the project itself does not have any more, so they are not in it: {told}")
    if made.left_to_remote:
        print_note(f"{made.left_to_remote:,} objects are in the DVC remote alone, which must be kept: {made.remote}")
    if not made.mlflow:
        print_warning("models and metrics are not in it: MLflow's server must be backed up where it is")
    screen.print(f"{folder}: {len(made.files):,} files, {made.bytes / 1e6:,.1f} MB", highlight=False, soft_wrap=True)


@one_line_errors
def restore_backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `likeness backup` wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="The project is not empty: move what is there aside, and say where to.")
    ] = False,
    erasures: Annotated[
        list[Path] | None,
        typer.Option(
            "--erasures", metavar="FILE", help="Also erase what this newer backup, or its `erasures.json`, says."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a backup back into an **empty project**: a fresh clone, with LIKENESS_* set as they were.

    Every file is proved by its sha256 before anything is written. What was **forgotten** after the backup was made is
    erased again. Runs that were at work are closed, and the next `likeness run` goes on. At its end it looks at the
    data of every registered model and loads what is in production, as `likeness doctor` does. Exit status 0 where
    everything is back that the backup has: what the project had lost before is named; 1 where something is wrong.
    """
    from orchestration.apps import restore_backup as restoring
    from orchestration.doctor import models, stores

    settings = Settings()
    with libraries_into_log(settings), progress_bar() as progress:
        progress.stage("restore")
        restored = restoring.restore(folder, settings, ServiceSettings(), replace, erasures or (), progress.step)
        progress.step("models in production", 0, 0)
        data, loaded, wrong = [], [], []
        try:
            data, loaded = list(stores.registered(settings)), list(models.check(settings))
        except LikenessError as error:
            wrong.append(str(error))
    # A model whose files were lost before the backup was made cannot be loaded, and was told of.
    lost = {name.partition("/")[0] for name in restored.missing if "/" in name}
    failed = [each for each in loaded if not each.is_ok and each.name not in lost]
    wrong += [f"{each.name}: {each.detail}: {each.remedy}" for each in failed]
    diagnoses = [*data, *loaded]
    if as_json:
        print_json({**restored.document(), "diagnoses": [each.summary() for each in diagnoses]})
    else:
        for entry in restored.erased_again:
            print_note(f"erased again: {entry}")
        if restored.replaced:
            print_note(f"what was there before: {restored.replaced}; delete it once you are sure")
        for each in diagnoses:
            screen.print(f"{each.name}: {each.detail}", highlight=False, soft_wrap=True)
        screen.print(
            f"{settings.root} is as it was on {restored.manifest.when}; code of then: {restored.manifest.commit[:12]}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    for name, told in restored.missing.items():
        print_warning(f"gone before the backup was made, so not in it: {told}" + ("" if "/" in name else f" ({name})"))
    for problem in (*restored.problems, *wrong):
        print_note(marked("bold red", "not restored:", problem))
    if restored.problems or wrong:
        raise typer.Exit(1)


@one_line_errors
def upgrade(as_json: AsJson = False) -> None:
    """Bring the databases of a project that **earlier versions of Dagster and MLflow** wrote up to the installed ones;
    nothing where they are.

    There is no way back but a `likeness backup` of before. Refuses while a run or `likeness start` is at work. Assets
    whose stages changed are made again by the next `likeness run`; registered models go on as they are.
    """
    from orchestration.config import addresses
    from orchestration.lineage.prune import nothing_runs
    from orchestration.storage import upgrade as upgrading
    from orchestration.storage.instance import AlreadyRunning, open_instance

    settings = Settings()
    if running := addresses.running(settings):
        raise AlreadyRunning(f"`likeness start` is at work here (process {running.get('pid')}): stop it first")
    with libraries_into_log(settings), progress_bar() as progress, open_instance(settings) as instance:
        progress.stage("upgrade")
        upgrading.upgrade_dagster(instance)
        with nothing_runs(settings, instance):
            progress.step("MLflow", 1, 2)
            mlflow = upgrading.upgrade_mlflow(settings)
    if as_json:
        print_json({"dagster": True, "mlflow": mlflow})
        return
    screen.print("Dagster's tables are those of the installed version", highlight=False)
    whose = "those of the installed version" if mlflow else "its server's, which migrates them"
    screen.print(f"MLflow's tables are {whose}", highlight=False)


def _print_left_out(made: Manifest) -> None:
    by_reason: dict[str, list[str]] = {}
    for name, why in made.left_out.items():
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        print_warning(f"left out, {why}: {a_few(names, FEW)}")
