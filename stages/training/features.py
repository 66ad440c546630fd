"""What the encoder learns from: faces and renders as features, computed once, and the parser's view of the photos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.encoder import Encoder
from models.features import read_maps
from models.identity import IdentityModel
from models.inference import optimize_for_inference
from models.losses import CompositeLoss
from stages.data import feature_cache
from stages.data.dataset import ImageDataset, to_unit
from stages.data.feature_cache import FeatureCache, digest_of_picture

CHANNELS_FITTED = 512
"""Faces that the principal channels are found on: 25,000 places of a 7 x 7 map."""
APPLIED_LATER = {"mean", "std", "directions.map_mean", "directions.map_basis"}
LOOKED_AT = 1500
"""Faces that directions and scale of the appearance are found on, at most."""
DIRECTIONS_FITTED = 20_000
"""Faces that the principal directions are found on, at most."""

BATCH = 32
"""Faces that are looked at together."""
KEPT_AS = 1
"""Raised when what is kept of a face is other numbers, or in another order."""
KNOWN_AT_ONCE = 512
"""Faces that the cache is asked for together."""

Progress = Callable[[str, int, int], None]


@dataclass
class LabelledFeatures:
    """Features whose parameters are known."""

    features: Tensor  # [N, F]
    x: Tensor  # [N, width]

    def __len__(self) -> int:
        return len(self.x)


@dataclass
class _Seen:
    """What is seen of faces and kept: of each it follows from its picture and the networks alone."""

    uncentred: Tensor  # [N, K] of `Backbone.uncentred`
    squeezed: Tensor  # [N, h * w * c] half precision, [N, 0] without map features
    appearance: Tensor  # [N, A], [N, 0] without an appearance

    @classmethod
    def empty(cls, rows: int, shape: tuple[int, int, int]) -> _Seen:
        """Room for so many faces; `shape`: K, h * w * c, A."""
        kinds = (torch.float32, torch.float16, torch.float32)
        return cls(*(torch.empty((rows, width), dtype=kind) for width, kind in zip(shape, kinds, strict=True)))

    @property
    def row_bytes(self) -> int:
        """Bytes of one face."""
        return sum(part.shape[1] * part.element_size() for part in vars(self).values())

    def set(self, rows: Sequence[int], other: _Seen) -> None:
        """Take over some rows [len(rows)] of another."""
        for name, part in vars(self).items():
            part[list(rows)] = getattr(other, name)[: len(rows)]

    def packed(self, row: int) -> bytes:
        """One face as bytes."""
        return b"".join(part[row].numpy().tobytes() for part in vars(self).values())

    def unpack(self, row: int, packed: bytes) -> None:
        """Set one face to what `packed` gave."""
        begin = 0
        for part in vars(self).values():
            end = begin + part.shape[1] * part.element_size()
            if end > begin:
                part[row] = torch.frombuffer(bytearray(packed[begin:end]), dtype=part.dtype)
            begin = end


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

    `cache`: a folder where what the recogniser saw of each picture is kept for other runs; None: nowhere.
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
        """Embeddings and squeezed maps of all pictures; each face is looked at only where the cache does not have it.

        A face in a full batch comes out the same whoever else is in the batch, so new faces share theirs, filled up;
        in the smaller batch at the table's end it may differ in the last bits, and is kept apart for that size.
        """
        if not len(pictures):
            raise ValueError(f"there are no {what} to look at")
        names, full = self._names(pictures.encoded), len(pictures) // BATCH * BATCH
        seen = _Seen.empty(len(pictures), self._shape())
        file = feature_cache.file_in(self.cache) if self.cache else None
        with FeatureCache(file, self._network(pictures.size), seen.row_bytes) as cache:
            missing = self._take_known(seen, names, cache)
            batches = [*_batches_of([row for row in missing if row < full])]
            batches += [list(range(full, len(pictures)))] if missing and missing[-1] >= full else []
            done = len(pictures) - len(missing)
            self.progress(f"encoder: features of {what}", done, len(pictures))
            for rows in batches:
                size = BATCH if rows[0] < full else len(rows)
                seen.set(rows, self._look(to_unit(pictures[[*rows, *rows[-1:] * (size - len(rows))]], self.device)))
                if file:
                    cache.put({names[row]: seen.packed(row) for row in rows})
                done += len(rows)
                self.progress(f"encoder: features of {what}", min(done, len(pictures)), len(pictures))
        return _Extracted(self._embeddings(seen.uncentred), seen.squeezed, seen.appearance)

    def _take_known(self, seen: _Seen, names: Sequence[str], cache: FeatureCache) -> list[int]:
        """Fill in what the cache has; the rows that it does not have, rising."""
        missing: list[int] = []
        for start in range(0, len(names), KNOWN_AT_ONCE):
            for row, packed in enumerate(cache.get(names[start : start + KNOWN_AT_ONCE]), start):
                if packed is None:
                    missing.append(row)
                else:
                    seen.unpack(row, packed)
        return missing

    def _names(self, encoded: Sequence[bytes]) -> list[str]:
        """What each face is kept by."""
        full, left = len(encoded) // BATCH * BATCH, len(encoded) % BATCH
        names = [digest_of_picture(picture) for picture in encoded]
        return [name if row < full else f"{name} of {left}" for row, name in enumerate(names)]

    def _shape(self) -> tuple[int, int, int]:
        """Numbers that are kept of a face: K, h * w * c, A."""
        backbone, directions = self.identity.backbone, self.features.directions
        with torch.no_grad():
            uncentred = backbone.uncentred(torch.zeros(1, *backbone.map_shape, device=self.device)).shape[1]
        squeezed = directions.map_basis.shape[0] if self.features.n_map else 0
        return uncentred, squeezed, 0 if self.appearance is None else self.appearance.width

    def _network(self, size: int) -> str:
        """Of everything but the picture that the answer depends on: weights, channels kept, the pictures' size."""
        about = f"{KEPT_AS} {size} {self.device.split(':')[0]} {torch.get_num_threads()} {torch.__version__}"
        digest = hashlib.blake2b(about.encode(), digest_size=20)
        later = {f"backbone.{name}" for name in self.identity.backbone.centring} | APPLIED_LATER
        for network in (self.identity, self.features, self.appearance):
            state = {} if network is None else network.state_dict()
            applied = later if network is not self.appearance else set[str]()
            for name in sorted(state.keys() - applied):
                digest.update(name.encode() + state[name].cpu().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def _look(self, faces: Tensor) -> _Seen:
        """What the recogniser sees of faces [B, 3, H, H]."""
        crops = self.reader.crop(faces).contiguous(memory_format=torch.channels_last)
        levels = self.reader.backbone.levels(crops)
        uncentred = self.reader.backbone.uncentred(levels[-1])
        squeezed = self.features.directions.squeeze(levels[-1]) if self.features.n_map else uncentred[:, :0]
        seen = uncentred[:, :0] if self.appearance is None else self.appearance(levels, faces)
        # numbers of the order of 1 to 10: half precision is ten times finer than the faces differ
        return _Seen(uncentred.cpu(), squeezed.half().cpu(), seen.cpu())

    @torch.no_grad()
    def _embeddings(self, uncentred: Tensor) -> Tensor:
        """Embeddings [N, D] of length 1."""
        parts = [self.reader.backbone.centred(part.to(self.device)) for part in uncentred.split(BATCH)]
        return torch.cat([functional.normalize(part, dim=1).cpu() for part in parts])

    @torch.no_grad()
    def fit_channels(
        self, pictures: ImageDataset, rows: NDArray, features: bool = True, appearance: bool = True
    ) -> None:
        """Principal channels of the maps of some training faces, spread over all of them: those that the features keep,
        or the appearance, or both.
        """
        features, appearance = features and self.features.n_map > 0, appearance and self.appearance is not None
        if not (features or appearance):
            return
        some, needed = spread(rows, CHANNELS_FITTED), slice(None) if appearance else slice(-1, None)
        looks = (read_maps(self.reader, batch)[1][needed] for batch in self._batches(pictures, some))
        levels = gathered(([maps.half() for maps in look] for look in looks), some)
        if features:
            self.features.cpu().directions.fit_channels(levels[-1])
            self.features.to(self.device)
        if appearance and self.appearance is not None:
            self.appearance.cpu().fit_channels(levels)
            self.appearance.to(self.device)

    @torch.no_grad()
    def fit_appearance(self, pictures: ImageDataset, rows: NDArray) -> None:
        """Directions and scale of what is seen beside the identity, of some training faces, after `fit_channels`."""
        if self.appearance is None:
            return
        some = spread(rows, LOOKED_AT)
        seen = (
            [self.appearance.measured(batch), *self.appearance.squeeze(read_maps(self.reader, batch)[1])]
            for batch in self._batches(pictures, some)
        )
        measured, *squeezed = gathered(([part.cpu() for part in parts] for parts in seen), some)
        self.appearance.cpu().fit(squeezed, measured)
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


def _batches_of(rows: Sequence[int]) -> Iterator[list[int]]:
    return (list(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH))


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
