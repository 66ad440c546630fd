"""Windows of the reference frame: what a network reads of an aligned face, at its own scale."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


class Window(nn.Module):
    """Faces [B, C, H, H] in the reference frame -> the square window [B, C, S, S] at `placement`, without aliasing.

    `placement`: frame [0, 1] -> window pixels, a similarity [2, 3]. Differentiable.
    """

    theta: Tensor

    def __init__(self, placement: NDArray, side: int) -> None:
        super().__init__()
        self.side = side
        self.scale = float(np.hypot(placement[0, 0], placement[1, 0]))  # window pixels for the frame's side
        self.register_buffer("theta", _sampling_matrix(placement, side), persistent=False)

    def forward(self, faces: Tensor, margin: int = 0) -> Tensor:
        """`margin`: so many pixels more on each side."""
        side = round(self.scale)
        if faces.shape[-1] != side:
            faces = functional.interpolate(
                faces, (side, side), mode="bilinear", align_corners=False, antialias=faces.shape[-1] > side
            )
        wide = self.side + 2 * margin
        theta = self.theta.to(faces)
        if margin:
            theta = torch.cat([theta[:, :2] * (wide / self.side), theta[:, 2:]], 1)
        size = [len(faces), faces.shape[1], wide, wide]
        sampling = functional.affine_grid(theta.expand(len(faces), 2, 3), size, align_corners=False)
        return functional.grid_sample(faces, sampling, mode="bilinear", padding_mode="border", align_corners=False)


def _sampling_matrix(placement: NDArray, side: int) -> Tensor:
    """affine_grid's matrix: window coordinates in [-1, 1] to frame coordinates in [-1, 1]."""
    forward = np.vstack([placement, [0, 0, 1]])
    window_pixels = np.array([[side / 2, 0, side / 2], [0, side / 2, side / 2], [0, 0, 1]])
    frame_signed = np.array([[2.0, 0, -1], [0, 2, -1], [0, 0, 1]])
    return torch.from_numpy((frame_signed @ np.linalg.inv(forward) @ window_pixels)[:2]).float()
