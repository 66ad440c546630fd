"""Networks as a pipeline leaves them, small and untrained."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from engine.schema import Schema
from models.encoder import Architecture, Encoder
from models.identity import IdentityModel
from models.identity_imitator import IdentityImitator
from models.imitator import Imitator
from models.parsing import FaceParser
from models.weights import save_model
from orchestration.promotion import packaging
from tests.models.support import LANDMARKER


def networks(root: Path, character: Path) -> Mapping[str, Path]:
    """What `packaging.pack` is given: the networks for a character, the real landmark model, and its schema."""
    torch.manual_seed(0)
    inputs = {name: root / name for name in ("embedded", *packaging.NETWORKS)}
    for folder in inputs.values():
        folder.mkdir(parents=True)
    schema = Schema.load(character)
    encoder = Encoder(Architecture(schema.n_sliders, tuple(schema.group_sizes), 1024, hidden=32, blocks=1, gate=4))
    save_model(inputs["encoder"], encoder, {"architecture": encoder.architecture.document(), "face_size": 128})
    save_model(inputs["identity_model"], IdentityModel(), {"model": "faceres"})
    imitator = {"n_parameters": schema.width, "size": 64, "width": 0.125, "drop": "first"}
    save_model(inputs["imitator"], Imitator(*imitator.values()), imitator)
    recognised = {"n_parameters": schema.width, "dim": 1024, "hidden": 16}
    save_model(inputs["identity_imitator"], IdentityImitator(**recognised), {"architecture": recognised})
    parser = {"depth": 18, "width": 0.125, "dilate": False, "stages": 2}
    save_model(inputs["parsing_model"], FaceParser(**parser), parser)
    (inputs["embedded"] / "landmarks").mkdir()
    shutil.copyfile(LANDMARKER, inputs["embedded"] / packaging.LANDMARKER)
    return inputs | {"character": character}
