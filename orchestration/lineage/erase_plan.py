"""What `likeness forget` is about to erase, for people to read before they say yes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.words import a_few
from orchestration.lineage.photo_index import SOURCE
from orchestration.lineage.photo_trace import PhotoTrace
from orchestration.lineage.prune import stats
from orchestration.storage.erasure_log import Erasure
from orchestration.storage.versions import Version

FEW = 4
"""Names that are shown of many."""
NOT_ERASED = (
    "weights of models that were trained on it: retrain them (listed above)",
    "what other machines keep in their own cache: run the same command on each of them",
    "backups (`likeness restore-backup` erases it again), and older versions of objects where the remote keeps them "
    "(S3 versioning)",
    "its name, in listings of data/photos, in quarantine tables' versions and in the erasure log",
)


@dataclass(frozen=True)
class KeptFaces:
    """Aligned faces of some photos in the file in which alignment keeps what it made of all."""

    file: Path
    count: int
    bytes: int


@dataclass(frozen=True)
class KeptFeatures:
    """What networks saw of faces that may be the photos', in the file with what they saw of all."""

    file: Path
    others: frozenset[str]
    """Digests of the pictures that are surely others': what was seen of these stays."""
    count: int
    bytes: int


@dataclass
class ErasePlan:
    """Everything that `forget` will do, before it does it."""

    trace: PhotoTrace
    photos: list[Path] = field(default_factory=list)
    """Files in data/photos."""
    objects: dict[str, str] = field(default_factory=dict)
    """Files in cache and remote by md5, and where they belong: `<asset> <md5>/<file>`."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of those that are still kept somewhere."""
    spared: dict[str, str] = field(default_factory=dict)
    """Files of the photos' that stay in cache and remote, since others need the same bytes: which, by md5."""
    local: list[Path] = field(default_factory=list)
    """Files and folders of this machine's: working copies, computed features, checkpoints, ablations."""
    kept_faces: KeptFaces | None = None
    """What alignment keeps of the photos on this machine, None where it keeps nothing of them."""
    kept_features: KeptFeatures | None = None
    """What networks saw of faces that are theirs or nobody knows whose; None where nothing is kept."""
    pictures: list[tuple[Version, tuple[str, ...]]] = field(default_factory=list)
    """Versions whose MLflow run has pictures that may show the photos, and the names of these."""
    ablations: list[str] = field(default_factory=list)
    """MLflow runs of `likeness ablate` whose pictures may show the photos."""
    yours: list[Path] = field(default_factory=list)
    """Characters that were created from one of them; not the pipeline's, so left alone."""
    unfinished: Erasure | None = None
    """The same erasure, begun before and interrupted."""

    @property
    def names(self) -> list[str]:
        """Every place below data/photos where the photos ever were."""
        return sorted({path for photo in self.trace.photos for path in photo.paths})

    @property
    def nothing_left(self) -> bool:
        """Whether everything was erased before."""
        return not (self.photos or self.sizes or self.local or self.kept_faces or self.kept_features or self.unfinished)

    @property
    def retrain(self) -> list[str]:
        """The commands that train anew what was trained on the photos, one for each model."""
        characters = [use.model.character for use in self.trace.uses if use.retrain]
        return [f"likeness run --character {name}" if name else "likeness run" for name in characters]

    def groups(self) -> Iterator[tuple[str, int, int]]:
        """What goes, where from, with numbers of files and bytes."""
        if self.photos:
            yield f"data/{SOURCE}: {a_few(self.names, FEW)}", len(self.photos), sum(map(_size, self.photos))
        stored: dict[str, list[tuple[str, int]]] = {}
        for md5, size in self.sizes.items():
            version, path = _split(self.objects[md5])
            stored.setdefault(version, []).append((path, size))
        for version, files in sorted(stored.items()):
            names = a_few(sorted(path for path, _ in files), FEW)
            yield f"cache and remote, {version}: {names}", len(files), sum(size for _, size in files)
        kept: dict[str, list[Path]] = {}
        for path in self.local:
            kept.setdefault(str(path.parent), []).append(path)
        for folder, paths in sorted(kept.items()):
            yield f"{folder}: {a_few([path.name for path in paths], FEW)}", len(paths), sum(map(_size, paths))
        if faces := self.kept_faces:
            yield f"{faces.file.parent.name}/{faces.file.name}: their aligned faces", faces.count, faces.bytes
        if seen := self.kept_features:
            yield f"{seen.file.parent.name}/{seen.file.name}: what networks saw of faces", seen.count, seen.bytes
        for version, names in (one for one in self.pictures if one[1]):
            yield f"MLflow, {version.asset} {version.md5[:12]}: {a_few(names, FEW)}", len(names), 0

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            **self.trace.document(),
            "delete": [str(path) for path in self.photos],
            "erase": [{"md5": md5, "file": self.objects[md5], "bytes": size} for md5, size in self.sizes.items()],
            "erase_here": [str(path) for path in self.local],
            "erase_faces": self.kept_faces.count if self.kept_faces else 0,
            "erase_features": self.kept_features.count if self.kept_features else 0,
            "spared": self.spared,
            "retrain": self.retrain,
            "not_erased": [*NOT_ERASED, *(f"{path}: yours, made from it" for path in self.yours)],
        }


def _split(where: str) -> tuple[str, str]:
    """Version and path of `<asset> <md5>/<path>`; the source and the places of a photo."""
    if where.startswith(f"{SOURCE}: "):
        return SOURCE, where.removeprefix(f"{SOURCE}: ")
    version, _, path = where.partition("/")
    asset, _, md5 = version.partition(" ")
    return f"{asset} {md5[:12]}", path


def _size(path: Path) -> int:
    return sum(about.st_size for about in stats([path, *path.rglob("*")], files=True))
