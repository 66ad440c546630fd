"""Whether the photos that players send are like those that the model in production was trained on.

The service counts what it reads in bins (`LIKENESS_SERVE_STATISTICS`). Training's photos are counted in the same bins,
from the table of faces that the version was made from; which choices it takes of them, its own networks say of a
sample. That is done once for each version, and kept beside the service's files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.files import write_whole
from orchestration.checks.production import NoReference
from orchestration.config.check_rules import ServedRule
from orchestration.config.settings import Settings
from orchestration.registry.promotion_events import PRODUCTION
from orchestration.registry.registered_models import RegisteredVersion, Registry
from orchestration.storage.store import RemoteDown, Store, StoreError
from serving import photo_counts
from serving.comparisons import Served
from serving.configuration import ServiceSettings
from serving.photo_counts import EDGES, NO_REMARK, DayCounts, PhotoCounts, beside_training, stability_index

if TYPE_CHECKING:
    import pandas as pd

    from orchestration.config.progress import Progress

QUANTITIES = ("yaw", "pitch", "brightness", "sharpness")
"""Those that the table of faces has; how large a face was in its photo it has not."""
SAMPLE = 300
"""Faces of training that tell which choices a version takes of them."""
BATCH = 16


@dataclass(frozen=True)
class Drift:
    """One distribution of served photos beside training's."""

    name: str
    index: float | None
    """Population stability index; None where training has no such distribution."""
    limit: float | None
    photos: int
    ok: bool | None
    """None: not judged, and `note` says why."""
    note: str
    training: Mapping[str, int]
    served: Mapping[str, int]


@dataclass(frozen=True)
class ServedPhotos:
    """The photos that the version in production read in the last days, beside those that it was trained on."""

    model: str
    version: int
    photos: int
    first: date
    drifts: tuple[Drift, ...]

    @property
    def drifted(self) -> list[Drift]:
        """What is not like training any more, the farthest first."""
        found = [drift for drift in self.drifts if drift.ok is False]
        return sorted(found, key=lambda drift: drift.index or 0.0, reverse=True)

    def document(self) -> dict[str, Any]:
        """What --json prints."""
        return {**asdict(self), "first": self.first.isoformat(), "drifts": [asdict(each) for each in self.drifts]}


def examine(settings: Settings, registry: Registry, rule: ServedRule, progress: Progress) -> ServedPhotos:
    """Hold them against each other. Raises NoReference where there is nothing to compare with, RegistryError."""
    found = registry.find(PRODUCTION)
    version = _served(found)
    first = datetime.now(UTC).date() - timedelta(days=rule.days - 1)
    served = sum((each for each in daily(settings) if each.version == version and each.day >= first), PhotoCounts())
    if not served.photos:
        raise NoReference(
            f"no photo that {registry.name} version {version.version} read since {first} was counted: "
            "LIKENESS_SERVE_STATISTICS=true likeness serve"
        )
    training = training_counts(settings, registry, found, progress)
    return ServedPhotos(registry.name, version.version, served.photos, first, tuple(compare(rule, training, served)))


def daily(settings: Settings) -> list[DayCounts]:
    """What the services of this character counted, of all versions and days; a day is in several parts where several
    processes counted."""
    return list(photo_counts.read_days(_folder(settings)))


def compare(rule: ServedRule, training: PhotoCounts, served: PhotoCounts) -> list[Drift]:
    """Each distribution of what was served beside training's."""
    return [_compared(rule, *each) for each in beside_training(training, served)]


def _compared(rule: ServedRule, name: str, training: Mapping[str, int], served: Mapping[str, int]) -> Drift:
    old, new = sum(training.values()), sum(served.values())
    if not old:
        return Drift(name, None, None, new, None, "training's tables do not have it", training, served)
    index = stability_index(training, served)
    limit = rule.limit(name) + allowance(len({**training, **served}), old, new, rule.chance)
    if new < rule.photos:
        note = f"{new} photos: from {rule.photos} on it is judged"
        return Drift(name, index, limit, new, None, note, training, served)
    return Drift(name, index, limit, new, index <= limit, "", training, served)


def allowance(bins: int, old: int, new: int, chance: float) -> float:
    """The index that two samples of one distribution exceed as seldom as `chance` (Yurdakul and Naranjo, The Journal of
    Risk Model Validation 14, 2020): divided by 1/old + 1/new it follows a chi-squared distribution.
    """
    from scipy import stats

    return float(stats.chi2.ppf(1 - chance, max(bins - 1, 1)) * (1 / old + 1 / new))


def training_counts(
    settings: Settings, registry: Registry, version: RegisteredVersion, progress: Progress
) -> PhotoCounts:
    """Of the faces that a registered version was trained on; counted once, then read. Raises NoReference."""
    path = photo_counts.training_file(_folder(settings), _served(version))
    if path.is_file():
        return PhotoCounts.model_validate_json(path.read_bytes())
    faces = _training_faces(settings, version)
    chosen = faces.iloc[np.unique(np.linspace(0, len(faces) - 1, min(SAMPLE, len(faces))).astype(int))]
    counts = PhotoCounts(photos=len(faces), quantities=_quantities(faces), remarks=_remarks(faces))
    taken = _choices(registry, str(version.version), chosen["image"].tolist(), progress)
    counts = counts.model_copy(update={"choices": taken.choices, "probabilities": taken.probabilities})
    write_whole(path, counts.model_dump_json().encode())
    return counts


def _folder(settings: Settings) -> Path:
    home = settings.home / "serving" / settings.character
    return photo_counts.folder_of(ServiceSettings(), settings.character, home)


def _served(version: RegisteredVersion) -> Served:
    return Served(version=int(version.version), run=str(version.run_id))


def _training_faces(settings: Settings, version: RegisteredVersion) -> pd.DataFrame:
    from stages.data.reads import TRAINED_ON, Rows

    name, md5 = f"{version.name} version {version.version}", dict(version.tags).get("input.aligned_faces")
    if md5 is None:
        raise NoReference(f"{name} does not say which aligned_faces it was made from")
    try:
        folder = Store.of(settings).fetch(md5)
    except (RemoteDown, StoreError) as error:
        raise NoReference(f"aligned_faces of {name} is not to be had any more: {error}") from error
    faces = Rows("faces.parquet", ("split", *QUANTITIES, "n_faces", "image"), (TRAINED_ON,)).read(folder)
    if faces.empty:
        raise NoReference(f"{name} was trained on no photo")
    return faces


def _quantities(faces: pd.DataFrame) -> dict[str, list[int]]:
    found = {}
    for name in QUANTITIES:
        edges = EDGES[name]
        bins = np.searchsorted(edges, faces[name].dropna().to_numpy(np.float64), side="left")
        found[name] = np.bincount(bins, minlength=len(edges) + 1).tolist()
    return found


def _remarks(faces: pd.DataFrame) -> dict[str, int]:
    """What the service would have remarked on, by the rules of `models.predictor.remarks_of`."""
    from models.predictor import BLUR_SHARPNESS, BRIGHT, DARK, SIDE_VIEW_DEGREES

    found = {
        "several_faces": faces["n_faces"] > 1,
        "side_view": faces["yaw"].abs() > SIDE_VIEW_DEGREES,
        "tilted": faces["pitch"].abs() > SIDE_VIEW_DEGREES,
        "blurred": faces["sharpness"] < BLUR_SHARPNESS,
        "dark": faces["brightness"] < DARK,
        "overexposed": faces["brightness"] > BRIGHT,
    }
    without = ~np.any(list(found.values()), axis=0)
    return {NO_REMARK: int(without.sum()), **{code: int(rows.sum()) for code, rows in found.items()}}


def _choices(registry: Registry, version: str, images: Sequence[bytes], progress: Progress) -> PhotoCounts:
    """What the version's own networks choose of encoded faces of training."""
    import torch

    from models.images import decode

    model, _ = registry.load(version)
    predictor, counts = model.predictor, PhotoCounts()
    for begin in range(0, len(images), BATCH):
        progress.step("what the model chooses for faces of its training", begin, len(images))
        pictures = np.stack([decode(image) for image in images[begin : begin + BATCH]])
        with torch.inference_mode():
            faces = torch.from_numpy(pictures).to(predictor.device).permute(0, 3, 1, 2).float() / 255
            x = predictor.encoder(predictor.encoder.look(predictor.identity, faces)[1]).float().cpu().numpy()
        for row in x:
            counts.add({}, [], model.schema.to_document(row)["discrete"])
    return counts
