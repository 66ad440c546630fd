"""Tiny photo sets in the layouts that their authors publish, of the six real portraits.

Each builder writes below `root`, the folder of all photos, and gives the entry of a profile that reads it.
"""

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models import images
from models.alignment import FaceLandmarker, warp
from models.reference import fit_similarity, five_points
from tests.models.support import LANDMARKER, PHOTOS

SIDE = 320
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
"""Where InsightFace puts eyes, nose and mouth corners in 112x112 pixels, the image's left first."""
# Classes of Helen and LaPa and the landmarks around them, sides as a viewer would call them.
DRAWN = (
    (1, range(17)),
    (2, range(17, 22)),
    (3, range(22, 27)),
    (4, range(36, 42)),
    (5, range(42, 48)),
    (6, (27, 31, 33, 35)),
    (7, (48, 50, 52, 54, 62)),
    (9, (48, 66, 54, 57)),
    (8, (60, 62, 64, 66)),
)


@cache
def photo(number: int) -> np.ndarray:
    """One of the six portraits, RGB, its longer side SIDE pixels."""
    return images.shrink(images.decode_photo(PHOTOS[number % 6]), SIDE)[0]


@cache
def landmarks(number: int) -> np.ndarray:
    """Its 68 landmarks."""
    with FaceLandmarker(LANDMARKER) as task:
        return task.find(photo(number))[0].landmarks


def drawn_labels(number: int) -> np.ndarray:
    """A label map in Helen's numbers, left being the image's left."""
    points = landmarks(number)
    labels = np.zeros(photo(number).shape[:2], np.uint8)
    for name, which in DRAWN:
        cv2.fillConvexPoly(labels, cv2.convexHull(points[list(which)].astype(np.int32)), name)
    return labels


def arcface_crop(number: int) -> bytes:
    """A 112x112 JPEG as verification sets have it."""
    matrix = fit_similarity(five_points(landmarks(number)), ARCFACE)
    return images.encode_jpeg(warp(photo(number), matrix, 112))


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def jpeg(number: int) -> bytes:
    return images.encode_jpeg(photo(number))


def celeba(root: Path) -> dict[str, Any]:
    """Six photos of four people in all splits."""
    names = [f"{number:06d}.jpg" for number in range(1, 7)]
    for number, name in enumerate(names):
        write(root / "celeba" / "img_celeba" / name, jpeg(number))
    people, splits = (2880, 2880, 7, 8, 8, 10177), (0, 0, 0, 1, 1, 2)
    rows = [f"{name} {person}" for name, person in zip(names, people, strict=True)]
    write(root / "celeba" / "identity_CelebA.txt", "\n".join(rows) + "\n")
    rows = [f"{name} {split}" for name, split in zip(names, splits, strict=True)]
    write(root / "celeba" / "list_eval_partition.txt", "\n".join(rows) + "\n")
    rows = [
        f"{name} {' '.join(str(round(value)) for value in five_points(landmarks(number)).ravel())}"
        for number, name in enumerate(names)
    ]
    header = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    write(root / "celeba" / "list_landmarks_celeba.txt", "\n".join([str(len(rows)), header, *rows]) + "\n")
    return {"kind": "celeba", "name": "celeba", "path": "celeba", "partial": True}


def people(root: Path, count: int = 40) -> dict[str, Any]:
    """CASIA-WebFace's folders; every person has two photos, which nobody opens."""
    for person in range(count):
        for number in (1, 2):
            write(root / "casia" / f"{person:07d}" / f"{number:03d}.jpg", b"picture")
    return {"kind": "people", "name": "casia", "path": "casia", "val_share": 0.2, "test_share": 0.3}


def vggface2(root: Path) -> dict[str, Any]:
    for part, persons in (("train", ("n000002", "n000003")), ("test", ("n000001",))):
        rows = [f"{person}/{number:04d}_01.jpg" for person in persons for number in (1, 2)]
        for row in rows:
            write(root / "vggface2" / part / row, b"picture")
        write(root / "vggface2" / f"{part}_list.txt", "\n".join(rows) + "\n")
    return {"kind": "vggface2", "name": "vggface2", "path": "vggface2", "partial": True}


def lfw(root: Path) -> dict[str, Any]:
    """Three people, of whom one has two photos, and two folds with a pair of each kind."""
    places = ("Emmanuel_Macron/2", "Jacinda_Ardern/0", "Jacinda_Ardern/1", "Rishi_Sunak/5")
    seen: dict[str, int] = {}
    for place in places:
        name, number = place.split("/")
        seen[name] = seen.get(name, 0) + 1
        write(root / "lfw" / "lfw" / name / f"{name}_{seen[name]:04d}.jpg", jpeg(int(number)))
    same = "Jacinda_Ardern\t1\t2"
    different = ("Emmanuel_Macron\t1\tRishi_Sunak\t1", "Rishi_Sunak\t1\tJacinda_Ardern\t2")
    write(root / "lfw" / "pairs.txt", "\n".join(["2\t1", same, different[0], same, different[1]]) + "\n")
    write(root / "lfw" / "peopleDevTrain.txt", "2\nEmmanuel_Macron\t1\nJacinda_Ardern\t2\n")
    write(root / "lfw" / "peopleDevTest.txt", "1\nRishi_Sunak\t1\n")
    return {"kind": "lfw", "name": "lfw", "path": "lfw", "partial": True}


def verification_bin(root: Path) -> dict[str, Any]:
    """Two pairs of one person and two of different people, of real crops; the first photo occurs three times."""
    numbers, same = ((0, 1), (0, 4), (2, 3), (5, 0)), (True, False, True, False)
    pictures = [arcface_crop(number) for pair in numbers for number in pair]
    write(root / "verification" / "agedb_30.bin", pickle.dumps((pictures, list(same)), protocol=4))
    return {
        "kind": "verification_bin", "name": "agedb_30", "path": "verification/agedb_30.bin", "partial": True
    }  # fmt: skip


def helen(root: Path, ids: tuple[str, ...] = ("1629243_1", "232194_1", "2908549_1")) -> dict[str, Any]:
    for number, (file, name) in enumerate(zip(("exemplars", "tuning", "testing"), ids, strict=True)):
        write(root / "helen" / "images" / f"{name}.jpg", jpeg(number))
        labels = drawn_labels(number)
        for kind in range(11):
            matte = cv2.GaussianBlur(np.where(labels == kind, np.uint8(255), np.uint8(0)), (3, 3), 0)
            write(root / "helen" / "labels" / name / f"{name}_lbl{kind:02d}.png", images.encode_png(matte))
        write(root / "helen" / f"{file}.txt", f"1 , {name}\n")
    return {"kind": "helen", "name": "helen", "path": "helen", "partial": True}


def lapa(root: Path, train: str = "115769026_0") -> dict[str, Any]:
    for number, (split, name) in enumerate((("train", train), ("val", "167007578_2"), ("test", "298189567_0"))):
        folder = root / "LaPa" / split
        write(folder / "images" / f"{name}.jpg", jpeg(number))
        write(folder / "labels" / f"{name}.png", images.encode_png(drawn_labels(number)))
        write(folder / "landmarks" / f"{name}.txt", "106\n" + "1.0 2.0\n" * 106)
    return {"kind": "lapa", "name": "lapa", "path": "LaPa", "partial": True}


def celeba_mask_hq(root: Path) -> dict[str, Any]:
    """Three photos of CelebA's 000001, 162771 and 202599; masks at half the photos' size, sides as the person's."""
    folder = root / "mask_hq"
    rows = ["idx          orig_idx          orig_file"]
    for number, original in enumerate((1, 162_771, 202_599)):
        write(folder / "CelebA-HQ-img" / f"{number}.jpg", jpeg(number))
        rows.append(f"{number}          {original - 1}          {original:06d}.jpg")
        labels = drawn_labels(number)
        height, width = labels.shape
        for part, ids in (
            ("skin", range(1, 10)), ("r_brow", (2,)), ("l_brow", (3,)), ("r_eye", (4,)), ("l_eye", (5,)),
            ("nose", (6,)), ("u_lip", (7,)), ("mouth", (8,)), ("l_lip", (9,)),
        ):  # fmt: skip
            mask = np.where(np.isin(labels, list(ids)), np.uint8(255), np.uint8(0))
            small = cv2.resize(mask, (width // 2, height // 2), interpolation=cv2.INTER_NEAREST)
            place = folder / "CelebAMask-HQ-mask-anno" / "0" / f"{number:05d}_{part}.png"
            write(place, images.encode_png(cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)))
    write(folder / "CelebA-HQ-to-CelebA-mapping.txt", "\n".join(rows) + "\n")
    return {"kind": "celeba_mask_hq", "name": "mask_hq", "path": "mask_hq", "partial": True}
