"""`likeness duplicates`: photos of one face under two people, and of two people under one name, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from engine.errors import LikenessError
from orchestration.cli.terminal import (
    AsJson,
    Profile,
    get_settings,
    libraries_into_log,
    one_line_errors,
    print_json,
    print_note,
    progress_bar,
    screen,
)

if TYPE_CHECKING:
    from orchestration.checks.duplicates import Duplicates
    from orchestration.config.settings import Settings

ASSET = "aligned_faces"
REMEDIES = {
    "same photo": "Take one of the two files out of data/photos. Do it where they are in two splits above all: what is "
    "trained on and scored flatters the score.",
    "same face": "Look at both (--sheet). One person: lay the photos of both into one of the two folders, and they "
    "are trained on or scored together. Two people who look alike: leave them.",
    "unlike": "Somebody else: move the file into a folder of its own person, or out of data/photos. The same person: "
    "leave it.",
}
AFTERWARDS = (
    "Then `likeness run`. A published set of which files are taken needs `partial: true` in the profile; one that is "
    "not to be looked at, `checks: {duplicates: {without: [NAME]}}`. Limits: docs/checks.md."
)


def add_to(app: typer.Typer) -> None:
    """Add `duplicates` to the command line."""
    app.command()(duplicates)


@one_line_errors
def duplicates(
    sheet: Annotated[
        Path | None,
        typer.Option(help="Draw them into this .png, two beside each other. It shows real people."),
    ] = None,
    profile: Profile = "",
    as_json: AsJson = False,
) -> None:
    """Real photos of the **same face under two people**, the same photo in two splits, and **two people under one
    name**, most certain first, with their files and what to do about each.

    Looks at the newest aligned faces, as the check `duplicates` does; how strictly is the section `checks: {duplicates:
    …}` of the profile. The first time a recogniser looks at each face; what it saw is kept.
    """
    settings = get_settings(profile)
    with libraries_into_log(settings), progress_bar() as progress:
        table, found, files = _examine(settings, progress)
        if sheet:
            _draw(found, table, sheet)
    if as_json:
        print_json(_document(found, files))
    else:
        _show(found, files)
    if sheet and (found.same_faces or found.strangers):
        print_note(f"{sheet}: a pair a line, from the top as listed; it shows real people")


def _examine(settings: Settings, progress: Any) -> tuple[Path, Duplicates, dict[str, str]]:
    """The table, what was found in it, and the file of each photo that is named. Raises LikenessError."""
    from orchestration.checks import duplicates as finding
    from orchestration.checks.results import check_context
    from orchestration.config.catalog import STAGES
    from orchestration.storage.instance import open_instance
    from orchestration.storage.project import AssetRef, Project

    with open_instance(settings) as instance:
        project = Project.of(settings, instance, STAGES)
        ref = AssetRef(project.graph.stages[ASSET])
        version = project.latest_of(ref)
        if version is None:
            raise LikenessError("no faces were aligned yet: `likeness run` makes them")
        rule = project.graph.rules.duplicates
        if rule is None:
            raise LikenessError("the profile has `checks: {duplicates: null}`: give --profile one that asks for them")
        context = check_context(project, ref.stage, version)
        progress.stage(f"{ASSET} {version.md5[:12]}")
        found = finding.of_version(context, rule, progress.step)
        return context.folder / finding.FACES, found, _files(settings, found, context.config)


def _files(settings: Settings, found: Duplicates, config: Any) -> dict[str, str]:
    """The file of each photo that is named, by id, where its set calls it by its place."""
    photos = settings.data / "photos"
    places = {one["name"]: photos / one["path"] for one in config.get("photo_sets", ())}
    files = {}
    for photo in found.photos():
        file = places.get(photo.source, photos) / photo.id.removeprefix(f"{photo.source}/")
        if file.is_file():
            files[photo.id] = str(file.relative_to(settings.root) if file.is_relative_to(settings.root) else file)
    return files


def _document(found: Duplicates, files: dict[str, str]) -> dict[str, Any]:
    document = found.document()
    for pair in document["same_faces"]:
        pair["remedy"] = REMEDIES["same photo" if pair["same_photo"] else "same face"]
    for one in document["strangers"]:
        one["remedy"] = REMEDIES["unlike"]
    for one in [*document["same_faces"], *document["strangers"]]:
        for photo in (one[name] for name in ("first", "second", "photo", "typical") if name in one):
            photo["file"] = files.get(photo["id"])
    return document


def _show(found: Duplicates, files: dict[str, str]) -> None:
    def name(photo: Any) -> str:
        return str(files.get(photo.id, photo.id))

    groups = {
        "same photo": [(one.first, one.second, one) for one in found.same_faces if one.same_photo],
        "same face": [(one.first, one.second, one) for one in found.same_faces if not one.same_photo],
        "unlike": [(one.photo, one.typical, one) for one in found.strangers],
    }
    titles = {
        "same photo": "The same photo under two people",
        "same face": "The same face under two people",
        "unlike": "Unlike the others of its person (beside it, the photo that is most like them)",
    }
    for kind, rows in groups.items():
        if rows:
            shown = Table(title=titles[kind], title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
            for column in ("", "beside", ""):
                shown.add_column(column, overflow="fold")
            for first, second, one in rows:
                shown.add_row(name(first), name(second), str(one))
            screen.print(shown, highlight=False)
            screen.print(REMEDIES[kind] + "\n", highlight=False)
    if any(groups.values()):
        screen.print(AFTERWARDS, highlight=False)
    said = f"{found.faces:,} real photos, {found.pairs:,} pairs of two people"
    more = max(found.people_alike - len(found.same_faces), 0) + max(found.unlike - len(found.strangers), 0)
    rest = f"; {more:,} more are not listed" if more else ""
    screen.print(f"{said}; one face from {found.limit:.2f} on{rest}", highlight=False)


def _draw(found: Duplicates, table: Path, sheet: Path) -> None:
    from engine.files import write_whole
    from models import images
    from orchestration.checks.report import PICTURE_SIDE
    from stages.data import face_embeddings

    ids = [photo.id for photo in found.photos()]
    pictures = face_embeddings.pictures_of(table, set(ids))
    tiles = [images.resize(images.decode(pictures[name]), PICTURE_SIDE) for name in ids]
    if tiles:
        write_whole(sheet, images.encode_png(images.grid(tiles, columns=2)))
