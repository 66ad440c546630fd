"""What DVC hashes of a folder: of a source what stages read of it, of any other folder what can be kept at all.

DVC's own walk passes over links to folders without a word, and ends at a link that leads nowhere, at a name that is not
UTF-8 and at a .dvcignore below the folder. The project's .dvcignore counts as it does for DVC's commands.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from stages.data import source_files
from stages.data.source_files import Admit, Rule

if TYPE_CHECKING:
    from dvc.ignore import DvcIgnoreFilter

PHOTOS = "photos"


def rule_of(root: Path, folder: Path) -> Rule | None:
    """What counts of a source of the project; None where the folder is none."""
    if folder == root / "data" / PHOTOS:
        return source_files.photos_and_lists
    return source_files.anything if folder.parent in (root / "data", root / "characters") else None


def admit(dvcignore: DvcIgnoreFilter) -> Admit:
    """What the project's .dvcignore leaves of a folder's names."""
    # A photo set that was fetched by git and DVC is no project inside the project, but photos.
    return lambda folder, folders, files: dvcignore(folder, folders, files, ignore_subrepos=False)


class _Filter(ABC):
    """What DVC asks which files of a folder to hash."""

    @abstractmethod
    def walk(self, fs: Any, path: str, **_: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        """Each folder with the names of its files; folders below it come by themselves."""

    def find(self, fs: Any, path: str) -> Iterator[str]:
        """The path of each file."""
        return (f"{folder}{os.sep}{name}" for folder, _, names in self.walk(fs, path) for name in names)


@dataclass(frozen=True)
class SourceFilter(_Filter):
    """The files of a source that count."""

    dvcignore: DvcIgnoreFilter
    rule: Rule

    def walk(self, fs: Any, path: str, **_: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        files: dict[str, list[str]] = {}
        for entry in source_files.walk(Path(path), self.rule, admit=admit(self.dvcignore)):
            if not entry.why:
                files.setdefault(str(entry.path.parent), []).append(entry.path.name)
        for folder, names in files.items():
            yield folder, [], names


@dataclass(frozen=True)
class FolderFilter(_Filter):
    """The files of any other folder: as DVC's commands take them, without what they would end at."""

    dvcignore: DvcIgnoreFilter

    def walk(self, fs: Any, path: str, **_: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        walked: Any = self.dvcignore.walk(fs, path)
        for folder, _, files in walked:
            if source_files.is_utf8(folder):
                yield folder, [], [name for name in files if _can_be_stored(Path(folder) / name)]


def _can_be_stored(file: Path) -> bool:
    return source_files.is_utf8(file.name) and file.is_file() and file.name != ".dvcignore"


def differs_by_nothing(
    before: Mapping[str, str], now: Mapping[str, str], rule: Rule, content: Callable[[str], Path]
) -> bool:
    """Whether two listings of a source are one but for files in `before` that do not count: versions that were recorded
    under another rule have them. `content`: where a file with an md5 lies.
    """
    gone = before.keys() - now.keys()
    return all(before.get(path) == md5 for path, md5 in now.items()) and all(
        source_files.why_not(PurePosixPath(path), content(before[path]), rule) not in ("", source_files.NO_RIGHT)
        for path in gone
    )
