"""What a worker process does: it loads one release, by the code that was registered with it, and reads photos.

One release a process: two versions' code never meet. The process knows nothing of HTTP.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from engine.processes import end_with_parent

UNREADABLE = "this photo cannot be read ({}): save it anew as a JPEG, or send another"
log = logging.getLogger("likeness.serving")

# What kind of answer a photo got.
READ, NO_FACE, BAD = "read", "no_face", "bad"


@dataclass(frozen=True)
class Order:
    """A photo's bytes, and whether the answer is to have the aligned face."""

    photo: bytes
    aligned: bool


@dataclass(frozen=True)
class Answer:
    """What became of a photo."""

    kind: str
    reason: str = ""
    named: dict[str, Any] = field(default_factory=dict)
    """Parameters and choices by name."""
    photo: dict[str, Any] = field(default_factory=dict)
    """What was found in the photo."""
    aligned: bytes = b""
    """The aligned face as JPEG, where it was asked for."""


@dataclass(frozen=True)
class Ready:
    """The first word of a worker: the release that it holds."""

    schema_md5: str


@dataclass(frozen=True)
class Failed:
    """The last word of a worker that could not load its release."""

    reason: str


@dataclass(frozen=True)
class Duty:
    """What every worker of a pool is given."""

    folder: Path
    """The release, as MLflow saved it."""
    threads: int
    device: str
    max_pixels: int
    log: Path
    """What native libraries have to say goes there, not between the service's own lines."""


def main(connection: Connection, duty: Duty) -> None:
    """Load the release, say Ready or Failed, then answer lists of orders until the connection ends."""
    end_with_parent()
    # Ctrl-C reaches every process of a terminal, systemd's SIGTERM every process of a service; photos under way are to
    # be answered first, so when to end is the service's to say.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_IGN)
    with duty.log.open("a") as log:
        os.dup2(log.fileno(), 2)
    try:
        model = load(duty.folder, duty.threads, duty.device)
    except Exception as error:
        connection.send(Failed(f"{type(error).__name__}: {error}"))
        return
    with model.predictor:
        read(model, [Order(_blank(), False)], duty.max_pixels)
        connection.send(Ready(model.schema_md5))
        while True:
            try:
                orders = connection.recv()
            except EOFError:
                return
            connection.send(read(model, orders, duty.max_pixels))


def load(folder: Path, threads: int, device: str) -> Any:
    """A registered model as its loader.py makes it, on one device."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc
    import torch

    from models.memory import keep_freed_memory

    keep_freed_memory()

    torch.set_num_threads(threads)
    model: Any = mlflow.pyfunc.load_model(str(folder)).unwrap_python_model()
    predictor = model.predictor
    predictor.device = device
    predictor.identity, predictor.encoder = predictor.identity.to(device), predictor.encoder.to(device)
    return model


def read(model: Any, orders: Sequence[Order], max_pixels: int) -> list[Answer]:
    """An answer for each order, in order; the photos that can be decoded are read together."""
    from models.images import BadImage, decode_photo

    pictures: list[Any] = []
    for order in orders:
        try:
            pictures.append(decode_photo(order.photo, max_pixels))
        except BadImage as error:
            pictures.append(error)
    found = iter(_found(model, [picture for picture in pictures if not isinstance(picture, BadImage)]))
    outcomes = [picture if isinstance(picture, BadImage) else next(found) for picture in pictures]
    return [_answer(model, order, outcome) for order, outcome in zip(orders, outcomes, strict=True)]


def _found(model: Any, pictures: list[Any]) -> list[Any]:
    """What the model finds in each picture, an error where its code fails over one. If it fails over several, each is
    read alone, so that one costs the others nothing.

    Raises what a model raises that reads nothing any more: its process has to be started again.
    """
    from models.images import decode_photo

    if not pictures:
        return []
    try:
        return model.predictor.predict_pictures(pictures)
    except Exception as error:
        if len(pictures) > 1:
            return [found for picture in pictures for found in _found(model, [picture])]
        log.exception("a photo cannot be read")
        model.predictor.predict_pictures([decode_photo(_blank())])
        return [ValueError(UNREADABLE.format(type(error).__name__))]


def _answer(model: Any, order: Order, found: Any) -> Answer:
    from engine.character_json import photo_entry
    from models.images import encode_jpeg

    if isinstance(found, Exception):
        # A version's own NoFace and BadImage: classes of its own code, told apart by name.
        return Answer(NO_FACE if type(found).__name__ == "NoFace" else BAD, str(found))
    aligned = encode_jpeg(found.aligned) if order.aligned else b""
    photo = photo_entry(order.photo, found)
    # Versions that were registered before there were codes have the words only.
    remarks = getattr(found, "remarks", [("other", text) for text in found.warnings])
    photo["remarks"] = [{"code": code, "text": text} for code, text in remarks]
    return Answer(READ, "", model.schema.to_document(found.x), photo, aligned)


def _blank() -> bytes:
    """A grey photo: reading it brings the detector's first-time costs before the first request."""
    import numpy as np

    from models.images import encode_jpeg

    return encode_jpeg(np.full((320, 320, 3), 128, np.uint8))
