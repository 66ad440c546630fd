"""Identity model: faces in the reference frame to identity embeddings, by one of several backbones.

Legend: B batch, C colour channels of the backbone, D embedding, S side of the backbone's crop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .alignment import REFERENCE, five_points
from .backbone import Backbone
from .light_cnn import LightCNN29v2
from .sface import SFace
from .weights import load_weights, read_meta

Kind = Literal["sface", "lightcnn29v2"]

BACKBONES: dict[str, type[Backbone]] = {backbone.kind: backbone for backbone in (SFace, LightCNN29v2)}

GREY = (0.299, 0.587, 0.114)
"""Weights of R, G and B in the grey value (ITU-R BT.601, as in OpenCV's and Pillow's conversion)."""


class IdentityModel(nn.Module):
    """Faces in the reference frame to unit-length identity embeddings; differentiable down to the pixels.

    `backbone`: SFace, untrained, when none is given.
    """

    def __init__(self, backbone: Backbone | None = None) -> None:
        super().__init__()
        # On a CPU this layout saves a quarter of the time.
        self.backbone: Backbone = (backbone or SFace()).to(memory_format=torch.channels_last)  # pyright: ignore
        frame_to_crop = self.backbone.placement(five_points(REFERENCE))
        self.scale = float(np.hypot(frame_to_crop[0, 0], frame_to_crop[1, 0]))  # crop pixels for the frame's side
        self.register_buffer("theta", _sampling_matrix(frame_to_crop, self.backbone.side), persistent=False)
        self.register_buffer("grey", torch.tensor(GREY).view(3, 1, 1), persistent=False)
        self.theta: Tensor
        self.grey: Tensor

    @property
    def kind(self) -> str:
        """Name of the backbone: `build(model.kind)` makes another of the same architecture."""
        return self.backbone.kind

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
    def from_onnx(cls, path: Path | str) -> IdentityModel:
        """The pretrained SFace, from OpenCV Zoo's block-quantised file."""
        return cls.from_file("sface", path)

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
        side = round(self.scale)
        if faces.shape[-1] != side:
            faces = functional.interpolate(
                faces, (side, side), mode="bilinear", align_corners=False, antialias=faces.shape[-1] > side
            )
        wide = self.backbone.side + 2 * margin
        theta = self.theta.to(faces)
        if margin:
            theta = torch.cat([theta[:, :2] * (wide / self.backbone.side), theta[:, 2:]], 1)
        size = [len(faces), faces.shape[1], wide, wide]
        sampling = functional.affine_grid(theta.expand(len(faces), 2, 3), size, align_corners=False)
        return functional.grid_sample(faces, sampling, mode="bilinear", padding_mode="border", align_corners=False)

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


def _sampling_matrix(frame_to_crop: NDArray, side: int) -> Tensor:
    """affine_grid's matrix: crop coordinates in [-1, 1] to frame coordinates in [-1, 1]."""
    forward = np.vstack([frame_to_crop, [0, 0, 1]])  # frame [0, 1] -> crop pixels
    crop_pixels = np.array([[side / 2, 0, side / 2], [0, side / 2, side / 2], [0, 0, 1]])
    frame_signed = np.array([[2.0, 0, -1], [0, 2, -1], [0, 0, 1]])
    return torch.from_numpy((frame_signed @ np.linalg.inv(forward) @ crop_pixels)[:2]).float()
