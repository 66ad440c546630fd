"""Look at a character before the pipeline does: its schema, its table, its pictures, and where its face lies."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import sampler
from engine.character import Character, CharacterError, ExportedPairs, Reference, append_reference
from engine.engines import open_engine
from engine.schema import SchemaError
from models.images import BadImage, decode_photo, grid
from models.reference import REFERENCE
from stages.context import Context
from stages.data import exported_pairs
from stages.data.exported_pairs import Export, ExportedPair, RowProblem
from stages.data.parallel import map_chunks
from stages.data.pictures import write_picture
from stages.data.rendering import FrameTransform, found_points

LOOKED_AT, SHOWN, TILE = 48, 24, 256
RENDER_SIZE = 512
SMALL_FACE = 1.75  # enlargement from here on is worth a word
ROWS_A_CHUNK = 128

Picture = NDArray[np.uint8]


@dataclass
class CharacterReport:
    """What was found. `errors` make the character unusable, `problems` single rows of its table."""

    character: str
    source: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sheet: Path | None = None

    @property
    def ok(self) -> bool:
        """Whether the character can be used as it is."""
        return not self.errors and not self.problems

    def document(self) -> dict[str, Any]:
        """The report as JSON shows it."""
        return {
            "character": self.character,
            "ok": self.ok,
            "source": self.source,
            **self.facts,
            "errors": self.errors,
            "problems": [vars(problem) for problem in self.problems],
            "warnings": self.warnings,
            "sheet": str(self.sheet) if self.sheet else None,
        }


def check(folder: Path, embedded: Path, sheet: Path, context: Context) -> CharacterReport:
    """Check a character's folder; write its reference points into schema.yaml where they are missing, and a contact
    sheet of aligned pictures.
    """
    report = CharacterReport(folder.resolve().name)
    try:
        character = Character.load(folder)
        character.require_name()
        schema = character.schema
        report.source = _source_name(character)
        report.facts = {"sliders": schema.n_sliders, "groups": len(schema.groups), "choices": sum(schema.group_sizes)}
        if character.is_embedded:
            _look(report, _drawn(character, embedded, RENDER_SIZE // 2), None, sheet)
            return report
        pictures = _drawn(character, embedded) if character.has_engine else _from_pairs(character, report, context)
        character = _with_reference(character, report, pictures, embedded)
        _look(report, pictures, FrameTransform(character.require_reference()), sheet)
    except (CharacterError, SchemaError) as error:
        report.errors.append(str(error))
    return report


def _source_name(character: Character) -> str:
    source = character.source
    if isinstance(source, ExportedPairs):
        return f"pairs in {source.table}"
    return "the embedded engine" if source == "embedded" else str(next(iter(vars(source).values())))


def _drawn(character: Character, embedded: Path, size: int = RENDER_SIZE) -> list[Picture]:
    """The average face, then random ones, by the character's engine."""
    engine = open_engine(character, embedded)
    assert engine is not None
    sliders, choices = sampler.plausible(character.schema, SHOWN, np.random.default_rng(0))
    sliders[0], choices[0] = character.schema.neutral_sliders(), character.schema.neutral_discrete()
    return list(engine.draw(sliders, choices, size).image)


def _from_pairs(character: Character, report: CharacterReport, context: Context) -> list[Picture]:
    """Read the table and open every picture; the first few that can be used."""
    export = exported_pairs.read(character)
    report.warnings += [*export.warnings, *_unused(character, export)]
    frame = FrameTransform(character.reference) if character.reference.points else None
    seen = list(map_chunks(partial(_open_all, frame), export.pairs, ROWS_A_CHUNK, context, "pictures"))
    unreadable = {problem.row: problem for problem in seen if isinstance(problem, RowProblem)}
    sizes = [size for size in seen if not isinstance(size, RowProblem)]
    report.problems += sorted([*export.problems, *unreadable.values()], key=lambda problem: problem.row)
    good = [pair for pair in export.pairs if pair.row not in unreadable]
    report.facts |= {"rows": len(export.pairs) + len(export.problems), "usable": len(good)}
    if len(set(sizes)) > 1:
        report.warnings.append(f"pictures of {len(set(sizes))} sizes: {sorted(set(sizes))[:4]}")
    Export(export.table, good, report.problems).require_enough()
    report.facts["picture_size"] = list(sizes[0])
    # Spread over the table, and of one size, so that their landmarks can be compared.
    chosen = [good[int(k)] for k in np.linspace(0, len(good) - 1, min(LOOKED_AT, len(good)))]
    pictures = [exported_pairs.open_picture(pair) for pair in chosen]
    return [picture for picture in pictures if picture.shape == pictures[0].shape]


def _open_all(frame: FrameTransform | None, pairs: Sequence[ExportedPair]) -> list[tuple[int, int] | RowProblem]:
    return [_open(frame, pair) for pair in pairs]


def _open(frame: FrameTransform | None, pair: ExportedPair) -> tuple[int, int] | RowProblem:
    """Width and height of a pair's picture, or why it cannot be used."""
    try:
        picture = exported_pairs.open_picture(pair)
    except BadImage as error:
        return RowProblem(pair.id, pair.row, f"{pair.where}: {error}")
    if frame and (reason := frame.refusal(picture)):
        return RowProblem(pair.id, pair.row, f"{pair.where}: {reason}")
    return picture.shape[1], picture.shape[0]


def _unused(character: Character, export: Export) -> list[str]:
    """What the pairs never show, so that no imitator can learn it."""
    if not export.pairs:
        return []
    sliders = np.stack([pair.sliders for pair in export.pairs])
    choices = np.stack([pair.choices for pair in export.pairs])
    still = [
        s.known_as.name
        for s, spread in zip(character.schema.sliders, np.ptp(sliders, axis=0), strict=True)
        if spread < 1e-3
    ]
    found = [f"{', '.join(still)}: the same value in every row, so that nothing can be learnt of it"] if still else []
    for number, group in enumerate(character.schema.groups):
        if never := [c for k, c in enumerate(group.choices) if not (choices[:, number] == k).any()]:
            found.append(f"{group.engine_name}: no row has {', '.join(never)}")
    return found


def _with_reference(
    character: Character, report: CharacterReport, pictures: list[Picture], embedded: Path
) -> Character:
    """The character with its reference points; where they are missing, they are looked for and written down."""
    if not character.reference.points:
        named = character.reference.picture
        chosen = [_named_picture(character.folder / named)] if named else pictures
        points, found = found_points(chosen, embedded / "landmarks" / "face_landmarker.task")
        if points is None or 2 * found < len(chosen):
            raise CharacterError(
                f"a face was found in {found} of {len(chosen)} pictures: measure five points by hand and write them "
                f"under `reference` (a template of `likeness character init` shows how)"
            )
        height, width = chosen[0].shape[:2]
        rounded = tuple((round(float(x), 1), round(float(y), 1)) for x, y in points)
        append_reference(character.folder, Reference(picture=named, size=(width, height), points=rounded))
        report.facts["reference"] = f"found in {found} of {len(chosen)} pictures and written into schema.yaml"
        return Character.load(character.folder)
    report.facts["reference"] = f"{len(character.reference.points)} points in schema.yaml"
    return character


def _named_picture(path: Path) -> Picture:
    try:
        return decode_photo(path)
    except BadImage as error:
        raise CharacterError(f"`reference: picture`: {path}: {error}") from error


def _look(report: CharacterReport, pictures: list[Picture], frame: FrameTransform | None, sheet: Path) -> None:
    """Write the contact sheet: pictures in the reference frame, with the points on which every face should lie."""
    enlarged = frame.enlargement * TILE / pictures[0].shape[0] if frame else 1.0
    report.facts["enlargement"] = round(enlarged, 2)
    if enlarged > SMALL_FACE:
        report.warnings.append(
            f"the face is small: it is enlarged {enlarged:.1f} times for a picture of {TILE} pixels; export larger "
            "pictures, or move the camera closer"
        )
    tiles = [_dotted(frame(picture, TILE) if frame else picture) for picture in pictures[:SHOWN]]
    sheet.parent.mkdir(parents=True, exist_ok=True)
    write_picture(sheet, grid(tiles, columns=6))
    report.sheet = sheet


def _dotted(picture: Picture) -> Picture:
    """The reference landmarks over a picture in the reference frame."""
    dotted = np.ascontiguousarray(picture)
    for x, y in REFERENCE * len(picture):
        cv2.circle(dotted, (round(float(x) * 16), round(float(y) * 16)), 20, (40, 255, 60), -1, cv2.LINE_AA, 4)
    return dotted
