"""What the encoder learns from: faces and renders as features, computed once, and the parser's view of the photos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.files import partial_file
from models.encoder import Encoder
from models.features import read_maps
from models.identity import IdentityModel
from models.inference import optimize_for_inference
from models.losses import CompositeLoss
from stages.data.dataset import ImageDataset, row_batches, to_unit

CHANNELS_FITTED = 512
"""Faces that the principal channels are found on: 25,000 places of a 7 x 7 map."""
APPLIED_LATER = {"mean", "std", "directions.map_mean", "directions.map_basis"}
LOOKED_AT = 1500
"""Faces that directions and scale of the appearance are found on, at most."""
DIRECTIONS_FITTED = 20_000
"""Faces that the principal directions are found on, at most."""

BATCH = 32
"""Faces that are looked at together."""
FILES_KEPT = 6
"""Files of features in the cache; the oldest go first."""

Progress = Callable[[str, int, int], None]


@dataclass
class LabelledFeatures:
    """Features whose parameters are known."""

    features: Tensor  # [N, F]
    x: Tensor  # [N, width]

    def __len__(self) -> int:
        return len(self.x)


@dataclass
class _Extracted:
    """What the recogniser saw of a table's faces."""

    embeddings: Tensor  # [N, D] of length 1
    squeezed: Tensor  # [N, h * w * c] half precision, [N, 0] without map features
    appearance: Tensor  # [N, A], [N, 0] without an appearance


def spread(rows: NDArray, most: int) -> NDArray:
    """At most so many of the rows, evenly."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)]


def gathered(batches: Iterable[Sequence[Tensor]], rows: Sized) -> list[Tensor]:
    """Batches of the same tensors, each joined on the CPU to one of as many rows. They are filled in where they stay:
    of parts that are joined at the end, there would be two of everything.
    """
    whole, done = list[Tensor](), 0
    for parts in batches:
        whole = whole or [torch.empty(len(rows), *part.shape[1:], dtype=part.dtype) for part in parts]
        for joined, part in zip(whole, parts, strict=True):
            joined[done : done + len(part)] = part
        done += len(parts[0])
    return whole


class FeatureExtractor:
    """Pictures to the encoder's features: fitted on the training faces, then the same for everything.

    `cache`: a folder where what the recogniser saw is kept for other runs on the same pictures; None: nowhere.
    """

    def __init__(
        self, identity: IdentityModel, encoder: Encoder, device: str, progress: Progress, cache: Path | None
    ) -> None:
        self.identity, self.features, self.appearance = identity, encoder.features.to(device), encoder.appearance
        if self.appearance is not None:
            self.appearance.to(device)
        self.reader = optimize_for_inference(identity)
        self.device, self.progress, self.cache = device, progress, cache

    def extract(self, pictures: ImageDataset, what: str) -> _Extracted:
        """Embeddings and squeezed maps of all pictures; from the cache if it has them."""
        if self.cache is None:
            return self._compute(pictures, what)
        folder = self.cache / "features"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self._key(pictures)}.safetensors"
        if not path.exists():
            with partial_file(path) as partial:
                save_file(vars(self._compute(pictures, what)), partial)
        path.touch()
        for old in sorted(folder.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)[:-FILES_KEPT]:
            old.unlink(missing_ok=True)
        return _Extracted(**load_file(path))

    def _key(self, pictures: ImageDataset) -> str:
        """Of everything that the answer depends on: weights, channels kept, the pictures' bytes and their size."""
        digest = hashlib.blake2b(f"{pictures.size} {self.device.split(':')[0]}".encode(), digest_size=20)
        for network in (self.identity, self.features, self.appearance):
            state = {} if network is None else network.state_dict()
            # the features' scale and directions are applied later
            for name in sorted(state.keys() - APPLIED_LATER if network is self.features else state):
                digest.update(name.encode() + state[name].cpu().numpy().tobytes())
        for picture in pictures.encoded:
            digest.update(picture)
        return digest.hexdigest()

    @torch.no_grad()
    def _compute(self, pictures: ImageDataset, what: str) -> _Extracted:
        if not len(pictures):
            raise ValueError(f"there are no {what} to look at")

        def look() -> Iterator[Sequence[Tensor]]:
            for chosen in row_batches(len(pictures), BATCH):
                yield self._look(to_unit(pictures[chosen], self.device))
                self.progress(f"encoder: features of {what}", int(chosen[-1]) + 1, len(pictures))

        return _Extracted(*gathered(look(), pictures))

    def _look(self, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the recogniser sees of faces [B, 3, H, H], as _Extracted has it."""
        embeddings, levels = read_maps(self.reader, faces)
        squeezed = self.features.directions.squeeze(levels[-1]) if self.features.n_map else embeddings[:, :0]
        seen = embeddings[:, :0] if self.appearance is None else self.appearance(levels, faces)
        # numbers of the order of 1 to 10: half precision is ten times finer than the faces differ
        return embeddings, squeezed.half(), seen

    @torch.no_grad()
    def fit_channels(self, pictures: ImageDataset, rows: NDArray) -> None:
        """Principal channels of the maps of some training faces, spread over all of them."""
        if not self.features.n_map:
            return
        some = spread(rows, CHANNELS_FITTED)
        (maps,) = gathered(
            ([read_maps(self.reader, batch)[1][-1].half()] for batch in self._batches(pictures, some)), some
        )
        self.features.cpu().directions.fit_channels(maps)
        self.features.to(self.device)

    @torch.no_grad()
    def fit_appearance(self, pictures: ImageDataset, rows: NDArray) -> None:
        """Directions and scale of what is seen beside the identity, of some training faces."""
        if self.appearance is None:
            return
        some = spread(rows, LOOKED_AT)
        seen = (
            [self.appearance.measured(batch), *(maps.half() for maps in read_maps(self.reader, batch)[1])]
            for batch in self._batches(pictures, some)
        )
        measured, *levels = gathered(seen, some)
        self.appearance.cpu().fit(levels, measured)
        self.appearance.to(self.device)

    def _batches(self, pictures: ImageDataset, some: NDArray) -> Iterator[Tensor]:
        for number, part in enumerate(np.array_split(some, -(-len(some) // 32)), start=1):
            yield to_unit(pictures[part], self.device)
            self.progress("encoder: directions", 32 * number, len(some))

    def fit(self, extracted: _Extracted, rows: NDArray) -> None:
        """Scale and principal directions of the training faces."""
        some = torch.from_numpy(spread(rows, DIRECTIONS_FITTED))
        self.features.cpu().fit(extracted.embeddings[torch.from_numpy(rows)], extracted.squeezed[some])
        self.features.to(self.device)

    @torch.no_grad()
    def concat(self, extracted: _Extracted) -> Tensor:
        """Features [N, F] of what was extracted."""
        parts = [
            self.features.concat(embeddings.to(self.device), squeezed.float().to(self.device)).cpu()
            for embeddings, squeezed in zip(
                extracted.embeddings.split(4096), extracted.squeezed.split(4096), strict=True
            )
        ]
        return torch.cat([torch.cat(parts), extracted.appearance], 1)


class ContentCache:
    """The parser's features and class probabilities of photos, computed when first asked for and kept as long as they
    fit into `kept_bytes`: photos do not change in training, so neither do these.
    """

    def __init__(self, loss: CompositeLoss, pictures: ImageDataset, device: str, kept_bytes: int) -> None:
        self.loss, self.pictures, self.device, self.left = loss, pictures, device, kept_bytes
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, rows: Sequence[int] | NDArray) -> tuple[Tensor, Tensor]:
        """Row numbers [B] -> features [B, C, h, w] and probabilities [B, K, h, w] in half precision, on the CPU."""
        wanted = [int(row) for row in rows]
        new = [row for row in dict.fromkeys(wanted) if row not in self.kept]
        fresh = dict(zip(new, self._compute(new), strict=True)) if new else {}
        for row, value in fresh.items():
            size = sum(part.numel() * part.element_size() for part in value)
            if size <= self.left:
                self.left -= size
                self.kept[row] = value
        values = [self.kept.get(row) or fresh[row] for row in wanted]
        return torch.stack([value[0] for value in values]), torch.stack([value[1] for value in values])

    def _compute(self, rows: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        features, probabilities = self.loss.content_of(to_unit(self.pictures[rows], self.device))
        return [(f.half().cpu(), p.half().cpu()) for f, p in zip(features, probabilities, strict=True)]
