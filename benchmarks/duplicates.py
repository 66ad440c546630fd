"""How well duplicates and strangers are found among real photos, and how long many faces take.

    python -m benchmarks.duplicates [--faces N ...] [--photos DIR] [--json] [--out DIR]

The 145 people of benchmarks/real_people, one photo each, are aligned and compared as the check `duplicates` compares
them: whatever is found among them is wrong. Then faults are put among them:

    copies      every fifth photo again under another name: encoded at quality 40, half as large, cut by 6 % at each
                edge, brighter, mirrored. Of each: how many are found, and called the same photo
    strangers   two people, and two people with two photos each (the second one brighter), under one name

There are few pairs of photos of one person here (the example photos have two, years apart): how often the same face is
found in two different photos is not measured but for these. Writes `duplicates.json` into DIR:

    machine     processor, cores, load before the start, versions
    among_145   limit, highest similarity of two people, pairs found (all wrong)
    same_person similarity of the pairs of the example photos
    copies      for each kind: photos, found, called the same photo
    strangers   for each kind: names, found
    faces       for each number of made-up embeddings: core_seconds to compare all, megabytes above the start
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from benchmarks import people
from benchmarks.data import measured
from benchmarks.output import AsJson, notes, require_embedded, write
from models import images
from models.alignment import FaceLandmarker, NoFace, align
from models.identity import IdentityModel
from models.inference import optimize_for_inference
from orchestration.checks.duplicates import likeness
from orchestration.config.check_rules import DuplicatesRule
from orchestration.config.settings import REPOSITORY
from stages.aligned_faces import LANDMARKER
from stages.data import face_embeddings, similar_faces, source_files
from stages.data.dataset import ImageDataset, in_batches

EMBEDDED = REPOSITORY / "data" / "embedded"
EVERY, FACES, OF_A_PERSON = 5, (10_000, 100_000), 10
RULE = DuplicatesRule()


def _encoded_again(photo: NDArray) -> NDArray:
    return images.decode(images.encode_jpeg(photo, 40))


def _half(photo: NDArray) -> NDArray:
    return cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _cut(photo: NDArray) -> NDArray:
    edge = int(0.06 * min(photo.shape[:2]))
    return np.ascontiguousarray(photo[edge:-edge, edge:-edge])


def _brighter(photo: NDArray) -> NDArray:
    return np.clip(photo * 1.15 + 6, 0, 255).astype(np.uint8)


def _mirrored(photo: NDArray) -> NDArray:
    return np.ascontiguousarray(photo[:, ::-1])


COPIES: dict[str, Callable[[NDArray], NDArray]] = {
    "encoded again": _encoded_again, "half as large": _half, "cut": _cut, "brighter": _brighter, "mirrored": _mirrored,
}  # fmt: skip


class Faces:
    """Photos as crops, and as the check's recogniser sees them."""

    def __init__(self, task: FaceLandmarker) -> None:
        self.task, self.people, self.crops = task, [], []

    def add(self, person: str, photo: NDArray) -> bool:
        """Align a photo; False where there is no face in it."""
        try:
            face = self.task.find(photo)[0]
        except NoFace:
            return False
        crop, _ = align(photo, face.landmarks, face_embeddings.SIZE)
        self.people.append(person)
        self.crops.append(images.encode_jpeg(crop, 95))
        return True

    def seen(self) -> NDArray:
        """Embeddings [N, D]."""
        model = optimize_for_inference(IdentityModel.from_file("sface", EMBEDDED / face_embeddings.WEIGHTS))
        return in_batches(model, ImageDataset(self.crops, face_embeddings.SIZE), "cpu").numpy()


def among_strangers(seen: NDArray) -> dict[str, Any]:
    """What is found among photos of which no two show one person."""
    found = similar_faces.alike(seen, np.arange(len(seen)), RULE.same_face, RULE.chance, 100)
    highest = float((seen @ seen.T)[np.triu_indices(len(seen), 1)].max())
    return {
        "photos": len(seen),
        "pairs": found.compared,
        "limit": found.limit,
        "highest": highest,
        "found": found.people,
    }


def copies(photos: list[NDArray], task: FaceLandmarker) -> dict[str, Any]:
    """Of each kind of copy under another name, how many are found."""
    told = {}
    for kind, change in COPIES.items():
        faces = Faces(task)
        for number, photo in enumerate(photos):
            faces.add(str(number), photo)
        originals, copied = len(faces.people), []
        for number in range(0, len(photos), EVERY):
            if faces.add(f"copy {number}", change(photos[number])):
                copied.append((faces.people.index(str(number)), len(faces.people) - 1))
        found = similar_faces.alike(faces.seen(), np.arange(len(faces.people)), RULE.same_face, RULE.chance, 1000)
        pairs = {(one.best.first, one.best.second) for one in found.found}
        right = [pair for pair in copied if pair in pairs]
        same = [likeness(faces.crops[a], faces.crops[b]) >= RULE.same_photo for a, b in right]
        wrong = [pair for pair in pairs if pair not in copied]
        told[kind] = {"among": originals, "copies": len(copied), "found": len(right), "same_photo": sum(same)}
        told[kind] |= {"wrong": len(wrong), "limit": found.limit}
    return told


def strangers(photos: list[NDArray], task: FaceLandmarker) -> dict[str, Any]:
    """Two people under one name, and as many names of one person: how many are found, and how many wrongly."""
    told = {}
    for kind, shots in (("one photo each", 1), ("two photos each", 2)):
        faces = Faces(task)
        for number in range(0, len(photos) - 1, 2):
            for person in (number, number + 1):
                for shot in range(shots):
                    faces.add(str(number), _brighter(photos[person]) if shot else photos[person])
        names, codes = np.unique(np.array(faces.people), return_inverse=True)
        found = similar_faces.strangers(faces.seen(), codes, RULE.same_person)
        told[kind] = {"names": len(names), "found": len({int(codes[one.row]) for one in found})}
    return told


def of_one_person(task: FaceLandmarker) -> list[dict[str, Any]]:
    """Similarity of the example photos that show one person."""
    faces, files = Faces(task), [*source_files.counted(REPOSITORY / "examples" / "photos")]
    for file in files:
        faces.add(file.parent.name, images.decode_photo(file))
    cosines = (seen := faces.seen()) @ seen.T
    pairs = zip(*np.triu_indices(len(files), 1), strict=True)
    return [
        {"person": faces.people[a], "similarity": float(cosines[a, b])}
        for a, b in pairs
        if faces.people[a] == faces.people[b]
    ]


def compare(root: Path, count: int) -> None:
    """Compare so many made-up faces of people with ten each."""
    random = np.random.default_rng(0)
    codes = random.integers(max(count // OF_A_PERSON, 1), size=count)
    centres = random.normal(size=(codes.max() + 1, face_embeddings.DIM)).astype(np.float32)
    seen = centres[codes] + 0.7 * random.normal(size=(count, face_embeddings.DIM)).astype(np.float32)
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    similar_faces.alike(seen, codes, RULE.same_face, RULE.chance, RULE.shown)
    similar_faces.strangers(seen, codes, RULE.same_person)


def main(
    faces: Annotated[
        list[int] | None, typer.Option("--faces", help="May be given again.", show_default="10000, 100000")
    ] = None,
    photos: Annotated[Path | None, typer.Option("--photos", help="Where the 145 photos are or go.")] = None,
    as_json: AsJson = False,
    out: Annotated[Path, typer.Option("--out", help="Where duplicates.json goes.")] = Path("out/bench"),
) -> None:
    """Measure duplicates and strangers; see the head of this file for what is written."""
    from benchmarks.measure import machine

    require_embedded()
    document: dict[str, Any] = {"machine": machine()}
    names = sorted(set(people.labels()["id"]))
    paths = people.photos(names, photos or out / "people", notes.print)
    pictures = [images.decode_photo(path) for path in paths]
    with FaceLandmarker(EMBEDDED / LANDMARKER, 5) as task:
        known = Faces(task)
        for number, picture in enumerate(pictures):
            known.add(str(number), picture)
        document["among_145"] = among_strangers(known.seen())
        document["same_person"] = of_one_person(task)
        document["copies"] = copies(pictures, task)
        document["strangers"] = strangers(pictures, task)
    with TemporaryDirectory() as folder:
        document["faces"] = [{"faces": count, **measured(compare, Path(folder), count)} for count in faces or FACES]
    shown = {name: value for name, value in document.items() if name != "machine"}
    write(document, out / "duplicates.json", as_json, lambda: Console().print_json(data=shown))


if __name__ == "__main__":
    typer.run(main)
