"""The photos of data/photos by their bytes: which there are and were, where, and which of them a word names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from orchestration.config.settings import Settings
from orchestration.lineage.resolve import TargetError
from orchestration.storage.erasure_log import Erasure, ErasureLog
from orchestration.storage.store import Store, StoreError
from orchestration.storage.version_index import VersionIndex
from stages.data.source_files import identity, is_utf8, printable, walk

SOURCE = "photos"
Found = TypeVar("Found")
Default = TypeVar("Default")


def unless_lost(read: Callable[[], Found], otherwise: Default) -> Found | Default:
    """What `read` gives; `otherwise` where the store does not have it any more. Raises RemoteDown."""
    try:
        return read()
    except StoreError:
        return otherwise


@dataclass(frozen=True)
class TracedPhoto:
    """A photo by its bytes."""

    md5: str
    sha256: str
    """Empty when the bytes are not at hand."""
    paths: tuple[str, ...]
    """Every place below data/photos where it ever was seen."""
    here: tuple[str, ...]
    """Those where it is now."""


@dataclass(frozen=True)
class PhotoIndex:
    """Every version of data/photos that was ever recorded, and what lies there now."""

    settings: Settings
    store: Store
    version_index: VersionIndex
    erasure_log: ErasureLog

    @property
    def folder(self) -> Path:
        """data/photos."""
        return self.settings.data / SOURCE

    @cached_property
    def versions(self) -> dict[str, dict[str, str]]:
        """md5 of each photo by its path, for each recorded version whose listing is to be had. Raises RemoteDown."""
        # Some were recorded before sources were kept, or cleaned away: they are left out.
        return self.store.listings(dict.fromkeys(ref.md5 for ref in self.version_index.refs(SOURCE)))

    @cached_property
    def entries(self) -> list[Erasure]:
        """What was erased before, newest first."""
        return self.erasure_log.entries()

    def find(self, word: str, person: bool = False) -> list[TracedPhoto]:
        """The photo that `word` names (a file, `person/file`, md5 or sha256), or all of a person's.

        Raises TargetError.
        """
        if not is_utf8(word):
            raise TargetError(
                f"{printable(word)} is not UTF-8, and files under such a name are not read: nothing was made of them. "
                "Remove them by hand, or rename them"
            )
        md5s = self._of_person(word.strip("/")) if person else self._of_photo(word)
        if not md5s:
            wanted = (
                f"a folder's name below data/photos{self._alike(word.strip('/'))}"
                if person
                else "a file, `person/file` below data/photos, or its md5 or sha256"
            )
            raise TargetError(f"no {'person' if person else 'photo'} {printable(word)}: give {wanted}")
        return [self._photo(md5) for md5 in sorted(md5s)]

    def of_md5s(self, md5s: Iterable[str]) -> list[TracedPhoto]:
        """The photos with these bytes, of those that are, or ever were, in data/photos."""
        return [self._photo(md5) for md5 in sorted(set(md5s))]

    def _of_person(self, person: str) -> set[str]:
        def theirs(path: str) -> bool:
            # A photo that lies in no folder is a person of its own.
            return identity(path).startswith(f"{name}/") or ("/" not in path and identity(Path(path).stem) == name)

        name = identity(person)
        known = {md5 for paths in self._known() for path, md5 in paths.items() if theirs(path)}
        return known | {file_digest(file, "md5") for file in self._files() if theirs(self._path(file))}

    def _alike(self, person: str) -> str:
        """The names that are this one but for case and blanks, in words; "" where there is none."""
        people = {path.split("/")[0] for paths in self._known() for path in paths if "/" in path}
        people |= {self._path(file).split("/")[0] for file in self._files()}
        names = sorted(repr(name) for name in people if _folded(name) == _folded(person))
        return f"; is it {' or '.join(names)}?" if names else ""

    def _of_photo(self, word: str) -> set[str]:
        for file in (Path(word), self.folder / word, self.settings.root / word):
            if file.is_file():
                return {file_digest(file, "md5")}
        word = word.removeprefix("data/photos/")
        name = identity(word)
        if known := {md5 for paths in self._known() for path, md5 in paths.items() if identity(path) == name}:
            return known
        if found := {file_digest(file, "md5") for file in self._files() if identity(self._path(file)) == name}:
            return found
        if re.fullmatch(r"[0-9a-f]{32}", word):
            listed = any(word in paths.values() for paths in self._known())
            return {word} if listed or any(file_digest(file, "md5") == word for file in self._files()) else set()
        if re.fullmatch(r"[0-9a-f]{64}", word):
            remembered = {md5 for entry in self.entries for md5, sha256 in entry.sha256.items() if sha256 == word}
            return remembered or {
                file_digest(file, "md5") for file in self._files() if file_digest(file, "sha256") == word
            }
        return set()

    def _known(self) -> Iterable[Mapping[str, str]]:
        """Paths and md5s out of every version and of the erasure log."""
        yield from self.versions.values()
        yield from (entry.photos for entry in self.entries)

    def _photo(self, md5: str) -> TracedPhoto:
        paths = {path: None for listed in self._known() for path, its_md5 in listed.items() if its_md5 == md5}
        sizes = {file.stat().st_size for path in paths if (file := self.folder / path).is_file()}
        # A copy has the same size; only those are read.
        here = [file for file in self._files() if not sizes or file.stat().st_size in sizes]
        here = [file for file in here if file_digest(file, "md5") == md5]
        sha256 = (
            file_digest(here[0], "sha256")
            if here
            else next((e.sha256[md5] for e in self.entries if md5 in e.sha256), "")
        )
        now = tuple(sorted(self._path(file) for file in here))
        return TracedPhoto(md5, sha256, tuple(sorted({*paths, *now})), now)

    def _files(self) -> list[Path]:
        """Every file of data/photos, what no photo set reads included: a thumbnail shows a person as well."""
        return [entry.path for entry in walk(self.folder, lambda name, file: "") if not entry.why]

    def _path(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()


def _folded(name: str) -> str:
    return " ".join(identity(name).casefold().split())


def file_digest(file: Path, kind: str) -> str:
    """Hexadecimal digest of a file's bytes; kind: md5 or sha256."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, kind).hexdigest()
