"""Duplicates and strangers among real photos: the same face under two people, the same photo in two splits, and two
people under one name.

A recogniser says how alike two faces are (`stages/data/face_embeddings.py`), and the pictures themselves whether two
are one photo. How well that works is measured by `python -m benchmarks.duplicates`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.errors import LikenessError
from models import images
from orchestration.checks.context import CheckContext
from orchestration.checks.gx import DataBatch, ExpectationResult, validate
from orchestration.config.check_rules import DuplicatesRule
from stages.data import face_embeddings, feature_cache, similar_faces
from stages.data.face_embeddings import Progress
from stages.data.similar_faces import TwoPeople

FACES = "faces.parquet"
SIDE, SMALL, MARGIN = 256, 32, 32
"""Pixels: a crop's side, the side at which two are compared, and what is left out at each edge."""


@dataclass(frozen=True)
class Photo:
    """One face of the table."""

    id: str
    source: str
    person: str
    split: str


@dataclass(frozen=True)
class SameFace:
    """Two photos that look like one person's, and are under two people's names."""

    first: Photo
    second: Photo
    similarity: float
    """Cosine of the two embeddings."""
    same_photo: bool
    """Not only the same face: one is a copy of the other, perhaps smaller, cut or encoded again."""
    pairs: int
    """How many pairs of photos of the two people look alike; this is the most alike."""

    @property
    def in_two_splits(self) -> bool:
        """Is a face trained on and scored, so that the score flatters?"""
        return self.first.split != self.second.split

    def __str__(self) -> str:
        what = "the same photo" if self.same_photo else "the same face"
        more = f", and {self.pairs - 1} more of the two" if self.pairs > 1 else ""
        splits = f", in {self.first.split} and {self.second.split}" if self.in_two_splits else ""
        return f"{what} as {self.second.person}'s: {self.similarity:.2f}{splits}{more}"


@dataclass(frozen=True)
class UnlikeOthers:
    """A photo that shows somebody else than the others of its person do."""

    photo: Photo
    typical: Photo
    """The photo of that person that is most like the others."""
    similarity: float
    """Mean cosine with the others' embeddings."""

    def __str__(self) -> str:
        return f"unlike {self.photo.person}'s others: {self.similarity:.2f}"


@dataclass(frozen=True)
class Duplicates:
    """What was found among the real photos of one table."""

    faces: int
    limit: float
    """The similarity that was asked for, which grows with the number of pairs."""
    pairs: int
    """Pairs of photos of two people that were compared."""
    same_faces: Sequence[SameFace]
    """The most alike, one of each pair of people."""
    strangers: Sequence[UnlikeOthers]
    """The least alike."""
    people_alike: int
    """Pairs of people with the same face, those that are not shown included."""
    unlike: int
    """Photos that are unlike the others of their person, the same."""

    def photos(self) -> list[Photo]:
        """The photos that are named, pair by pair; one may come several times."""
        named = [(one.first, one.second) for one in self.same_faces]
        named += [(one.photo, one.typical) for one in self.strangers]
        return [photo for pair in named for photo in pair]

    def facts(self) -> dict[str, Any]:
        """What the check tells beside what it found."""
        return {
            "faces_compared": self.faces,
            "pairs_compared": self.pairs,
            "same_face_from": round(self.limit, 3),
            "people_alike": self.people_alike,
            "photos_unlike": self.unlike,
        }

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return self.facts() | {
            "same_faces": [asdict(one) | {"in_two_splits": one.in_two_splits} for one in self.same_faces],
            "strangers": [asdict(one) for one in self.strangers],
        }


def examine(
    table: Path, weights: Path, rule: DuplicatesRule, cache: Path | None, device: Callable[[], str], progress: Progress
) -> Duplicates:
    """Compare all real photos of faces.parquet with one another."""
    faces = face_embeddings.read_faces(table, rule.without).to_pandas()
    file = feature_cache.file_in(cache) if cache else None
    seen = face_embeddings.embeddings(table, weights, file, device, progress, rule.without)
    people = pd.factorize(faces["person"])[0].astype(np.int64)
    photos = [Photo(*values) for values in faces.itertuples(index=False, name=None)]
    alike = similar_faces.alike(seen, people, rule.same_face, rule.chance, rule.shown)
    strangers = similar_faces.strangers(seen, people, rule.same_person)
    unlike = [UnlikeOthers(photos[one.row], photos[one.typical], one.similarity) for one in strangers[: rule.shown]]
    same = _same_faces(table, photos, alike.found, rule)
    return Duplicates(len(photos), alike.limit, alike.compared, same, unlike, alike.people, len(strangers))


def _same_faces(
    table: Path, photos: Sequence[Photo], found: Sequence[TwoPeople], rule: DuplicatesRule
) -> list[SameFace]:
    pairs = [(photos[one.best.first], photos[one.best.second], one) for one in found]
    pictures = face_embeddings.pictures_of(table, {photo.id for pair in pairs for photo in pair[:2]})
    return [
        SameFace(
            first,
            second,
            one.best.similarity,
            bool(likeness(pictures[first.id], pictures[second.id]) >= rule.same_photo),
            one.pairs,
        )
        for first, second, one in pairs
    ]


def likeness(first: bytes, second: bytes) -> float:
    """Correlation of two encoded crops, made small; of one and the other's mirror image where that is higher."""
    one, other = _small(first), _small(second)
    return max(float((one * other).mean()), float((one * other[:, ::-1]).mean()))


def _small(encoded: bytes) -> NDArray:
    """The middle of a crop in grey [SMALL, SMALL], with mean 0 and spread 1."""
    picture = images.resize(images.decode(encoded), SIDE).mean(2)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    grey = images.resize(picture.round().astype(np.uint8), SMALL).astype(np.float64)
    return (grey - grey.mean()) / max(grey.std(), 1.0)


def of_version(context: CheckContext, rule: DuplicatesRule, progress: Progress) -> Duplicates:
    """What there is in a version of aligned_faces. Raises LikenessError, StoreError, RemoteDown."""
    if context.fetch_input is None:
        raise LikenessError("it is not recorded with which recogniser this version came: make aligned_faces again")
    weights = context.fetch_input("embedded") / face_embeddings.WEIGHTS
    return examine(context.folder / FACES, weights, rule, context.cache, context.pick_device, progress)


def evaluate(context: CheckContext) -> tuple[list[ExpectationResult], dict[str, Any]]:
    """Findings on the real photos of a version of aligned_faces; none where there are not two of them."""
    rule, table = context.rules.duplicates, context.folder / FACES
    assert rule is not None
    if context.fetch_input is None:
        return [], {"reason": "it is not known which recogniser came with it"}
    if face_embeddings.read_faces(table, rule.without).num_rows < 2:
        return [], {"reason": "there are not two real photos"}
    found = of_version(context, rule, context.progress)
    return validate(_batch(table, found, rule)), found.facts()


def _batch(table: Path, found: Duplicates, rule: DuplicatesRule) -> DataBatch:
    """A row for each photo; those that something was found of come first, each with the photo that it was held
    against.
    """
    import great_expectations.expectations as gxe

    rows = [_row(one.first, one.second, "same_face", str(one)) for one in found.same_faces]
    rows += [_row(one.photo, one.typical, "stranger", str(one)) for one in found.strangers]
    faces = face_embeddings.read_faces(table, rule.without).to_pandas()
    others = faces[~faces["id"].isin([row["id"] for row in rows])]
    frame = pd.concat([pd.DataFrame(rows, columns=[*faces.columns, "second", "same_face", "stranger"]), others])
    asked = {
        "same_face": "no face is there as another person's too",
        "stranger": "no photo is unlike the others of its person",
    }
    return DataBatch(
        frame.astype(object).where(frame.notna(), None),
        [gxe.ExpectColumnValuesToBeNull(column=name, meta={"about": about}) for name, about in asked.items()],
        "real photos, with the one that each was held against as `second`; `likeness duplicates` says what to do",
    )


def _row(photo: Photo, second: Photo, column: str, said: str) -> Mapping[str, str]:
    return {**asdict(photo), "second": second.id, column: said}
