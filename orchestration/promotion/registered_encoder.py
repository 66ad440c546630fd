"""A registered encoder as MLflow loads it. This file is copied into each registered model: it must need nothing of ours
but the package that is registered with it, whose name no other version has."""

import base64
import importlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow.models
import mlflow.pyfunc

PLAIN = (str, bytes, bytearray, memoryview)
BASE64 = re.compile(rb"(data:[^,]*,)?[A-Za-z0-9+/_=\s-]+")
"""Bytes that are text; no image file is."""
URL_SAFE = str.maketrans("-_", "+/")


class RegisteredEncoder(mlflow.pyfunc.PythonModel):
    """Photo in, parameters out, by the code and the weights of its own version."""

    def load_context(self, context: Any) -> None:
        """What MLflow calls when it loads the version: read its schema and its networks."""
        self.folder = folder = Path(context.artifacts["model"])
        self.package = package = json.loads((folder / "about.json").read_text())["package"]
        schema = importlib.import_module(f"{package}.schema").Schema
        self.schema, self.schema_md5 = schema.load(folder), schema.md5(folder)
        self.predictor = load_predictor(package, folder)

    @cached_property
    def imitator(self) -> Any:
        """The network that draws the character; read when it is first asked for."""
        return load_imitator(self.package, self.folder)

    @cached_property
    def refinement(self) -> Any:
        """What makes an answer more like its photo: the identity imitator, in the encoder's facial prior."""
        code = importlib.import_module(f"{self.package}.refinement")
        refinement = code.Refinement(load_identity_imitator(self.package, self.folder), self.predictor.encoder)
        return refinement.to(self.predictor.device)

    @cached_property
    def search(self) -> Any:
        """What compares a photo with pictures: imitator, identity model and parser."""
        code = importlib.import_module(f"{self.package}.search")
        parser = load_parser(self.package, self.folder)
        sizes = (self.schema.n_sliders, self.schema.group_sizes)
        return code.ParameterSearch(self.imitator, self.predictor.identity, parser, *sizes)

    def read(self, photo: bytes) -> tuple[Any, dict[str, Any]]:
        """The bytes of one image file → what the predictor found, and its parameters by name.

        Inside `with self.predictor:`. Raises ValueError with the reason when the photo cannot be used.
        """
        found = self.predictor.predict(photo)
        return found, self.schema.to_document(found.x)

    def read_person(self, photos: Sequence[bytes]) -> tuple[Any, dict[str, Any], list[Any]]:
        """The same of several photos of one person, and what the predictor found in each: a prediction, or the error of
        a photo that cannot be used. Raises ValueError when none can.
        """
        each = self.predictor.predict_many(photos)
        good = [found for found in each if not isinstance(found, Exception)]
        if not good:
            raise ValueError("; ".join(dict.fromkeys(map(str, each))))
        found = self.predictor.together(good)
        return found, self.schema.to_document(found.x), each

    def draw(self, x: Any) -> Any:
        """The imitator's picture [h, h, 3] uint8 of parameters [width]."""
        import torch

        with torch.inference_mode():
            picture = self.imitator(torch.as_tensor(x, dtype=torch.float32)[None])[0]
        return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()

    def refine(
        self,
        aligned: Any,
        x: Any,
        steps: int | None = None,
        report: Callable[[int, int], bool | None] = lambda step, steps: None,
        draw: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Parameters [width] whose render is more like the aligned photo [H, H, 3] uint8 than that of the answer `x`.

        By `steps` of gradient through the identity imitator; given `draw`, from parameters [width] to the engine's
        picture [h, h, 3] uint8, what it draws corrects the imitator and decides; where `report` says False before a
        round, that search ends with its best so far.
        """
        import torch

        identity, device = self.predictor.identity, self.predictor.device
        code = importlib.import_module(f"{self.package}.refinement")
        settings = code.RefinementSettings() if steps is None else code.RefinementSettings(steps=steps)
        start = torch.as_tensor(x, dtype=torch.float32, device=device)[None]
        with torch.no_grad():
            # The mirror image shows the same person: what light does to one side falls out.
            face = as_faces([aligned, aligned[:, ::-1].copy()])
            photo = identity(face.to(device)).mean(0, keepdim=True)
        if draw is None:
            refined = self.refinement.by_gradient(photo, start, settings)
            report(settings.steps, settings.steps)
            return refined.x[0].cpu().numpy()

        @torch.no_grad()
        def look(answers: Any) -> Any:
            return identity(as_faces([draw(answer) for answer in answers.cpu().numpy()]).to(device))

        return self.refinement.by_engine(photo, start, look, settings, report).x[0].cpu().numpy()

    def compare(self, aligned: Any, pictures: Sequence[Any]) -> list[dict[str, float]]:
        """Identity and content term of each picture [h, h, 3] uint8 against the photo, and their weighted sum."""
        import torch

        weights = importlib.import_module(f"{self.package}.search").SearchSettings()
        found = []
        with torch.no_grad():
            photo = self.search.describe(as_faces([aligned]))
            for picture in pictures:
                identity, content = map(float, self.search.compare(photo, as_faces([picture])))
                loss = weights.identity * identity + weights.content * content
                found.append({"identity": identity, "content": content, "loss": loss})
        return found

    # Without type hints: MLflow takes them for a signature of its own, and this model has one.
    def predict(self, context, model_input, params=None):
        """A table with a column `photo` (bytes or base64 of an image file) → for each photo its document, or
        {"error": why there is none}."""
        answers: list[dict[str, Any]] = []
        with self.predictor:
            for cell in cells_of(model_input):
                try:
                    answers.append(self.read(photo_of(cell))[1])
                except ValueError as error:
                    answers.append({"error": str(error)})
        return answers


def cells_of(given: Any) -> list[Any]:
    """The photos in what MLflow hands over, or in what somebody hands to `predict` directly, in their order."""
    if isinstance(given, PLAIN):
        return [given]
    if isinstance(given, Mapping) or hasattr(given, "columns"):
        return cells_of(given.get("photo"))
    # Lists in cells too: MLflow makes one cell of a list of texts in a column of bytes.
    return [cell for part in given for cell in cells_of(part)] if isinstance(given, Iterable) else [given]


def photo_of(cell: Any) -> bytes:
    """The bytes of one image file, given as such or in base64. Raises ValueError."""
    if not isinstance(cell, PLAIN):
        raise ValueError(f"there is no photo but {cell!r:.40}: bytes of an image file or their base64 are needed")
    if not isinstance(cell, str):
        data = bytes(cell)
        if not BASE64.fullmatch(data):
            return data
        cell = data.decode("ascii")
    text = "".join(re.sub(r"^data:[^,]*,", "", cell).split()).rstrip("=").translate(URL_SAFE)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise ValueError("the text is no base64 of an image file") from error


def load_predictor(package: str, folder: Path) -> Any:
    """From photos to parameters: the landmark model, the identity model and the encoder."""
    return importlib.import_module(f"{package}.predictor").Predictor.load(folder)


def load_imitator(package: str, folder: Path) -> Any:
    """The network that draws in the engine's place."""
    return importlib.import_module(f"{package}.imitator").Imitator.load(folder / "imitator")


def load_identity_imitator(package: str, folder: Path) -> Any:
    """The network that says what the recogniser sees of parameters."""
    return importlib.import_module(f"{package}.identity_imitator").IdentityImitator.load(folder / "identity_imitator")


def load_parser(package: str, folder: Path) -> Any:
    """The network whose features the content term compares."""
    return importlib.import_module(f"{package}.parsing").FaceParser.load(folder / "parsing_model")


def as_faces(pictures: Sequence[Any]) -> Any:
    """Pictures [h, h, 3] uint8 as a batch [B, 3, h, h] in [0, 1]."""
    import numpy as np
    import torch

    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


mlflow.models.set_model(RegisteredEncoder())
