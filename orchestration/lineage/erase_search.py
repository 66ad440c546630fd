"""Where the pixels of photos may lie: found, not assumed, so that `likeness forget` erases just these files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import LikenessError
from orchestration.config.catalog import SOURCES
from orchestration.config.settings import Settings
from orchestration.lineage import OnStep, silent
from orchestration.lineage.erase_plan import ErasePlan, KeptFaces, KeptFeatures
from orchestration.lineage.photo_index import SOURCE, PhotoIndex, TracedPhoto, unless_lost
from orchestration.lineage.photo_trace import PhotoTrace, pictures_of_others, trace
from orchestration.storage.erasure_log import KEY
from orchestration.storage.staged_output import pointed
from orchestration.storage.store import Store
from orchestration.storage.tracking import Tracking
from orchestration.storage.version_index import KNOWN, VersionIndex, VersionRef
from orchestration.storage.versions import Version
from stages.data import alignment_cache, feature_cache
from stages.data.source_files import PHOTO_ENDINGS

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".html")
"""Files that show faces, made small and joined: whose, nobody can read out of them again."""
WEIGHTS = (".safetensors", ".json")
"""Files that hold no pixels."""
EMPTY = "d41d8cd98f00b204e9800998ecf8427e"
"""md5 of no bytes."""
SHORTEST_PICTURE = 64
"""Bytes; a file that is shorter can hold no face, whatever its first bytes say."""
ABLATIONS = "likeness-ablations"


@dataclass(frozen=True)
class EraseSearch:
    """One project's stores, and the photos that are looked for in them."""

    photo_index: PhotoIndex
    progress: OnStep = silent

    @property
    def settings(self) -> Settings:
        """The settings of the project."""
        return self.photo_index.settings

    @property
    def store(self) -> Store:
        """The project's cache and remote."""
        return self.photo_index.store

    @property
    def version_index(self) -> VersionIndex:
        """Every version that was ever recorded."""
        return self.photo_index.version_index

    def plan(self, photos: Sequence[TracedPhoto], person: str = "") -> ErasePlan:
        """Look everywhere; nothing is changed. With `person`, a file of hers that is no picture goes from her folder
        alone: who has the same bytes keeps them. Raises RemoteDown, LikenessError.
        """
        pictures = self._pictures(photos)
        others = {photo.md5: _of_others(photo, person) for photo in photos if photo.md5 not in pictures}
        photos = [_without(photo, others.get(photo.md5, ())) for photo in photos]
        plan = ErasePlan(trace(self.photo_index, photos, self.progress))
        plan.unfinished = next((entry for entry in plan.trace.forgotten if not entry.done), None)
        plan.photos = [self.photo_index.folder / path for photo in photos for path in photo.here]
        needed = self._untouched(plan.trace)
        needed |= {md5: f"{SOURCE}: {', '.join(paths)}" for md5, paths in others.items() if paths}
        self._find_objects(plan, photos, pictures, needed)
        plan.spared = {photo.md5: needed[photo.md5] for photo in photos if photo.md5 in needed}
        self._require_whole(plan)
        plan.sizes = _kept(self.store, plan.objects)
        plan.local = [*self._copies(plan)]
        ablations, plan.ablations = self._ablations(plan.trace)
        if plan.trace.showing or pictures:
            plan.local += [*self._computed(), *ablations]
        self._find_kept_faces(plan, photos, pictures)
        if plan.trace.showing or pictures:
            self._find_kept_features(plan, photos)
        plan.yours = [*self._created_from(photos)]
        return plan

    def _find_objects(
        self, plan: ErasePlan, photos: Sequence[TracedPhoto], pictures: Mapping[str, bytes], needed: dict[str, str]
    ) -> None:
        """The files in cache and remote that may show the photos, and nothing that is `needed` elsewhere."""
        objects = {md5: where for entry in plan.trace.forgotten for md5, where in entry.erased.items()}
        objects |= {photo.md5: f"{SOURCE}: {', '.join(photo.paths)}" for photo in photos}
        showing = plan.trace.showing
        for number, version in enumerate(showing):
            self.progress("files that show them", number, len(showing))
            shown = []
            for path, md5 in self._listing(version.md5).items():
                where = f"{version.asset} {version.md5}/{path}"
                if md5 not in needed and self._shows(version, path, md5, plan.trace, pictures):
                    shown.append(path)
                    objects[md5] = where
                else:
                    needed.setdefault(md5, where)
            plan.pictures.append((version, tuple(sorted(path for path in shown if path.endswith(PICTURES)))))
        plan.objects = {md5: where for md5, where in objects.items() if md5 not in needed}

    def _untouched(self, found: PhotoTrace) -> dict[str, str]:
        """Where else each file is, by its md5: in a version, of any asset or source, that shows none of the photos.

        What has no bytes is nobody's picture and everybody's file.
        """
        touched = {*found.sources, *(version.md5 for version in found.showing)}
        others = {ref.md5: ref.asset for ref in self.version_index.refs() if ref.asset != KEY}
        others |= {md5: name for name, md5 in pointed(self.settings.root).items()}
        others |= {md5: asset for use in found.uses for asset, md5 in use.model.versions.items()}
        needed = {EMPTY: "empty files"}
        for md5, files in self.store.listings(others.keys() - touched).items():
            # data/ as a whole has the photos in it.
            inside = {path: oid for path, oid in files.items() if not path.startswith(f"{SOURCE}/")}
            needed |= {oid: f"{others[md5]} {md5}/{path}" for path, oid in inside.items()}
        return needed

    def _pictures(self, photos: Sequence[TracedPhoto]) -> dict[str, bytes]:
        """The bytes of those photos that are pictures, by md5: what lies in a person's folder may be anything."""
        found = {}
        for photo in photos:
            content = self._bytes(photo.md5)
            if content is None and photo.here:
                content = (self.photo_index.folder / photo.here[0]).read_bytes()
            if content is not None and is_picture(content):
                found[photo.md5] = content
        return found

    def _require_whole(self, found: ErasePlan) -> None:
        """Raises LikenessError where a registered model that is in use would lose a file of its package."""
        for use in found.trace.uses:
            about = use.model.model or {}
            names = about["aliases"]
            lost = [path for path, md5 in self._listing(use.model.md5).items() if md5 in found.objects]
            if names and lost:
                raise LikenessError(
                    f"{about['name']} version {about['version']} ({', '.join(names)}) has it in its package "
                    f"({', '.join(lost[:3])}), and would not load any more: nothing was erased. Take the photo out of "
                    "data/photos, train and promote a version without it, delete that version in MLflow, and call "
                    "this command again"
                )

    def _listing(self, md5: str) -> dict[str, str]:
        """A version's files; none where its listing is nowhere to be had. Raises RemoteDown."""
        return unless_lost(lambda: self.store.listing(md5), {})

    def _bytes(self, md5: str) -> bytes | None:
        return unless_lost(lambda: self.store.file(md5).read_bytes(), None)

    def _shows(self, version: Version, path: str, md5: str, found: PhotoTrace, pictures: Mapping[str, bytes]) -> bool:
        """Whether a file of a version may hold pixels of the photos."""
        suffix = Path(path).suffix.lower()
        if suffix in PICTURES:
            return True
        if suffix in WEIGHTS:
            return False
        if suffix == ".parquet":
            return version.md5 in found.rows and "image" in unless_lost(lambda: self._columns(md5), ())
        # A file of a kind that nobody knows may have a photo's bytes in it, as they are.
        return md5 in pictures or any(picture in (self._bytes(md5) or b"") for picture in pictures.values())

    def _columns(self, md5: str) -> list[str]:
        from pyarrow import parquet

        return parquet.read_schema(self.store.file(md5)).names

    def _copies(self, found: ErasePlan) -> Iterator[Path]:
        """Working copies below artifacts/."""
        for name, md5 in sorted(pointed(self.settings.root).items()):
            if name == "data":
                continue
            folder = self.settings.root / name
            yield from (
                folder / path
                for path, oid in self._listing(md5).items()
                if oid in found.objects and (folder / path).exists()
            )

    def _computed(self) -> Iterator[Path]:
        """What was computed from photos and is no version yet: of whom, nobody can tell."""
        home, root = self.settings.home, self.settings.root
        kept = feature_cache.file_in(self.settings.cache)
        yield from (path for path in kept.parent.glob("*") if path.is_file() and path != kept)
        yield from self._checkpoints()
        yield from (root / "artifacts").rglob(".*.partial")
        yield from (home / "inputs").glob(".*.partial")

    def _find_kept_faces(self, plan: ErasePlan, photos: Sequence[TracedPhoto], pictures: Mapping[str, bytes]) -> None:
        """What alignment keeps of the photos: by their md5, but all it keeps where a file may hold several photos, or
        where what it keeps cannot be read.
        """
        file = alignment_cache.file_in(self.settings.cache)
        if not file.exists():
            return
        try:
            count, size = alignment_cache.held(file, {photo.md5 for photo in photos})
        except sqlite3.Error:
            count, size, known = 0, 0, False
        else:
            known = all(photo.md5 in pictures or _is_named_as_photo(photo) for photo in photos)
        if not known:
            plan.local.append(file)
        elif count:
            plan.kept_faces = KeptFaces(file, count, size)

    def _find_kept_features(self, plan: ErasePlan, photos: Sequence[TracedPhoto]) -> None:
        """What networks saw of faces, but for those that are surely others': rows of the newest tables that show none
        of the photos. The whole file where it cannot be read.
        """
        file = feature_cache.file_in(self.settings.cache)
        if not file.exists():
            return
        self.progress("whose the kept features are", 0, 0)
        newest: dict[tuple[str, str | None], VersionRef] = {}
        for ref in self.version_index.refs():
            if ref.asset not in (*SOURCES, KEY, KNOWN):
                newest.setdefault((ref.asset, ref.character), ref)
        others: set[str] = set()
        for version in self.version_index.versions(list(newest.values())):
            others |= unless_lost(lambda one=version: pictures_of_others(self.photo_index, one, photos), set[str]())
        try:
            count, size = feature_cache.held_besides(file, others)
        except sqlite3.Error:
            plan.local.append(file)
            return
        if count:
            plan.kept_features = KeptFeatures(file, frozenset(others), count, size)

    def _checkpoints(self) -> Iterator[Path]:
        """Trainings that were interrupted, but for those of assets that are known not to see photos."""
        assets = {ref.asset for ref in self.version_index.refs()} - set(SOURCES)
        for folder in self.settings.checkpoints.glob("*/*"):
            asset = folder.parent.name.split("-")[0]
            newest = self.version_index.refs(asset)[:1] if asset in assets else []
            versions = self.version_index.versions(newest)
            if not versions or SOURCE in versions[0].lineage:
                yield folder

    def _ablations(self, found: PhotoTrace) -> tuple[list[Path], list[str]]:
        """Folders of `likeness ablate` that were made from versions that may show the photos, and their MLflow runs."""
        client = Tracking.of(self.settings).client()
        experiment = client.get_experiment_by_name(ABLATIONS)
        keys, touched = {version.md5 for version in found.showing}, []
        # What was made from another was made later.
        oldest_first = {"max_results": 1000, "order_by": ["attributes.start_time ASC"]}
        for run in client.search_runs([experiment.experiment_id], **oldest_first) if experiment else []:
            tags = run.data.tags
            if any(tags[name] in keys for name in tags if name.startswith("input.")):
                touched.append(run.info.run_id)
                keys.add(tags.get("output.key", run.info.run_id))
        folders = [path for key in sorted(keys) if (path := self.settings.home / "ablations" / key).is_dir()]
        return folders, touched

    def _created_from(self, photos: Sequence[TracedPhoto]) -> Iterator[Path]:
        sha256 = [photo.sha256 for photo in photos if photo.sha256]
        for document in (self.settings.root / "out").rglob("character.json"):
            text = document.read_text(errors="ignore")
            if any(digest in text for digest in sha256):
                yield document.parent


def _is_named_as_photo(photo: TracedPhoto) -> bool:
    return all(Path(path).suffix.lower() in PHOTO_ENDINGS for path in photo.paths)


def _of_others(photo: TracedPhoto, person: str) -> tuple[str, ...]:
    """Where this very content lies now below the folders of others, where a person was asked for."""
    return tuple(path for path in photo.here if person and not path.startswith(f"{person}/"))


def _without(photo: TracedPhoto, places: Sequence[str]) -> TracedPhoto:
    """The photo without those places, which are another's."""
    paths, here = (tuple(path for path in had if path not in places) for had in (photo.paths, photo.here))
    return replace(photo, paths=paths, here=here)


def is_picture(content: bytes) -> bool:
    """Whether the bytes begin as a picture does that could be a photo; it need not be whole."""
    from PIL import Image

    from models.images import known_formats

    Image.init()
    accepts = [Image.OPEN[name][1] for name in known_formats() if name in Image.OPEN]
    return len(content) >= SHORTEST_PICTURE and any(accept and accept(content[:16]) for accept in accepts)


def _kept(store: Store, objects: Mapping[str, str]) -> dict[str, int]:
    """Bytes of those objects that the cache or the remote still has."""
    sizes: dict[str, int] = {}
    for place in store.sizes().values():
        sizes |= {md5: place[md5] for md5 in objects if md5 in place}
    return sizes
