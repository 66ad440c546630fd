"""Every photo set in the reference frame, with pose and quality: portraits and real photos go through the same code.

A photo that cannot be used is a row of quarantine.parquet with the reason; it stops nothing. What alignment makes of a
photo is kept by its md5 (stages/data/alignment_cache.py): a run aligns what no earlier one has. Photos are aligned in
chunks, each a file of its own until all are there, so that memory stays small and an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from engine.files import digest_of
from models import images
from models.alignment import Face, FaceLandmarker, NoFace, align, eye_distance, quality, warp_labels
from models.images import BadImage
from models.orientation import turn_point
from models.reference import apply
from stages.context import Context
from stages.data import alignment_cache, photo_sets, tables
from stages.data.alignment_cache import AlignmentCache, Key, WantedRow
from stages.data.appearance_labels import ANNOTATOR
from stages.data.parallel import in_order
from stages.data.photo_sets import AnyPhotoSet, DatasetPhoto, FolderSet, People, labels
from stages.data.photo_sets.folder import OWN_PHOTOS
from stages.data.pictures import write_sheet

log = logging.getLogger(__name__)

VERSION = "6"
INPUTS = ("embedded", "photos", "portraits")

LANDMARKER = "landmarks/face_landmarker.task"
CHUNK = 48
SAMPLES = 64
HELD_OUT = "the same person is held out by another photo set"
LIBRARIES = ("mediapipe", "numpy", "opencv-python", "pillow", "pi-heif")
"""Whose versions decide as well what is made of a photo."""


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
    """One photo, what is already known about it, and what its alignment is kept by."""

    photo: DatasetPhoto
    parameters: list[float] | None = None
    discrete: list[int] | None = None
    refused: str | None = None
    """Why the photo is not even opened."""
    key: Key = field(default=Key("", ""))

    def wanted(self) -> WantedRow:
        """The row without what alignment says."""
        photo = self.photo
        parameters = None if self.parameters is None else np.asarray(self.parameters, np.float32)
        discrete = None if self.discrete is None else np.asarray(self.discrete, np.int16)
        return WantedRow(photo.id, photo.source, photo.person, photo.split, parameters, discrete)


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

    def made(cache: AlignmentCache) -> tuple[Counter[str], int]:
        jobs = _jobs(portraits, folder, people, config)
        _align_all(jobs, cache, inputs["embedded"] / LANDMARKER, config, out, context, total)
        return _join(cache, out)

    counts, refused = _with_cache(made, out, context)
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
            person = f"portraits/{row['person']}"  # a folder of photos may be called 00012
            photo = DatasetPhoto(name, "portraits", person, row["split"], row["image"], marks)
            yield _AlignmentJob(photo, row.get("parameters"), row.get("discrete"))
    for photo in photo_sets.photos_of(config.photo_sets, folder):
        yield _AlignmentJob(photo, refused=None if people.admits(photo) else HELD_OUT)


def _with_cache(
    made: Callable[[AlignmentCache], tuple[Counter[str], int]], out: Path, context: Context
) -> tuple[Counter[str], int]:
    """What `made` makes with the results that are kept, or, where there are none or they cannot be read, without: a
    cache may cost time, never the result.
    """
    if context.cache is not None:
        file = alignment_cache.file_in(context.cache)
        try:
            with AlignmentCache(file) as cache:
                found = made(cache)
                cache.finish()
                return found
        except sqlite3.Error as error:
            log.warning("%s cannot be used, all photos are aligned: %s", file, error)
            if alignment_cache.is_damaged(error):
                file.unlink(missing_ok=True)
    with (
        TemporaryDirectory(dir=out, prefix=".aligned-") as temporary,
        AlignmentCache(alignment_cache.file_in(Path(temporary))) as cache,
    ):
        return made(cache)


@contextmanager
def _parts_folder(context: Context, out: Path) -> Iterator[Path]:
    """Where chunks lie until all are there: with the checkpoints, where an interrupted run finds them again."""
    kept = context.folder_for("alignments")
    if kept is not None:
        yield kept
        return
    with TemporaryDirectory(dir=out, prefix=".parts-") as temporary:
        yield Path(temporary)


def _align_all(
    jobs: Iterator[_AlignmentJob],
    cache: AlignmentCache,
    landmarker: Path,
    config: AlignedFacesConfig,
    out: Path,
    context: Context,
    total: int,
) -> None:
    """Note every photo in the cache, and align those whose result it lacks."""
    settings = _settings(config, landmarker)
    done = refused = 0

    def unknown() -> Iterator[_AlignmentJob]:
        nonlocal done
        for job in jobs:
            if job.refused:
                cache.refuse(job.wanted(), job.refused)
            elif not cache.want(job.wanted(), key := _key(job.photo, settings)):
                yield replace(job, key=key)
                continue
            done += 1
            if done % CHUNK == 0:
                context.progress("aligned_faces", done, total)

    with _parts_folder(context, out) as parts:
        for part in sorted(parts.glob("*.parquet")):
            cache.add(_rows_of(part))
        new = unknown()
        chunks = iter(lambda: list(islice(new, CHUNK)), [])
        calls = ((chunk, _part(parts, chunk), landmarker, config) for chunk in chunks)
        hint = ": a new run goes on where this one was"
        for part, found, unusable in in_order(_align_chunk, calls, context.workers, "aligned_faces", hint=hint):
            cache.add(_rows_of(part))
            done += found
            refused += unusable
            context.progress("aligned_faces", done, total, quarantined=float(refused))
    context.progress("aligned_faces", done, total)


def _settings(config: AlignedFacesConfig, landmarker: Path) -> str:
    """A digest of what all photos' results follow from, the photos aside: code, configuration, networks, libraries."""
    asked = config.model_dump_json(exclude={"photo_sets", "mixed_people"})
    told = json.dumps([VERSION, asked, [_installed(library) for library in LIBRARIES]])
    return digest_of([("settings", told.encode()), (LANDMARKER, landmarker.read_bytes())])


def _installed(library: str) -> str:
    """The version of a library, "" of one that is not there."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def _key(photo: DatasetPhoto, settings: str) -> Key:
    """What the photo's result is kept by; a photo that cannot be read now is known by its id alone."""
    try:
        content = photo.picture if isinstance(photo.picture, bytes) else photo.picture.read_bytes()
        marks = [] if photo.labels is None else [(type(photo.labels).__name__, b""), *photo.labels.contents()]
    except OSError:
        return Key("", photo.id)
    rest = digest_of([("settings", settings.encode()), ("focus", repr(photo.focus).encode()), *marks])
    return Key(hashlib.md5(content, usedforsecurity=False).hexdigest(), rest)


def _part(folder: Path, chunk: list[_AlignmentJob]) -> Path:
    return folder / f"{digest_of((job.photo.id, ''.join(job.key).encode()) for job in chunk)}.parquet"


def _rows_of(part: Path) -> Iterator[dict[str, Any]]:
    return (row for rows in tables.iterate(part) for row in rows)


def _align_chunk(
    chunk: list[_AlignmentJob], file: Path, landmarker: Path, config: AlignedFacesConfig
) -> tuple[Path, int, int]:
    """Write the chunk's results; gives the file, how many there are and how many of them are refused."""
    with FaceLandmarker(landmarker, config.max_faces) as task:
        rows = [_align_one(job, task, config) for job in chunk]
    tables.write(file, rows, alignment_cache.RESULT_SCHEMA)
    return file, len(rows), sum("reason" in row for row in rows)


def _align_one(job: _AlignmentJob, task: FaceLandmarker, config: AlignedFacesConfig) -> dict[str, Any]:
    """The photo's result. Whatever happens over one photo is its own reason, and the others go on."""
    result: dict[str, Any] = {**job.key._asdict(), "lasting": bool(job.key.photo)}
    try:
        return result | _aligned(job.photo, task, config)
    except _Unusable as error:
        return result | {"reason": str(error)}
    except BadImage as error:
        return result | {"reason": f"unreadable: {error}"}
    except NoFace:
        return result | {"reason": "no face found"}
    except Exception as error:
        log.exception("%s cannot be aligned", job.photo.id)
        return result | {"reason": f"it cannot be aligned ({type(error).__name__}: {error})", "lasting": False}


class _Unusable(ValueError):
    """A face is there, but not used; the message says why."""


def _aligned(photo: DatasetPhoto, task: FaceLandmarker, config: AlignedFacesConfig) -> dict[str, Any]:
    """Crop, pose and quality. Raises BadImage, NoFace or _Unusable."""
    stored, orientation = images.decode_stored(photo.picture)
    height, width = stored.shape[:2]
    maps = None if photo.labels is None else labels.upright(photo.labels.load(), height, width, orientation)
    image = images.turn(stored, orientation)
    faces = task.find(image)
    face, marks = _meant_and_marked(_turned(photo, stored, orientation), faces, image, maps)
    if face is None:
        raise _Unusable("no face was found where the photo set has one")
    if reason := _unusable(face, config):
        raise _Unusable(reason)
    crop, matrix = align(image, face.landmarks, config.size)
    seen = quality(crop)
    if marks is not None:
        if photo.labels is not None and not photo.labels.sides_known:
            marks = labels.with_own_sides(marks, face.landmarks)
        marks = warp_labels(marks, matrix, config.size)
    return {
        "image": images.encode_jpeg(crop, config.jpeg_quality),
        "labels": None if marks is None else images.encode_png(marks),
        "yaw": face.yaw,
        "pitch": face.pitch,
        "roll": face.roll,
        "sharpness": seen.sharpness,
        "brightness": seen.brightness,
        "n_faces": len(faces),
        "landmarks": apply(matrix, face.landmarks).astype(np.float32).ravel(),
    }


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


def _join(cache: AlignmentCache, out: Path) -> tuple[Counter[str], int]:
    """Write the rows that were wanted, in order, into the two tables, and a contact sheet of each source; gives the
    number of faces of each source and of refused photos.
    """
    refused: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    samples: dict[str, list[bytes]] = {}

    def good_rows() -> Iterator[dict[str, Any]]:
        for row in cache.rows():
            if "reason" in row:
                refused.append(row)
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
