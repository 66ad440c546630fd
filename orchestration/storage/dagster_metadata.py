"""What Dagster's pages show of a version beside its figures: pictures, charts, tables, files, and where it lies.

Pictures of synthetic people stand in Dagster's record; those that may show real people are linked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import dagster as dg

from orchestration.config.settings import REPOSITORY
from orchestration.storage import charts
from orchestration.storage.run_pictures import RunPictures
from orchestration.storage.source_files import PHOTOS
from orchestration.storage.thumbnails import one_page
from stages.data import source_files

Shown = ParamSpec("Shown")
log = logging.getLogger(__name__)

MOST_FILES, SAMPLES, SAMPLE_SIDE = 40, 48, 96


def decoration(describe: Callable[Shown, dict[str, Any]]) -> Callable[Shown, dict[str, Any]]:
    """What only adorns a version never fails it: an error is told in the place of what cannot be shown."""

    @wraps(describe)
    def described(*args: Shown.args, **kwargs: Shown.kwargs) -> dict[str, Any]:
        try:
            return describe(*args, **kwargs)
        except Exception as error:
            what, why = f"{describe.__name__.strip('_')} cannot be shown", f"{type(error).__name__}: {error}"
            log.warning("%s: %s", what, why)
            return {what: why}

    return described


def of_output(
    folder: Path, history: Mapping[str, charts.Curve], pictures: dg.MetadataValue | None = None
) -> dict[str, Any]:
    """Metadata of what a stage wrote.

    Args:
        history: what it logged by step.
        pictures: the link to its pictures, where they may show real people.
    """
    tables = sorted(folder.glob("*.parquet"))
    return _pictures(folder, pictures) | _charts(tables, history) | _table(tables) | of_files(folder)


@decoration
def _pictures(folder: Path, link: dg.MetadataValue | None) -> dict[str, Any]:
    found = {path.stem: path for path in sorted(folder.glob("*.png"))}
    return {"pictures": link or one_page(found)} if found else {}


@decoration
def _charts(tables: list[Path], history: Mapping[str, charts.Curve]) -> dict[str, Any]:
    drawn = {f"{name} by step": chart for name, chart in charts.trainings(history).items()}
    drawn |= {f"{path.stem} distributions": chart for path in tables if (chart := charts.table(path))}
    return {"charts": one_page(drawn)} if drawn else {}


@decoration
def _table(tables: list[Path]) -> dict[str, Any]:
    """Rows of every table, and the columns of the largest, which is what the asset is about."""
    from pyarrow import parquet

    if not tables:
        return {}
    about = {path: parquet.read_metadata(path) for path in tables}
    main = max(tables, key=lambda path: path.stat().st_size)
    columns = [dg.TableColumn(column.name, str(column.type)) for column in about[main].schema.to_arrow_schema()]
    rows: dict[str, Any] = {f"rows_{path.stem}": about[path].num_rows for path in tables}
    return rows | {"dagster/column_schema": dg.TableSchema(columns), "dagster/row_count": about[main].num_rows}


@decoration
def of_files(folder: Path, files: Iterable[Path] | None = None) -> dict[str, Any]:
    """Where a folder lies, how large it is, and its largest files; all of them, or those that count of a source."""
    files = files if files is not None else (path for path in folder.rglob("*") if path.is_file())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:MOST_FILES]
    return {
        "dagster/uri": folder.as_uri(),
        "bytes": sum(sizes.values()),
        "files": len(sizes),
        "largest files": table_of([{"file": name, "bytes": sizes[name]} for name in largest]),
    }


def table_of(records: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Records that have the same names, as a table without the columns that are empty throughout."""
    used = [name for name in (records[0] if records else {}) if any(record[name] != "" for record in records)]
    kinds = {bool: "bool", int: "int"}
    columns = [dg.TableColumn(name, kinds.get(type(records[0][name]), "string")) for name in used]
    return dg.MetadataValue.table(
        [dg.TableRecord({name: record[name] for name in used}) for record in records], dg.TableSchema(columns=columns)
    )


def of_source(folder: Path, seen: source_files.ScanReport | None = None) -> dict[str, Any]:
    """Metadata of an observed folder: what was read of it and what left out, its files, a character's schema, and a
    sheet of its pictures, but for photos of people.
    """
    seen = seen or source_files.report(folder, source_files.anything)
    sheet = {} if folder.name == PHOTOS else _sheet(folder, list(seen.photos))
    return sheet | of_files(folder, seen.files) | _left_out(seen) | _schema(folder)


@decoration
def _schema(folder: Path) -> dict[str, Any]:
    path = folder / "schema.yaml"
    return {"schema": dg.MetadataValue.md(f"```yaml\n{path.read_text()[:4000]}\n```")} if path.exists() else {}


def _left_out(seen: source_files.ScanReport) -> dict[str, Any]:
    """What of a source was read, and a table of what was not."""
    records = [{"left out": seen.place(entry), "why": entry.why} for entry in seen.left_out[:MOST_FILES]]
    return {"read": str(seen), **({"left out": table_of(records)} if records else {})}


@decoration
def _sheet(folder: Path, pictures: list[Path]) -> dict[str, Any]:
    """A contact sheet of pictures taken evenly from all; how many of them cannot be shown, and why the first."""
    import numpy as np

    from models import images

    tiles, refused = [], []
    for path in pictures[:: max(1, len(pictures) // SAMPLES)][:SAMPLES]:
        try:
            small = images.thumbnail(path, 2 * SAMPLE_SIDE)
            tiles.append(images.middle(small, SAMPLE_SIDE))
        except images.BadImage as error:
            refused.append(f"{path.relative_to(folder)}: {error}")
            tiles.append(np.full((SAMPLE_SIDE, SAMPLE_SIDE, 3), 255, np.uint8))
    if not tiles:
        return {}
    sheet = images.encode_png(images.grid(tiles, columns=8, gap=0))
    told = f"{len(refused)} of the {len(tiles)} in this sheet; the first: {refused[0]}" if refused else ""
    page = one_page({f"{len(pictures)} pictures": sheet})
    return {"pictures": page} | ({"pictures that cannot be shown": told} if told else {})


@decoration
def of_model(scorecard: RunPictures, page: str) -> dict[str, Any]:
    """Metadata of a registered model: links to the pictures it was judged by, and to its page in MLflow ("" without a
    server).
    """
    return {"pictures": scorecard.link()} | ({"mlflow_model": dg.MetadataValue.url(page)} if page else {})


def code_of(stage: str) -> dict[str, Any]:
    """The stage's file, for Dagster's link into the code."""
    path = REPOSITORY / "stages" / stage
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.exists():
        return {}
    label = str(path.relative_to(REPOSITORY))
    reference = dg.LocalFileCodeReference(file_path=str(path), line_number=1, label=label)
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}
