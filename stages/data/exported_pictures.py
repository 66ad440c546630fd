"""From a cell of the column `picture` to a picture: its bytes, a file inside the character's folder, or a reason.

Only what lies in that folder belongs to its version, and is there where another machine reads it.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from stages.data.exported_table import is_empty

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/{1,3}|data:", re.IGNORECASE)  # a drive has one letter
ABSOLUTE = re.compile(r"/|~/|[a-z]:/", re.IGNORECASE)
SHOWN = 200
"""Characters of a cell that a message quotes."""


class NoPicture(ValueError):
    """A cell from which no picture comes; the message says why."""


@dataclass(frozen=True)
class Pictures:
    """The pictures in a character's `folder`; relative paths count from `start`."""

    folder: Path
    start: Path
    _listed: dict[Path, dict[str, list[str]]] = field(default_factory=dict)

    def of(self, cell: Any) -> bytes | Path:
        """The encoded picture in a cell, or the file that it names. Raises NoPicture."""
        if isinstance(cell, Mapping):  # a picture column of Hugging Face's `datasets`
            if not {"bytes", "path"} & set(cell):
                raise NoPicture(f"picture has the fields {', '.join(map(str, cell))}: neither `bytes` nor `path`")
            cell = cell.get("bytes") or cell.get("path")
        if is_empty(cell) or cell in (b"", []):
            raise NoPicture("picture is empty")
        if isinstance(cell, str):
            return self._file(cell)
        try:
            return bytes(cell) if isinstance(cell, list) else bytes(memoryview(cell))
        except (TypeError, ValueError) as error:
            raise NoPicture(f"picture is {shown(cell)}: neither a file's name nor an encoded picture") from error

    def _file(self, text: str) -> Path:
        if ADDRESS.match(text):
            raise NoPicture(f"picture is the address {shown(text)}: put the file into {self.start} and give its name")
        outside = False
        # As it is, as Windows writes it, and as a browser does.
        for name in dict.fromkeys((text, text.replace("\\", "/"), unquote(text.replace("\\", "/")))):
            try:
                path = self._spelled_as_there(*self._counted_from(name))
                inside = path.resolve().is_relative_to(self._root)
                if inside and path.is_file():
                    return path
                outside |= not inside or bool(ABSOLUTE.match(name))
            except (OSError, ValueError, RuntimeError):  # no path at all: too long, a zero byte, a loop of links
                continue
        if outside:
            raise NoPicture(f"{shown(text)} is outside the character's folder: put it into {self.start}, give its name")
        raise NoPicture(f"no picture {self.start / shown(text, quote=False)}")

    @cached_property
    def _root(self) -> Path:
        return self.folder.resolve()

    def _counted_from(self, name: str) -> tuple[Path, str]:
        """Where a path starts, and the rest of it. Of an absolute one, what follows the name of the character's folder:
        that folder lay elsewhere where the table was written."""
        if not ABSOLUTE.match(name):
            return self.start, name
        *_, after = f"/{name}".rpartition(f"/{self._root.name}/")
        return self.folder, after if after != f"/{name}" else ""

    def _spelled_as_there(self, place: Path, name: str) -> Path:
        """A path with each part as the folders have it: other systems tell no case and no normal forms apart."""
        for part in PurePosixPath(name).parts:
            alike = [part] if part == ".." or (place / part).exists() else self._entries(place).get(_folded(part), [])
            place = place / (alike[0] if len(alike) == 1 else part)
        return place

    def _entries(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listed:
            entries: dict[str, list[str]] = {}
            for entry in folder.iterdir() if folder.is_dir() else ():
                entries.setdefault(_folded(entry.name), []).append(entry.name)
            self._listed[folder] = entries
        return self._listed[folder]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def shown(value: Any, *, quote: bool = True) -> str:
    """A cell as a message quotes it."""
    text = repr(value) if quote else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
