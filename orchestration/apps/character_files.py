"""`likeness character init`: a commented template, or a copy of a character that is there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from engine.character import CharacterError
from engine.schema import SCHEMA_FILE

TEMPLATE = Path(__file__).with_name("character_template")
NAME = re.compile(r"[a-z][a-z0-9_-]*")
# A copy brings what describes a character, not thousands of exported pictures.
COPIED = (".yaml", ".json", ".py", ".md")


def write(folder: Path, source: Path | None = None) -> list[Path]:
    """Write a template, or a copy of the character in `source`, to a new folder; the files. Raises CharacterError."""
    name = folder.resolve().name
    if not NAME.fullmatch(name):
        raise CharacterError(f"a character cannot be called {name!r}: take small letters, digits, - and _")
    if folder.exists() and any(folder.iterdir()):
        raise CharacterError(f"{folder} is not empty: name a new folder")
    origin = source or TEMPLATE
    if not (origin / SCHEMA_FILE).is_file():
        raise CharacterError(f"there is no character in {origin}")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for path in sorted(path for path in origin.iterdir() if path.suffix in COPIED and not path.name.startswith(".")):
        target = folder / path.name
        shutil.copyfile(path, target)
        files.append(target)
    _rename(folder, name, None if source else "NAME")
    return files


def _rename(folder: Path, name: str, placeholder: str | None) -> None:
    """Give the copy its own name: in the entry `name`, and in a template wherever its placeholder stands."""
    for path in folder.iterdir():
        text = path.read_text()
        if placeholder:
            text = text.replace(placeholder, name).replace("THIS_FOLDER", str(folder)).replace("FOLDER", str(folder))
        if path.name == SCHEMA_FILE:
            text = re.sub(r"(?m)^name: .*$", f"name: {name}", text, count=1)
        path.write_text(text)
