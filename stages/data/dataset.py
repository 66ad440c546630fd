"""Columns of encoded pictures as tensors, and networks over them in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import images


class ImageDataset:
    """A column of encoded pictures as uint8 tensors of one size: [B, 3, size, size], or [B, size, size] for label maps.

    Decoded when asked for; what was decoded is kept as long as all of it fits into `cache_bytes`.
    """

    def __init__(
        self, encoded: Sequence[bytes], size: int, labels: bool = False, cache_bytes: int = 1_500_000_000
    ) -> None:
        self.encoded, self.size, self.labels = list(encoded), size, labels
        shape = (size, size) if labels else (3, size, size)
        fits = len(self.encoded) * int(np.prod(shape)) <= cache_bytes
        self._kept = torch.empty((len(self.encoded), *shape), dtype=torch.uint8) if fits else None
        self._known = np.zeros(len(self.encoded), bool)

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, indices: Sequence[int] | NDArray) -> Tensor:
        if self._kept is None:
            return torch.stack([self._decode(int(i)) for i in indices])
        for i in indices:
            if not self._known[i]:
                self._kept[int(i)] = self._decode(int(i))
                self._known[i] = True
        return self._kept[torch.as_tensor(np.asarray(indices, np.int64))]

    def _decode(self, i: int) -> Tensor:
        if self.labels:
            labels = images.decode_labels(self.encoded[i])
            step = len(labels) / self.size
            at = ((np.arange(self.size) + 0.5) * step).astype(int)  # nearest: class ids are never mixed
            return torch.from_numpy(np.ascontiguousarray(labels[at][:, at]))
        picture = images.resize(images.decode(self.encoded[i]), self.size)
        return torch.from_numpy(picture).permute(2, 0, 1)


def row_batches(rows: int, size: int) -> Iterator[NDArray[np.int64]]:
    """The numbers of `rows` rows in order, `size` at a time."""
    return (np.arange(start, min(start + size, rows)) for start in range(0, rows, size))


def to_unit(pictures: Tensor, device: str | torch.device = "cpu") -> Tensor:
    """uint8 pictures to float in [0, 1]."""
    return pictures.to(device).float() / 255


def to_picture(image: Tensor) -> NDArray:
    """One float RGB picture [3, H, W] in [0, 1] to uint8 [H, W, 3]."""
    return (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


@torch.no_grad()
def in_batches(
    function: Callable[[Tensor], Tensor],
    pictures: ImageDataset,
    device: str,
    batch: int = 32,
    on_done: Callable[[int], None] | None = None,
) -> Tensor:
    """function(faces [B, 3, H, W] in [0, 1]) over all pictures, results joined on the CPU."""
    results = []
    for chosen in row_batches(len(pictures), batch):
        results.append(function(to_unit(pictures[chosen], device)).cpu())
        if on_done:
            on_done(int(chosen[-1]) + 1)
    return torch.cat(results) if results else torch.empty(0)
