"""Identity model: faces in the reference frame to identity embeddings, by one of several backbones.

Legend: B batch, C colour channels of the backbone, D embedding, S side of the backbone's crop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .backbone import Backbone
from .faceres import FaceRes
from .frame import Window
from .light_cnn import LightCNN29v2
from .reference import REFERENCE, five_points
from .sface import SFace
from .two_recognisers import TwoRecognisers
from .weights import load_weights, read_meta

Kind = Literal["faceres+sface", "faceres", "sface", "lightcnn29v2"]

BACKBONES: dict[str, type[Backbone]] = {
    backbone.kind: backbone for backbone in (TwoRecognisers, FaceRes, SFace, LightCNN29v2)
}

GREY = (0.299, 0.587, 0.114)
"""Weights of R, G and B in the grey value (ITU-R BT.601, as in OpenCV's and Pillow's conversion)."""


class IdentityModel(nn.Module):
    """Faces in the reference frame to unit-length identity embeddings; differentiable down to the pixels.

    `backbone`: FaceRes, untrained, when none is given.
    """

    def __init__(self, backbone: Backbone | None = None) -> None:
        super().__init__()
        # On a CPU this layout saves a quarter of the time.
        self.backbone: Backbone = (backbone or FaceRes()).to(memory_format=torch.channels_last)  # pyright: ignore
        self.window = Window(self.backbone.placement(five_points(REFERENCE)), self.backbone.side)
        self.register_buffer("grey", torch.tensor(GREY).view(3, 1, 1), persistent=False)
        self.grey: Tensor

    @property
    def kind(self) -> str:
        """Name of the backbone: `build(model.kind)` makes another of the same architecture."""
        return self.backbone.kind

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.grey.device

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.backbone.dim

    @classmethod
    def load(cls, folder: Path) -> IdentityModel:
        """The trained model of a folder (`models.weights`), in eval mode. Raises ValueError for a kind of network that
        this version does not know.
        """
        try:
            model = build(str(read_meta(folder).get("model")))
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        return load_weights(folder, model)

    @classmethod
    def from_file(cls, kind: Kind | str, path: Path | str) -> IdentityModel:
        """A pretrained model, from the file that its authors publish. Raises FileNotFoundError or ValueError."""
        model = build(kind)
        model.backbone.load_state_dict(model.backbone.read(path))
        return model.eval()

    def crop(self, faces: Tensor, margin: int = 0) -> Tensor:
        """Faces [B, 3, H, H] in the reference frame -> [B, C, S, S] that the backbone reads, without aliasing.

        `margin`: so many pixels more on each side.
        """
        if self.backbone.channels == 1 and faces.shape[1] == 3:
            faces = (faces * self.grey).sum(1, keepdim=True)
        return self.window(faces, margin)

    def raw_of_crops(self, crops: Tensor) -> Tensor:
        """Crops [B, C, S, S] in [0, 1] -> embeddings [B, D] before they are brought to length 1."""
        return self.backbone(crops.contiguous(memory_format=torch.channels_last))

    def embed_crops(self, crops: Tensor) -> Tensor:
        """Crops [B, C, S, S] in [0, 1] -> embeddings [B, D] of length 1."""
        return functional.normalize(self.raw_of_crops(crops), dim=1)

    def raw(self, faces: Tensor) -> Tensor:
        """Faces [B, 3, H, H] in the reference frame, RGB in [0, 1] -> embeddings [B, D] before they are brought to
        length 1.
        """
        return self.raw_of_crops(self.crop(faces))

    def forward(self, faces: Tensor) -> Tensor:
        """Faces [B, 3, H, H] in the reference frame, RGB in [0, 1] -> embeddings [B, D] of length 1."""
        return functional.normalize(self.raw(faces), dim=1)


def build(kind: Kind | str) -> IdentityModel:
    """An untrained model of a kind, as meta.json names it. Raises ValueError for one that is not known here."""
    if kind not in BACKBONES:
        raise ValueError(f"no identity model of kind {kind!r}; this version knows {', '.join(BACKBONES)}")
    return IdentityModel(BACKBONES[kind]())
