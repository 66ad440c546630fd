"""What Dagster's pages show of a version beside its figures: pictures, charts, tables, files, and where it lies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import dagster as dg

from orchestration.config.settings import REPOSITORY
from orchestration.storage import charts
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


def of_output(folder: Path, history: Mapping[str, charts.Curve]) -> dict[str, Any]:
    """Metadata of what a stage wrote. history: what it logged by step."""
    tables = sorted(folder.glob("*.parquet"))
    return _drawings(folder, tables, history) | _table(tables) | of_files(folder)


@decoration
def _drawings(folder: Path, tables: list[Path], history: Mapping[str, charts.Curve]) -> dict[str, Any]:
    drawings: dict[str, Path | bytes] = {path.stem: path for path in sorted(folder.glob("*.png"))}
    drawings |= {f"{name} by step": chart for name, chart in charts.trainings(history).items()}
    drawings |= {f"{path.stem} distributions": chart for path in tables if (chart := charts.table(path))}
    return _pictures(drawings)


def _pictures(drawings: Mapping[str, Path | bytes]) -> dict[str, Any]:
    """One entry: Dagster shows markdown behind a link, and one is enough to follow."""
    return {"pictures": dg.MetadataValue.md(one_page(drawings))} if drawings else {}


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
    records = [dg.TableRecord({"file": name, "bytes": sizes[name]}) for name in largest]
    return {
        "dagster/uri": folder.as_uri(),
        "bytes": sum(sizes.values()),
        "files": len(sizes),
        "largest files": dg.MetadataValue.table(
            records, dg.TableSchema([dg.TableColumn("file", "string"), dg.TableColumn("bytes", "int")])
        ),
    }


def of_source(folder: Path, seen: source_files.ScanReport | None = None) -> dict[str, Any]:
    """Metadata of an observed folder: what was read of it and what left out, its files, a sheet of its pictures, a
    character's schema.
    """
    seen = seen or source_files.report(folder, source_files.anything)
    return _sheet(folder, list(seen.photos)) | of_files(folder, seen.files) | _left_out(seen) | _schema(folder)


@decoration
def _schema(folder: Path) -> dict[str, Any]:
    path = folder / "schema.yaml"
    return {"schema": dg.MetadataValue.md(f"```yaml\n{path.read_text()[:4000]}\n```")} if path.exists() else {}


def _left_out(seen: source_files.ScanReport) -> dict[str, Any]:
    """What of a source was read, and a table of what was not."""
    entries = seen.left_out[:MOST_FILES]
    records = [dg.TableRecord({"left out": seen.place(entry), "why": entry.why}) for entry in entries]
    columns = dg.TableSchema([dg.TableColumn("left out", "string"), dg.TableColumn("why", "string")])
    table = {"left out": dg.MetadataValue.table(records, columns)} if records else {}
    return {"read": str(seen), **table}


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
    return _pictures({f"{len(pictures)} pictures": sheet}) | ({"pictures that cannot be shown": told} if told else {})


@decoration
def of_model(scorecard: Path, page: str) -> dict[str, Any]:
    """Metadata of a registered model: the pictures it was judged by, and its page in MLflow ("" without a server)."""
    names = ("real_photos", "extremes", "robustness")
    drawings = {name: path for name in names if (path := scorecard / f"{name}.png").exists()}
    return _pictures(drawings) | ({"mlflow_model": dg.MetadataValue.url(page)} if page else {})


def code_of(stage: str) -> dict[str, Any]:
    """The stage's file, for Dagster's link into the code."""
    path = REPOSITORY / "stages" / stage
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.exists():
        return {}
    label = str(path.relative_to(REPOSITORY))
    reference = dg.LocalFileCodeReference(file_path=str(path), line_number=1, label=label)
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}
