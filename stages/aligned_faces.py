"""Every photo set in the reference frame, with pose and quality: portraits and real photos go through the same code.

A photo that cannot be used is a row of quarantine.parquet with the reason; it stops nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from models import images
from models.alignment import FaceLandmarker, NoFace, align, apply, apply_3d, eye_distance, quality, warp_labels
from models.images import BadImage
from stages import tables
from stages.context import Context

VERSION = "2"
INPUTS = ("embedded", "photos", "portraits")

LANDMARKER = "landmarks/face_landmarker.task"
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic"}
CHUNK = 48


class Config(BaseModel, frozen=True, extra="forbid"):
    """What is cut out and what is refused."""

    size: int = Field(default=256, ge=64)
    """Side of a crop, pixels."""
    jpeg_quality: int = Field(default=95, ge=50, le=100)
    min_eye_distance: float = 16.0
    """Pixels of the photo; a smaller face holds too little."""
    max_yaw: float = 70.0
    max_pitch: float = 50.0
    max_faces: int = 5
    photo_split: str = "test"
    """Split of the real photos: by default they are never trained on."""


@dataclass(frozen=True)
class _Job:
    """One photo and what is already known about it."""

    id: str
    source: str
    person: str
    split: str
    image: bytes | Path
    labels: bytes | None = None
    parameters: list[float] | None = None
    discrete: list[int] | None = None


Result = tuple[bool, dict[str, Any]]
"""Whether the row belongs into faces.parquet (else into the quarantine), and the row."""


def run(inputs: Mapping[str, Path], config: Config, out: Path, context: Context) -> dict[str, float]:
    """Writes faces.parquet, quarantine.parquet and contact sheets; metrics: how many of each."""
    portraits = inputs["portraits"] / "portraits.parquet"
    photos = sorted(p for p in inputs["photos"].rglob("*") if p.is_file() and p.suffix.lower() in PHOTO_SUFFIXES)
    total = tables.count(portraits) + len(photos)
    chunks = _chunks(_jobs(portraits, photos, inputs["photos"], config))
    refused: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    samples: dict[str, list[bytes]] = {"portraits": [], "photos": []}

    def good_rows() -> Iterator[dict[str, Any]]:
        done = 0
        for results in _in_processes(chunks, inputs["embedded"] / LANDMARKER, config, context.workers):
            for good, row in results:
                if not good:
                    refused.append(row)
                    continue
                counts[row["source"]] += 1
                if len(samples[row["source"]]) < 64:
                    samples[row["source"]].append(row["image"])
                yield row
            done += len(results)
            context.progress("aligned_faces", done, total, quarantined=float(len(refused)))

    tables.write(out / "faces.parquet", good_rows(), tables.FACES_SCHEMA)
    tables.write(out / "quarantine.parquet", refused, tables.QUARANTINE_SCHEMA)
    for source, encoded in samples.items():
        if encoded:
            sheet = images.grid([images.resize(images.decode(image), 128) for image in encoded], columns=8)
            (out / f"{source}.png").write_bytes(images.encode_png(sheet))
    if not counts:
        raise ValueError("no usable face in any photo; see the reasons in quarantine.parquet")
    return {
        "portraits": float(counts["portraits"]),
        "photos": float(counts["photos"]),
        "quarantined": float(len(refused)),
        "quarantined_share": len(refused) / max(total, 1),
    }


def _jobs(portraits: Path, photos: list[Path], folder: Path, config: Config) -> Iterator[_Job]:
    columns = ("id", "person", "split", "image", "labels", "parameters", "discrete")
    for rows in tables.iterate(portraits, columns):
        for row in rows:
            name = str(row["id"])
            yield _Job(
                name if name.startswith("portraits/") else f"portraits/{name}",
                "portraits",
                str(row["person"]),
                row["split"],
                row["image"],
                row.get("labels"),
                row.get("parameters"),
                row.get("discrete"),
            )
    for path in photos:
        inside = path.relative_to(folder)
        person = inside.parts[0] if len(inside.parts) > 1 else path.stem
        yield _Job(f"photos/{inside.as_posix()}", "photos", person, config.photo_split, path)


def _chunks(jobs: Iterator[_Job]) -> Iterator[list[_Job]]:
    chunk: list[_Job] = []
    for job in jobs:
        chunk.append(job)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _in_processes(
    chunks: Iterator[list[_Job]], landmarker: Path, config: Config, workers: int
) -> Iterator[list[Result]]:
    """Results in the order of the jobs, however many processes work; only a few chunks are in flight, so memory stays
    small.
    """
    if workers <= 1:
        for chunk in chunks:
            yield _align_chunk(chunk, landmarker, config)
        return
    # spawn: a forked child would inherit the thread pools of torch and OpenCV in an unusable state
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        waiting = []
        for chunk in chunks:
            waiting.append(pool.submit(_align_chunk, chunk, landmarker, config))
            if len(waiting) > 2 * workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _align_chunk(chunk: list[_Job], landmarker: Path, config: Config) -> list[Result]:
    with FaceLandmarker(landmarker, config.max_faces) as task:
        return [_align_one(job, task, config) for job in chunk]


def _align_one(job: _Job, task: FaceLandmarker, config: Config) -> Result:
    try:
        image = images.decode_photo(job.image)
        faces = task.find(image)
    except BadImage as error:
        return _refuse(job, f"unreadable: {error}")
    except NoFace:
        return _refuse(job, "no face found")
    face = faces[0]
    if (eyes := eye_distance(face.landmarks)) < config.min_eye_distance:
        return _refuse(job, f"face too small: the eyes are {eyes:.0f} pixels apart, not {config.min_eye_distance:.0f}")
    if abs(face.yaw) > config.max_yaw:
        return _refuse(job, f"too much from the side: yaw {face.yaw:.0f} degrees")
    if abs(face.pitch) > config.max_pitch:
        return _refuse(job, f"too much from above or below: pitch {face.pitch:.0f} degrees")
    crop, matrix = align(image, face.landmarks, config.size)
    seen = quality(crop)
    labels = None if job.labels is None else warp_labels(images.decode_labels(job.labels), matrix, config.size)
    return True, {
        "id": job.id,
        "source": job.source,
        "person": job.person,
        "split": job.split,
        "image": images.encode_jpeg(crop, config.jpeg_quality),
        "labels": None if labels is None else images.encode_png(labels),
        "parameters": job.parameters,
        "discrete": job.discrete,
        "yaw": face.yaw,
        "pitch": face.pitch,
        "roll": face.roll,
        "sharpness": seen.sharpness,
        "brightness": seen.brightness,
        "n_faces": len(faces),
        "landmarks": apply(matrix, face.landmarks).astype(np.float32).ravel(),
        "mesh": apply_3d(matrix, face.mesh).astype(np.float32).ravel(),
        "expression": face.expression.astype(np.float32),
    }


def _refuse(job: _Job, reason: str) -> Result:
    return False, {"id": job.id, "source": job.source, "reason": reason}
