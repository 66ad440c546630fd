"""Every photo set in the reference frame, with pose and quality: portraits and real photos go through the same code.

A photo that cannot be used is a row of quarantine.parquet with the reason; it stops nothing. Photos are aligned in
chunks, each a file of its own until all are there, so that memory stays small and an interrupted run goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from models import images
from models.alignment import Face, FaceLandmarker, NoFace, align, eye_distance, quality, warp_labels
from models.images import BadImage
from models.orientation import turn_point
from models.reference import apply
from stages.context import Context
from stages.data import photo_sets, tables
from stages.data.appearance_labels import ANNOTATOR
from stages.data.parallel import in_order
from stages.data.photo_sets import AnyPhotoSet, DatasetPhoto, FolderSet, People, labels
from stages.data.photo_sets.folder import OWN_PHOTOS
from stages.data.pictures import write_sheet

log = logging.getLogger(__name__)

VERSION = "5"
INPUTS = ("embedded", "photos", "portraits")

LANDMARKER = "landmarks/face_landmarker.task"
CHUNK = 48
SAMPLES = 64
HELD_OUT = "the same person is held out by another photo set"
PART_SCHEMA = pa.schema([*tables.FACES_SCHEMA, ("reason", pa.string())])
"""One chunk's rows: aligned faces have no reason, all others have nothing but id, source and reason."""


class AlignedFacesConfig(BaseModel, frozen=True, extra="forbid"):
    """What is cut out and what is refused."""

    size: int = Field(default=256, ge=64)
    """Side of a crop, pixels."""
    jpeg_quality: int = Field(default=95, ge=50, le=100)
    min_eye_distance: float = 16.0
    """Pixels of the photo; a smaller face holds too little."""
    max_yaw: float = 70.0
    max_pitch: float = 50.0
    max_faces: int = 5
    photo_sets: tuple[AnyPhotoSet, ...] = (FolderSet(name=OWN_PHOTOS, path="."),)
    """The real photos, set by set, each below data/photos; docs/real-data-sets.md shows every kind."""
    mixed_people: Literal["error", "leave_out"] = "error"
    """What to do when somebody is in two splits: refuse to begin, or leave out the photos that would be trained on."""

    @model_validator(mode="after")
    def _sets_fit_together(self) -> AlignedFacesConfig:
        photo_sets.check_together(self.photo_sets)
        return self


Config = AlignedFacesConfig


@dataclass(frozen=True, slots=True)
class _AlignmentJob:
    """One photo and what is already known about it."""

    photo: DatasetPhoto
    parameters: list[float] | None = None
    discrete: list[int] | None = None
    refused: str | None = None
    """Why the photo is not even opened."""


def run(inputs: Mapping[str, Path], config: AlignedFacesConfig, out: Path, context: Context) -> dict[str, float]:
    """Writes faces.parquet, quarantine.parquet, verification_pairs.parquet, appearance_labels.parquet, contact sheets.

    Metrics: how many faces of each source and how many refused. Raises PhotoSetError before any photo is opened.
    """
    portraits = inputs["portraits"] / "portraits.parquet"
    sets, folder = config.photo_sets, inputs["photos"]
    people = photo_sets.splits(photo_sets.photos_of(sets, folder), config.mixed_people)
    pairs = (asdict(pair) for pair in photo_sets.pairs_of(sets, folder))
    tables.write(out / "verification_pairs.parquet", pairs, tables.VERIFICATION_PAIRS_SCHEMA)
    total = tables.count(portraits) + people.photos
    said = ({"id": each.id, ANNOTATOR: each.annotator, **each.values} for each in photo_sets.labelled_in(sets, folder))
    tables.write(out / "appearance_labels.parquet", said, tables.APPEARANCE_LABELS_SCHEMA)
    with _parts_folder(context, out) as parts:
        jobs = _jobs(portraits, folder, people, config)
        chunks = iter(lambda: list(islice(jobs, CHUNK)), [])
        files = _aligned(chunks, parts, inputs["embedded"] / LANDMARKER, config, context, total)
        counts, refused = _join(files, out)
    if not counts:
        raise ValueError("no usable face in any photo; see the reasons in quarantine.parquet")
    names = ["portraits", *(one.name for one in sets)]
    shares = {"quarantined": float(refused), "quarantined_share": refused / max(total, 1)}
    return {name: float(counts[name]) for name in names} | shares


def _jobs(portraits: Path, folder: Path, people: People, config: AlignedFacesConfig) -> Iterator[_AlignmentJob]:
    columns = ("id", "person", "split", "image", "labels", "parameters", "discrete")
    for rows in tables.iterate(portraits, columns):
        for row in rows:
            name = str(row["id"])
            name = name if name.startswith("portraits/") else f"portraits/{name}"
            marks = None if row.get("labels") is None else labels.StoredLabels(row["labels"])
            photo = DatasetPhoto(name, "portraits", str(row["person"]), row["split"], row["image"], marks)
            yield _AlignmentJob(photo, row.get("parameters"), row.get("discrete"))
    for photo in photo_sets.photos_of(config.photo_sets, folder):
        yield _AlignmentJob(photo, refused=None if people.admits(photo) else HELD_OUT)


@contextmanager
def _parts_folder(context: Context, out: Path) -> Iterator[Path]:
    """Where chunks lie until they are joined: with the checkpoints, where an interrupted run finds them again."""
    kept = context.folder_for("aligned_faces")
    if kept is not None:
        yield kept
        return
    with TemporaryDirectory(dir=out, prefix=".parts-") as temporary:
        yield Path(temporary)


def _aligned(
    chunks: Iterator[list[_AlignmentJob]],
    folder: Path,
    landmarker: Path,
    config: AlignedFacesConfig,
    context: Context,
    total: int,
) -> list[Path]:
    """The files of all chunks in order, those made that are not there yet."""
    files: list[Path] = []
    done = 0

    def unfinished() -> Iterator[tuple[list[_AlignmentJob], Path, Path, AlignedFacesConfig]]:
        nonlocal done
        for number, chunk in enumerate(chunks):
            file = folder / f"{CHUNK}-{number:06d}.parquet"
            files.append(file)
            if file.exists():
                done += len(chunk)
            else:
                yield chunk, file, landmarker, config

    refused = 0
    hint = ": a new run goes on where this one was"
    for found, unusable in in_order(_align_chunk, unfinished(), context.workers, "aligned_faces", hint=hint):
        done += found
        refused += unusable
        context.progress("aligned_faces", done, total, quarantined=float(refused))
    context.progress("aligned_faces", done, total)
    return files


def _align_chunk(
    chunk: list[_AlignmentJob], file: Path, landmarker: Path, config: AlignedFacesConfig
) -> tuple[int, int]:
    """Write the chunk's rows; gives how many there are and how many of them are refused."""
    with FaceLandmarker(landmarker, config.max_faces) as task:
        rows = [_align_one(job, task, config) for job in chunk]
    tables.write(file, rows, PART_SCHEMA)
    return len(rows), sum("reason" in row for row in rows)


def _align_one(job: _AlignmentJob, task: FaceLandmarker, config: AlignedFacesConfig) -> dict[str, Any]:
    """The photo's row. Whatever happens over one photo is its own reason, and the others go on."""
    if job.refused:
        return _refuse(job.photo, job.refused)
    try:
        return _row(job, task, config)
    except BadImage as error:
        return _refuse(job.photo, f"unreadable: {error}")
    except NoFace:
        return _refuse(job.photo, "no face found")
    except Exception as error:
        log.exception("%s cannot be aligned", job.photo.id)
        return _refuse(job.photo, f"it cannot be aligned ({type(error).__name__}: {error})")


def _row(job: _AlignmentJob, task: FaceLandmarker, config: AlignedFacesConfig) -> dict[str, Any]:
    """Raises BadImage or NoFace."""
    photo = job.photo
    stored, orientation = images.decode_stored(photo.picture)
    height, width = stored.shape[:2]
    maps = None if photo.labels is None else labels.upright(photo.labels.load(), height, width, orientation)
    image = images.turn(stored, orientation)
    faces = task.find(image)
    face, marks = _meant_and_marked(_turned(photo, stored, orientation), faces, image, maps)
    if face is None:
        return _refuse(photo, "no face was found where the photo set has one")
    if reason := _unusable(face, config):
        return _refuse(photo, reason)
    crop, matrix = align(image, face.landmarks, config.size)
    seen = quality(crop)
    if marks is not None:
        if photo.labels is not None and not photo.labels.sides_known:
            marks = labels.with_own_sides(marks, face.landmarks)
        marks = warp_labels(marks, matrix, config.size)
    return {
        "id": photo.id,
        "source": photo.source,
        "person": photo.person,
        "split": photo.split,
        "image": images.encode_jpeg(crop, config.jpeg_quality),
        "labels": None if marks is None else images.encode_png(marks),
        "parameters": job.parameters,
        "discrete": job.discrete,
        "yaw": face.yaw,
        "pitch": face.pitch,
        "roll": face.roll,
        "sharpness": seen.sharpness,
        "brightness": seen.brightness,
        "n_faces": len(faces),
        "landmarks": apply(matrix, face.landmarks).astype(np.float32).ravel(),
    }


def _refuse(photo: DatasetPhoto, reason: str) -> dict[str, Any]:
    return {"id": photo.id, "source": photo.source, "reason": reason}


def _turned(photo: DatasetPhoto, stored: NDArray, orientation: int) -> DatasetPhoto:
    """The photo with its point of focus where it lies once the stored picture [H, W, 3] is upright."""
    if not isinstance(photo.focus, tuple):
        return photo
    height, width = stored.shape[:2]
    return replace(photo, focus=turn_point(photo.focus, height, width, orientation))


def _meant_and_marked(
    photo: DatasetPhoto, faces: list[Face], image: NDArray, maps: list[NDArray] | None
) -> tuple[Face | None, NDArray | None]:
    """The face that is meant, and its label map: where it may be meant in several ways, the one that lies on the face.
    Raises BadImage where none does.
    """
    if maps is None or len(maps) == 1:
        marks = maps[0] if maps else None
        return _meant(photo, faces, image, marks), marks
    for marks in maps:
        face = _meant(photo, faces, image, marks)
        if face is not None and labels.lie_on(marks, face.landmarks):
            return face, marks
    raise BadImage("the photo is turned by its EXIF orientation, and its label map lies on the face neither way")


def _meant(photo: DatasetPhoto, faces: list[Face], image: NDArray, marks: NDArray | None) -> Face | None:
    """The face that the set's statement about the photo is about: the largest, or the smallest one around a point."""
    if photo.focus == "largest":
        return faces[0]
    height, width = image.shape[:2]
    if photo.focus == "labels":
        point = None if marks is None else labels.centre(marks)
    else:
        point = (width / 2, height / 2) if photo.focus == "centre" else photo.focus
    if point is None:
        return None
    around = [face for face in faces if _encloses(face.box, point)]
    return min(around, key=lambda face: face.size, default=None)


def _encloses(box: tuple[float, float, float, float], point: tuple[float, float]) -> bool:
    left, top, right, bottom = box
    return left <= point[0] <= right and top <= point[1] <= bottom


def _unusable(face: Face, config: AlignedFacesConfig) -> str | None:
    """Why a face is not used, if so."""
    if face.doubtful:
        return f"no way up does it look much like a face: the detector's score is {face.score:.2f}"
    if (eyes := eye_distance(face.landmarks)) < config.min_eye_distance:
        return f"face too small: the eyes are {eyes:.0f} pixels apart, not {config.min_eye_distance:.0f}"
    if abs(face.yaw) > config.max_yaw:
        return f"too much from the side: yaw {face.yaw:.0f} degrees"
    if abs(face.pitch) > config.max_pitch:
        return f"too much from above or below: pitch {face.pitch:.0f} degrees"
    return None


def _join(files: list[Path], out: Path) -> tuple[Counter[str], int]:
    """Write the chunks' rows in order into the two tables, and a contact sheet of each source; gives the number of
    faces of each source and of refused photos.
    """
    refused: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    samples: dict[str, list[bytes]] = {}

    def good_rows() -> Iterator[dict[str, Any]]:
        for file in files:
            for rows in tables.iterate(file):
                for row in rows:
                    reason = row.pop("reason")
                    if reason is not None:
                        refused.append({"id": row["id"], "source": row["source"], "reason": reason})
                        continue
                    counts[row["source"]] += 1
                    if len(shown := samples.setdefault(row["source"], [])) < SAMPLES:
                        shown.append(row["image"])
                    yield row

    tables.write(out / "faces.parquet", good_rows(), tables.FACES_SCHEMA)
    tables.write(out / "quarantine.parquet", refused, tables.QUARANTINE_SCHEMA)
    for source, encoded in samples.items():
        write_sheet(out / f"{source}.png", [images.decode(image) for image in encoded], 8, 128)
    return counts, len(refused)
