"""A character is a folder: its parameters, what draws it, and where its face lies in its own picture.

All of it is in `schema.yaml`. What draws it is one of: the embedded engine (nothing said, or `renderer: embedded`), a
Python function (`renderer: {python: "module:function"}`), a command (`renderer: {command: [...]}`), or nothing at all,
where the studio's engine exported `pairs` of parameters and pictures.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from engine.errors import LikenessError
from engine.files import write_whole
from engine.schema import SCHEMA_FILE, Schema

N_LANDMARKS, N_SHORT = 68, 5


class CharacterError(LikenessError, ValueError):
    """A character's folder cannot be used as it is; the message says what to do."""


class PythonRenderer(BaseModel, frozen=True, extra="forbid"):
    """A function `draw(rows, size)`: parameters by the engine's names, in its units, to RGB uint8 [H, W, 3]."""

    # `module:function`; the module is a file in the character's folder, or an installed one.
    python: str = Field(pattern=r"^[\w.]+:\w+$")
    batch: int = Field(default=64, ge=1)  # rows that are handed over at once
    parallel: int = Field(default=1, ge=1)  # how many batches may be drawn side by side


class CommandRenderer(BaseModel, frozen=True, extra="forbid"):
    """A program that reads a CSV of parameters and writes a picture for each row."""

    # Run in the character's folder; `{parameters}`, `{out}`, `{size}` and `{python}` are filled in.
    command: tuple[str, ...] = Field(min_length=1)
    timeout: float = Field(default=600.0, gt=0)  # seconds for one batch
    batch: int = Field(default=64, ge=1)
    parallel: int = Field(default=1, ge=1)


class ExportedPairs(BaseModel, frozen=True, extra="forbid"):
    """A table of parameters, and a folder with their pictures."""

    table: str  # a .csv or .parquet file
    # The folder that the table's column `picture` starts from; not read where that column holds the pictures.
    pictures: str = "."


class Reference(BaseModel, frozen=True, extra="forbid"):
    """Where the average face lies in the character's own picture: its camera, as far as the project needs it."""

    # A picture of the average face, to find the points in; without one, drawn or exported ones are searched.
    picture: str | None = None
    size: tuple[int, int] | None = None  # width and height of the picture that the points were measured in, pixels
    # The 68 iBUG landmarks; or five: eye centres (the picture's left one first), nose tip, mouth corners. Pixels.
    points: tuple[tuple[float, float], ...] = ()

    @model_validator(mode="after")
    def _is_complete(self) -> "Reference":
        if self.points and len(self.points) not in (N_SHORT, N_LANDMARKS):
            raise ValueError(f"`points` needs {N_SHORT} or {N_LANDMARKS} entries, not {len(self.points)}")
        if self.points and self.size is None:
            raise ValueError("`points` needs the `size` of the picture that they were measured in")
        if self.size is not None:
            width, height = self.size
            if min(self.size) < 1 or any(not (0 <= x <= width and 0 <= y <= height) for x, y in self.points):
                raise ValueError(f"`points` lie outside the picture of {width} x {height}")
        return self


Source = Literal["embedded"] | PythonRenderer | CommandRenderer | ExportedPairs
Section = TypeVar("Section", bound=BaseModel)


@dataclass(frozen=True)
class Character:
    """What a character's folder says, checked."""

    folder: Path
    schema: Schema
    source: Source
    reference: Reference

    @classmethod
    def load(cls, folder: Path) -> "Character":
        """Read a character's folder, whatever it is called: one that was fetched lies under its md5.

        Raises SchemaError or CharacterError.
        """
        schema, path = Schema.load(folder), folder / SCHEMA_FILE
        return cls(
            folder, schema, _source(schema, path), _section(Reference, schema.reference or {}, path, "reference")
        )

    @property
    def is_embedded(self) -> bool:
        """Whether the embedded engine draws it."""
        return self.source == "embedded"

    @property
    def has_engine(self) -> bool:
        """Whether any parameters can be drawn at any time: not so where there are exported pairs alone."""
        return not isinstance(self.source, ExportedPairs)

    def require_name(self) -> None:
        """Raises CharacterError when a folder of `characters/`, which people name, is called otherwise than it says."""
        called = self.folder.resolve().name
        if self.schema.name != called:
            raise CharacterError(
                f"{self.folder / SCHEMA_FILE}: `name` is {self.schema.name}, the folder is called {called}: make them "
                "the same"
            )

    def require_ready(self) -> None:
        """Raises CharacterError when its folder has another name, or what draws it is not there yet: better at once
        than after an hour's training.
        """
        self.require_name()
        if not self.has_engine:
            self.require_table()
        if not self.is_embedded:
            self.require_reference()

    def require_table(self) -> Path:
        """The table of a character's exported pairs. Raises CharacterError while there is none."""
        assert isinstance(self.source, ExportedPairs)
        path = self.folder / self.source.table
        if not path.is_file():
            raise CharacterError(f"there is no {path}: export the pairs there, or name another table under `pairs`")
        return path

    def require_reference(self) -> Reference:
        """The reference with its points. Raises CharacterError while they are not known."""
        if not self.reference.points:
            raise CharacterError(
                f"{self.folder / SCHEMA_FILE} does not say where the face lies (`reference`): "
                f"run `likeness character check {self.folder}`, which finds it"
            )
        return self.reference


def _source(schema: Schema, path: Path) -> Source:
    if schema.renderer is not None and schema.pairs is not None:
        raise CharacterError(f"{path} has both `renderer` and `pairs`: keep the one that draws this character")
    if schema.pairs is not None:
        return _section(ExportedPairs, schema.pairs, path, "pairs")
    if schema.renderer in (None, "embedded"):
        return "embedded"
    kinds = {"python": PythonRenderer, "command": CommandRenderer}
    named = [kind for kind in kinds if isinstance(schema.renderer, dict) and kind in schema.renderer]
    if len(named) != 1:
        raise CharacterError(
            f"{path}: `renderer` is `embedded`, {{python: …}} or {{command: …}}, not {schema.renderer!r}"
        )
    return _section(kinds[named[0]], schema.renderer, path, "renderer")


def _section(kind: type[Section], content: Any, path: Path, name: str) -> Section:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = [".".join(map(str, (name, *entry["loc"]))) + f": {entry['msg']}" for entry in error.errors()]
        raise CharacterError(f"{path}: {'; '.join(problems)}") from error


def append_reference(folder: Path, reference: Reference) -> None:
    """Write the section `reference` at the end of schema.yaml, in the place of the one that is there.

    What people wrote stays as it is. Raises CharacterError when the old section cannot be told from its neighbours.
    """
    path = folder / SCHEMA_FILE
    lines, kept, inside = path.read_text().splitlines(), [], False
    for line in lines:
        if line.startswith("reference:"):
            inside = True
        elif inside and line and not line[0].isspace():
            inside = False
        if not inside:
            kept.append(line)
    points = ",\n    ".join(
        ", ".join(f"[{x:.1f}, {y:.1f}]" for x, y in reference.points[start : start + 6])
        for start in range(0, len(reference.points), 6)
    )
    assert reference.size is not None
    section = ["reference:", *([f"  picture: {reference.picture}"] if reference.picture else [])]
    section += [f"  size: [{reference.size[0]}, {reference.size[1]}]", f"  points: [\n    {points}]"]
    text = "\n".join([*kept, *section]) + "\n"
    try:
        yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CharacterError(f"{path}: cannot tell where `reference` ends: take it out and check again") from error
    write_whole(path, text.encode())
