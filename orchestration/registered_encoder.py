"""A registered encoder as MLflow loads it. This file is copied into each registered model: it must need nothing of ours
but the package that is registered with it, whose name no other version has."""

import base64
import importlib
import json
from pathlib import Path
from typing import Any

import mlflow.models
import mlflow.pyfunc


class RegisteredEncoder(mlflow.pyfunc.PythonModel):
    """Photo in, parameters out, by the code and the weights of its own version."""

    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["model"])
        package = json.loads((folder / "about.json").read_text())["package"]
        schema = importlib.import_module(f"{package}.schema").Schema
        self.schema, self.schema_md5 = schema.load(folder), schema.md5(folder)
        self.predictor = load_predictor(package, folder)
        self.imitator = load_imitator(package, folder)

    def read(self, photo: bytes) -> tuple[Any, dict[str, Any]]:
        """The bytes of one image file → what the predictor found, and its parameters by name.

        Inside `with self.predictor:`. Raises ValueError with the reason when the photo cannot be used.
        """
        found = self.predictor.predict(photo)
        return found, self.schema.to_document(found.x)

    def draw(self, x: Any) -> Any:
        """The imitator's picture [h,h,3] uint8 of parameters [width], None where the character has an engine."""
        if self.imitator is None:
            return None
        import torch

        with torch.inference_mode():
            picture = self.imitator(torch.as_tensor(x, dtype=torch.float32)[None])[0]
        return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()

    # Without type hints: MLflow takes them for a signature of its own, and this model has one.
    def predict(self, context, model_input, params=None):
        """A table with a column `photo` (bytes or base64 of an image file) → one document for each photo."""
        photos = [base64.b64decode(photo) if isinstance(photo, str) else bytes(photo) for photo in model_input["photo"]]
        with self.predictor:
            return [self.read(photo)[1] for photo in photos]


def load_predictor(package: str, folder: Path) -> Any:
    """Both networks rebuilt from their meta.json, and the landmark model."""
    from safetensors.torch import load_file

    code = {name: importlib.import_module(f"{package}.{name}") for name in ("encoder", "identity", "predictor")}
    meta = json.loads((folder / "encoder" / "meta.json").read_text())
    sizes = [meta[name] for name in ("n_sliders", "group_sizes", "dim", "hidden", "blocks", "gate", "dropout")]
    encoder, identity = code["encoder"].Encoder(*sizes), code["identity"].IdentityModel()
    encoder.load_state_dict(load_file(folder / "encoder" / "model.safetensors"))
    identity.load_state_dict(load_file(folder / "identity_model" / "model.safetensors"))
    landmarker = folder / "face_landmarker.task"
    return code["predictor"].Predictor(landmarker, identity, encoder, meta["face_size"])


def load_imitator(package: str, folder: Path) -> Any:
    """The network that draws a character without an engine; None where it was not needed."""
    from safetensors.torch import load_file

    if not (folder / "imitator").is_dir():
        return None
    meta = json.loads((folder / "imitator" / "meta.json").read_text())
    code = importlib.import_module(f"{package}.imitator")
    imitator = code.Imitator(*(meta[name] for name in ("n_parameters", "size", "width", "drop")))
    imitator.load_state_dict(load_file(folder / "imitator" / "model.safetensors"))
    return imitator.eval()


mlflow.models.set_model(RegisteredEncoder())
