"""What Dagster's pages show of a version beside its figures: pictures, charts, tables, files, and where it lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.pages import charts
from orchestration.pages.pictures import one_page
from orchestration.settings import REPOSITORY
from stages import source_files

MOST_FILES, SAMPLES, SAMPLE_SIDE = 40, 48, 96


def of_output(folder: Path, history: Mapping[str, charts.Curve]) -> dict[str, Any]:
    """Metadata of what a stage wrote. history: what it logged by step."""
    tables = sorted(folder.glob("*.parquet"))
    drawings: dict[str, Path | bytes] = {path.stem: path for path in sorted(folder.glob("*.png"))}
    drawings |= {f"{name} by step": chart for name, chart in charts.trainings(history).items()}
    drawings |= {f"{path.stem} distributions": chart for path in tables if (chart := charts.table(path))}
    return _pictures(drawings) | _table(tables) | of_files(folder)


def _pictures(drawings: Mapping[str, Path | bytes]) -> dict[str, Any]:
    """One entry: Dagster shows markdown behind a link, and one is enough to follow."""
    return {"pictures": dg.MetadataValue.md(one_page(drawings))} if drawings else {}


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


def of_source(folder: Path, seen: source_files.Report | None = None) -> dict[str, Any]:
    """Metadata of an observed folder: what was read of it and what left out, its files, a sheet of its pictures, a
    character's schema.
    """
    seen = seen or source_files.report(folder, source_files.anything)
    pictures = list(seen.photos)
    shown = _pictures({f"{len(pictures)} pictures": _sheet(pictures)} if pictures else {})
    shown |= of_files(folder, seen.files) | _left_out(seen)
    schema = folder / "schema.yaml"
    if schema.exists():
        shown["schema"] = dg.MetadataValue.md(f"```yaml\n{schema.read_text()[:4000]}\n```")
    return shown


def _left_out(seen: source_files.Report) -> dict[str, Any]:
    """What of a source was read, and a table of what was not."""
    entries = seen.left_out[:MOST_FILES]
    records = [dg.TableRecord({"left out": seen.place(entry), "why": entry.why}) for entry in entries]
    columns = dg.TableSchema([dg.TableColumn("left out", "string"), dg.TableColumn("why", "string")])
    table = {"left out": dg.MetadataValue.table(records, columns)} if records else {}
    return {"read": str(seen), **table}


def _sheet(pictures: list[Path]) -> bytes:
    """A contact sheet of pictures taken evenly from all; what is no picture is left out."""
    import io

    from PIL import Image, ImageOps, UnidentifiedImageError

    chosen = pictures[:: max(1, len(pictures) // SAMPLES)][:SAMPLES]
    columns = min(8, len(chosen))
    sheet = Image.new("RGB", (columns * SAMPLE_SIDE, -(-len(chosen) // columns) * SAMPLE_SIDE), "white")
    for number, path in enumerate(chosen):
        try:
            with Image.open(path) as image:
                image.draft("RGB", (2 * SAMPLE_SIDE, 2 * SAMPLE_SIDE))
                small = ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (SAMPLE_SIDE, SAMPLE_SIDE))
        except (OSError, UnidentifiedImageError):
            continue
        sheet.paste(small, (number % columns * SAMPLE_SIDE, number // columns * SAMPLE_SIDE))
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()


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
