"""From a photo's bytes to character parameters: what a registered encoder does."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .alignment import LOOKED_AT, FaceLandmarker, NoFace, align, eye_distance, quality
from .covered import covered
from .encoder import Encoder
from .identity import IdentityModel
from .images import BadImage, decode_photo, decode_reduced
from .precision import Precision, best_precision
from .reader import Reader
from .weights import read_meta

log = logging.getLogger(__name__)

Box = tuple[float, float, float, float]
"""left, top, right, bottom, pixels."""
SIDE_VIEW_DEGREES = 30.0
BLUR_SHARPNESS = 30.0
SMALL_EYE_DISTANCE = 24.0
DARK, BRIGHT = 0.12, 0.92
GREY_CHROMA = 10.0
"""Least difference of the largest and the smallest channel, of 255, at the middle of all pixels of a face in colour:
six of 145 photos are grey and have 0, one has 8, the next 11."""
WIDE_SMILE, TEETH = 0.95, 0.08
"""Width of the mouth, and distance between the inner lips, as shares of the eyes' distance: of 145 people 91 % of those
who show their teeth have both, and of the others nobody."""


@dataclass(frozen=True)
class Prediction:
    """What one photo gave."""

    aligned: NDArray
    """The face in the reference frame, RGB uint8 [size, size, 3]."""
    x: NDArray
    """Parameters [width] float32: sliders in [0, 1], then a probability for each choice of each group."""
    embedding: NDArray
    """Identity embedding [D] of length 1."""
    features: NDArray
    """What the encoder read of the face, [F]."""
    faces: int
    box: Box
    """Of the face that was taken, in the upright photo."""
    yaw: float
    pitch: float
    remarks: tuple[tuple[str, str], ...]
    """What may make the character unlike the person: a code and a text each; see `remarks_of`."""
    boxes: tuple[Box, ...] = ()
    """The same as `box` of every face in the photo, that one first."""
    precision: Precision = "float32"
    """What the networks multiplied in."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """The texts of the remarks."""
        return tuple(text for _, text in self.remarks)


class Predictor:
    """Photo bytes to parameters. A context manager: it holds the landmark task, which has to be closed.

    `landmarker`: path of MediaPipe's face landmark model. `size`: side of the aligned crop, as the encoder was trained
    on.
    """

    def __init__(
        self, landmarker: Path | str, identity: IdentityModel, encoder: Encoder, size: int = 256, device: str = "cpu"
    ) -> None:
        self.landmarker = FaceLandmarker(landmarker)
        self.identity = identity.to(device).eval()
        self.encoder = encoder.to(device).eval()
        self.size, self.device = size, device
        self.precision: Precision = "float32"
        self._prepared: Reader | None = None

    @classmethod
    def load(cls, folder: Path) -> Predictor:
        """What a registered encoder holds: `identity_model/`, `encoder/` and the landmark model."""
        encoder = folder / "encoder"
        landmarker, size = folder / "face_landmarker.task", read_meta(encoder)["face_size"]
        return cls(landmarker, IdentityModel.load(folder / "identity_model"), Encoder.load(encoder), size)

    def __enter__(self) -> Predictor:
        self.landmarker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.landmarker.__exit__(kind, error, trace)

    def read_fast(self) -> None:
        """Read in bfloat16 from now on, where that is faster: on a CPU with instructions for it."""
        self.precision = best_precision() if self.identity.device.type == "cpu" else "float32"

    def predict(self, photo: bytes | Path) -> Prediction:
        """One photo. Raises BadImage or NoFace."""
        result = self.predict_many([photo])[0]
        if isinstance(result, Exception):
            raise result
        return result

    def predict_many(self, photos: Sequence[bytes | Path]) -> list[Prediction | BadImage | NoFace]:
        """One answer for each photo, in order; a photo that cannot be used gives its error and does not stop the
        others.
        """
        return self._predict([self._located_photo(photo) for photo in photos])

    def predict_pictures(self, pictures: Sequence[NDArray]) -> list[Prediction | BadImage | NoFace]:
        """The same of decoded pictures, RGB uint8 [H, W, 3] each."""
        return self._predict([self._locate(picture) for picture in pictures])

    def _predict(self, located: Sequence[_Located | BadImage | NoFace]) -> list[Prediction | BadImage | NoFace]:
        good = [item for item in located if isinstance(item, _Located)]
        rows = iter(self._encode([item.crop for item in good])) if good else iter(())
        answers: list[Prediction | BadImage | NoFace] = []
        for item in located:
            if isinstance(item, _Located):
                x, embedding, features, labels = next(rows)
                hidden = () if labels is None else covered(labels, abs(item.yaw) <= SIDE_VIEW_DEGREES)
                pose = (item.boxes[0], item.yaw, item.pitch, item.remarks + hidden, item.boxes)
                answers.append(Prediction(item.crop, x, embedding, features, len(item.boxes), *pose, self.precision))
            else:
                answers.append(item)
        return answers

    def _located_photo(self, photo: bytes | Path) -> _Located | BadImage | NoFace:
        try:
            picture, scale = decode_reduced(photo, LOOKED_AT)
            found = self._locate(picture)
            if scale == 1 or isinstance(found, NoFace):
                return found
            if wants_all_pixels(found.boxes[0], self.size):
                return self._locate(decode_photo(photo))
            return replace(found, boxes=tuple(enlarged(box, 1 / scale) for box in found.boxes))
        except BadImage as error:
            return error
        except Exception as error:  # nobody foresaw it, and it is this photo's problem alone
            log.exception("a photo cannot be read")
            return BadImage(f"this photo cannot be read ({type(error).__name__}: {error})")

    def _locate(self, image: NDArray) -> _Located | NoFace:
        try:
            faces = self.landmarker.find(image)
        except NoFace as error:
            return error
        face = faces[0]
        crop, _ = align(image, face.landmarks, self.size)
        remarks = remarks_of(
            len(faces), face.yaw, face.pitch, eye_distance(face.landmarks), crop, face.doubtful, smiles(face.landmarks)
        )
        return _Located(crop, tuple(each.box for each in faces), face.yaw, face.pitch, remarks)

    @torch.inference_mode()
    def together(self, predictions: Sequence[Prediction]) -> Prediction:
        """One answer for several photos of one person: read from the mean of what was read of each, so that what light,
        pose and expression did to one photo weighs less. Pose, box and crop are those of the most frontal photo.
        """
        if not predictions:
            raise ValueError("no photo of the person can be used")
        frontal = min(predictions, key=lambda found: abs(found.yaw) + abs(found.pitch))
        features = np.mean([found.features for found in predictions], 0)
        embedding = np.mean([found.embedding for found in predictions], 0)
        x = self.encoder(torch.from_numpy(features).to(self.device)[None])[0].float().cpu().numpy()
        return replace(frontal, x=x, features=features, embedding=embedding / np.linalg.norm(embedding))

    @property
    def _reader(self) -> Reader:
        """Both networks, prepared for inference where they are now."""
        ready = self._prepared
        if ready is None or ready.device != self.identity.device or ready.precision != self.precision:
            ready = self._prepared = Reader(self.identity, self.encoder, self.precision)
        return ready

    @torch.inference_mode()
    def _encode(self, crops: Sequence[NDArray]) -> list[tuple[NDArray, NDArray, NDArray, NDArray | None]]:
        """Of each crop its parameters, embedding and features, and the label map that the encoder read, if it did."""
        # plane by plane, which is how resizing is fastest
        faces = torch.from_numpy(np.stack(crops)).to(self.device).permute(0, 3, 1, 2).contiguous().float() / 255
        reader = self._reader
        with _parsed(reader) as maps:
            embeddings, features = reader.look(faces)
        rows = [part.float().cpu().numpy() for part in (self.encoder(features), embeddings, features)]
        labels = torch.softmax(maps[0].float(), 1).cpu().numpy() if maps else [None] * len(crops)
        return list(zip(*rows, labels, strict=True))


@contextmanager
def _parsed(reader: Reader) -> Iterator[list[Tensor]]:
    """What the encoder's own parser says meanwhile, logits: it is the slowest part, and runs once."""
    found: list[Tensor] = []
    if reader.encoder.appearance is None:
        yield found
        return
    parser: nn.Module = reader.encoder.appearance.parser
    hook = parser.register_forward_hook(lambda _module, _faces, logits: found.append(cast(Tensor, logits)))
    try:
        yield found
    finally:
        hook.remove()


@dataclass(frozen=True)
class _Located:
    crop: NDArray
    boxes: tuple[Box, ...]
    """Of all faces; the first is the one that is cropped."""
    yaw: float
    pitch: float
    remarks: tuple[tuple[str, str], ...]


def wants_all_pixels(box: Box, size: int) -> bool:
    """Whether a face takes so little of a reduced picture that its crop of `size` pixels is sharper out of the photo as
    it is.
    """
    left, top, right, bottom = box
    return max(right - left, bottom - top) < size


def enlarged(box: Box, factor: float) -> Box:
    """A box of a picture, in one that is larger by a factor."""
    left, top, right, bottom = (side * factor for side in box)
    return left, top, right, bottom


def smiles(landmarks: NDArray) -> bool:
    """Whether a face of 68 landmarks shows its teeth in a wide smile, which changes cheeks, eyes and mouth."""
    eyes = eye_distance(landmarks)
    width, gap = (float(np.linalg.norm(landmarks[b] - landmarks[a])) for a, b in ((48, 54), (62, 66)))
    return width > WIDE_SMILE * eyes and gap > TEETH * eyes


def is_grey(crop: NDArray) -> bool:
    """Whether an aligned face [size, size, 3] has no colours: then those of skin, hair and eyes are guessed."""
    size = len(crop)
    face = crop[size // 4 : size * 13 // 16, size // 4 : size * 3 // 4]
    return float(np.median(np.ptp(face, axis=-1))) < GREY_CHROMA


def remarks_of(
    faces: int, yaw: float, pitch: float, eyes: float, crop: NDArray, doubtful: bool = False, smiling: bool = False
) -> tuple[tuple[str, str], ...]:
    """What may make the character unlike the person: codes for programs, words for the photo's owner."""
    seen = quality(crop)
    grey = DARK <= seen.brightness <= BRIGHT and is_grey(crop)
    tilt = f"the head is tilted {'up' if pitch > 0 else 'down'} by {abs(pitch):.0f} degrees"
    found = [
        (doubtful, "doubtful_face", "it is not sure that this is a face, or which way up it stands"),
        (faces > 1, "several_faces", f"{faces} faces: the largest was taken"),
        (abs(yaw) > SIDE_VIEW_DEGREES, "side_view", f"side view: the head is turned by {abs(yaw):.0f} degrees"),
        (abs(pitch) > SIDE_VIEW_DEGREES, "tilted", tilt),
        (eyes < SMALL_EYE_DISTANCE, "small_face", f"small face: the eyes are {eyes:.0f} pixels apart"),
        (seen.sharpness < BLUR_SHARPNESS, "blurred", "the face is blurred"),
        (seen.brightness < DARK, "dark", "the face is very dark"),
        (seen.brightness > BRIGHT, "overexposed", "the face is overexposed"),
        (grey, "grey", "the photo has no colours: those of skin, hair and eyes are guessed"),
        (smiling, "wide_smile", "a wide smile: cheeks, eyes and mouth are not at rest"),
    ]
    return tuple((code, text) for condition, code, text in found if condition)
