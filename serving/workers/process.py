"""What a worker process does: it loads one release, by the code that was registered with it, and reads photos.

One release a process: two versions' code never meet. The process knows nothing of HTTP.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from engine.character_json import photo_digest, photo_entry
from models.alignment import LOOKED_AT, quality
from models.images import BadImage, decode_photo, decode_reduced, encode_jpeg
from models.memory import keep_freed_memory
from models.precision import Wanted, read_in
from models.predictor import enlarged, wants_all_pixels
from serving.child_process import Answer, Message, NotLoaded, answer_requests
from serving.corrections import encode_features
from serving.workers.comparison import Comparer
from serving.workers.refiner import CannotRefine, RefinementMethod, Refiner, RefinerConfig

UNREADABLE = "this photo cannot be read ({}): save it anew as a JPEG, or send another"
log = logging.getLogger("likeness.serving")

# What became of a photo; CANNOT: it cannot be refined as was asked.
READ, NO_FACE, BAD, CANNOT = "read", "no_face", "bad", "cannot"


@dataclass(frozen=True)
class PredictRequest:
    """A photo's bytes, whether the result is to have the aligned face, how the answer is to be refined, another
    version's parameters and choices by name, which the answer is to be compared with, and whether the result is to have
    what the encoder read."""

    photo: bytes
    aligned: bool = False
    refine: RefinementMethod | None = None
    beside: Mapping[str, Any] | None = None
    features: bool = False
    more: Sequence[bytes] = ()
    """Further photos of the same person: one answer is read of all together."""


@dataclass(frozen=True)
class PredictResult:
    """What became of a photo."""

    kind: str
    """READ, NO_FACE, BAD or CANNOT."""
    reason: str = ""
    named: dict[str, Any] = field(default_factory=dict)
    """Parameters and choices by name."""
    photo: dict[str, Any] = field(default_factory=dict)
    """What was found in the photo."""
    aligned: bytes = b""
    """The aligned face as JPEG, where it was asked for."""
    quality: dict[str, float] = field(default_factory=dict)
    """Brightness and sharpness of the aligned face: see `models.alignment.Quality`."""
    seconds: float = 0.0
    """Processor time to decode and read the photo, without what was asked for beside; a batch is shared out evenly."""
    comparison: dict[str, Any] = field(default_factory=dict)
    """How the answer differs from the one that it was compared with: see `Comparer`."""
    photos: list[dict[str, Any]] = field(default_factory=list)
    """What was found in each photo, where there were several; of one that cannot be used, `error`."""
    features: str = ""
    """What the encoder read of the face's identity, where it was asked for (`serving.corrections.Correction`). Empty
    also of versions that do not tell."""


class WorkerConfig(BaseModel, frozen=True):
    """What every worker of a pool is given."""

    folder: Path
    """The release, as MLflow saved it."""
    threads: int
    device: str
    precision: Wanted = "auto"
    max_pixels: int
    refine: RefinerConfig
    log: Path
    """What native libraries have to say goes there, not between the service's own lines."""
    nice: int = 0
    """How far the process stands back for others once it has loaded the release, from 0 to 19."""


def main(config_json: str) -> int:
    """A worker process. Its first message is the md5 of the release's schema.

    A request has photos, and for each PredictRequest the rest of it and how many of them are its; an answer has aligned
    faces, and for each the rest of its PredictResult.
    """
    config = WorkerConfig.model_validate_json(config_json)
    with config.log.open("a") as file:
        os.dup2(file.fileno(), 2)
    return answer_requests(_loaded(config))


@contextmanager
def _loaded(config: WorkerConfig) -> Iterator[tuple[Message, Answer]]:
    try:
        model = load(config.folder, config.threads, config.device, config.precision)
    except Exception as error:
        raise NotLoaded(f"{type(error).__name__}: {error}") from error
    refiner = Refiner(model, config.refine)
    with model.predictor:
        predict(model, refiner, [PredictRequest(_blank())], config.max_pixels)
        _stand_back(config.nice)
        yield Message(model.schema_md5), partial(_answer, model, refiner, config.max_pixels)


def _stand_back(nice: int) -> None:
    """Threads that are there already, too: Linux has a niceness for each, which later ones inherit."""
    for thread in Path("/proc/self/task").iterdir() if nice else ():
        id = int(thread.name)
        os.setpriority(os.PRIO_PROCESS, id, min(19, os.getpriority(os.PRIO_PROCESS, id) + nice))


def _answer(model: Any, refiner: Refiner, max_pixels: int, message: Message) -> Message:
    photos, requests = iter(message.blobs), list[PredictRequest]()
    for rest in message.value:
        photo, *more = islice(photos, rest.pop("photos"))
        requests.append(PredictRequest(photo, **rest, more=more))
    results = [{**vars(result)} for result in predict(model, refiner, requests, max_pixels)]
    faces = [result.pop("aligned") for result in results]
    return Message(results, faces)


def load(folder: Path, threads: int, device: str, precision: Wanted = "auto") -> Any:
    """A registered model as its loader.py makes it, on one device."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.pyfunc
    import torch

    keep_freed_memory()
    torch.set_num_threads(threads)
    model: Any = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True).unwrap_python_model()
    predictor = model.predictor
    predictor.device = device
    predictor.identity, predictor.encoder = predictor.identity.to(device), predictor.encoder.to(device)
    read_in(predictor, precision)
    return model


def predict(model: Any, refiner: Refiner, requests: Sequence[PredictRequest], max_pixels: int) -> list[PredictResult]:
    """A result for each request, in order; the photos that can be decoded are read together, and refined one by one."""
    begun = time.process_time()
    each = iter(_read(model, [photo for request in requests for photo in (request.photo, *request.more)], max_pixels))
    outcomes = [list(islice(each, 1 + len(request.more))) for request in requests]
    seconds = (time.process_time() - begun) / len(requests)
    results = [_result(model, refiner, request, outcome) for request, outcome in zip(requests, outcomes, strict=True)]
    return [replace(result, seconds=seconds) for result in results]


def _read(model: Any, photos: Sequence[bytes], max_pixels: int) -> list[Any]:
    """What the model finds in each photo, or why it cannot be read. Large JPEGs are read from smaller pictures, in a
    fraction of the time.
    """
    decoded = [_reduced(photo, max_pixels) for photo in photos]
    found = iter(_found(model, [one[0] for one in decoded if not isinstance(one, BadImage)]))
    outcomes = [one if isinstance(one, BadImage) else next(found) for one in decoded]
    for number, (one, outcome) in enumerate(zip(decoded, outcomes, strict=True)):
        if not isinstance(one, BadImage) and one[1] < 1 and hasattr(outcome, "box"):
            outcomes[number] = _in_the_photo(model, photos[number], outcome, one[1], max_pixels)
    return outcomes


def _reduced(photo: bytes, max_pixels: int) -> tuple[Any, float] | BadImage:
    try:
        return decode_reduced(photo, LOOKED_AT, max_pixels)
    except BadImage as error:
        return error


def _in_the_photo(model: Any, photo: bytes, found: Any, scale: float, max_pixels: int) -> Any:
    """What was found in a photo at a smaller scale, in the photo's own pixels; read again at its own, where the face is
    small.
    """
    if wants_all_pixels(found.box, len(found.aligned)):
        try:
            return _found(model, [decode_photo(photo, max_pixels)])[0]
        except BadImage as error:
            return error
    # Versions that were registered before have one box alone.
    boxes = {"boxes": tuple(enlarged(box, 1 / scale) for box in found.boxes)} if hasattr(found, "boxes") else {}
    return replace(found, box=enlarged(found.box, 1 / scale), **boxes)


def _found(model: Any, pictures: list[Any]) -> list[Any]:
    """What the model finds in each picture, an error where its code fails over one. If it fails over several, each is
    read alone, so that one costs the others nothing.

    Raises what a model raises that reads nothing any more: its process has to be started again.
    """
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


def _result(model: Any, refiner: Refiner, request: PredictRequest, outcomes: Sequence[Any]) -> PredictResult:
    try:
        found = _together(model, outcomes) if request.more else outcomes[0]
    except CannotRefine as error:
        return PredictResult(CANNOT, str(error))
    if isinstance(found, Exception):
        # A version's own NoFace and BadImage: classes of its own code, told apart by name.
        return PredictResult(NO_FACE if type(found).__name__ == "NoFace" else BAD, str(found))
    try:
        x = refiner.refined(request.refine, found.aligned, found.x) if request.refine else found.x
    except CannotRefine as error:
        return PredictResult(CANNOT, str(error))
    aligned = encode_jpeg(found.aligned) if request.aligned else b""
    sent = (request.photo, *request.more)
    photos = [_entry(content, outcome) for content, outcome in zip(sent, outcomes, strict=True)]
    # of several, the first whose crop was taken: pose and box of the answer are those of the most frontal photo
    taken = next(n for n, one in enumerate(outcomes) if getattr(one, "aligned", None) is found.aligned)
    named = model.schema.to_document(x)
    comparison = Comparer(model, refiner).compare(named, request.beside) if request.beside else {}
    features = _features(model, found) if request.features else ""
    seen = vars(quality(found.aligned))
    return PredictResult(
        READ,
        "",
        named,
        photos[taken],
        aligned,
        seen,
        comparison=comparison,
        features=features,
        photos=photos if request.more else [],
    )


def _together(model: Any, outcomes: Sequence[Any]) -> Any:
    """One prediction of all photos of a person that can be used, or the error where none can. Raises CannotRefine."""
    good = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
    if len(good) == 1:
        return good[0]
    if not good:
        return outcomes[0]
    if not hasattr(model.predictor, "together"):
        raise CannotRefine("the model in production was registered before it could read several photos: send one")
    return model.predictor.together(good)


def _entry(content: bytes, outcome: Any) -> dict[str, Any]:
    """What a document says of a photo."""
    if isinstance(outcome, Exception):
        return {"sha256": photo_digest(content), "error": str(outcome)}
    photo = photo_entry(content, outcome)
    # Of versions that were registered since it is told.
    if len(boxes := getattr(outcome, "boxes", ())) > 1:
        photo["boxes"] = [[round(float(side), 1) for side in box] for box in boxes]
    # Versions that were registered before there were codes have the words only.
    remarks = getattr(outcome, "remarks", [("other", text) for text in outcome.warnings])
    photo["remarks"] = [{"code": code, "text": text} for code, text in remarks]
    return photo


def _features(model: Any, found: Any) -> str:
    """What the trained part of the encoder reads: without colours and outlines, which only fixed readings use."""
    width = getattr(getattr(model.predictor.encoder, "features", None), "width", None)
    # Versions that were registered before have no such thing, or no such name for it.
    if width is None or not hasattr(found, "features"):
        return ""
    return encode_features(np.asarray(found.features)[:width])


def _blank() -> bytes:
    """A grey photo: reading it brings the detector's first-time costs before the first request."""
    return encode_jpeg(np.full((320, 320, 3), 128, np.uint8))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
