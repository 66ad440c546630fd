"""A studio's own renderer, as a Python function or as a command: rows of parameters in, pictures out.

A row holds the engine's own names and values, as `Schema.to_engine` writes them. Pictures are RGB uint8 [H,W,3] of one
size; what the engine does with `size`, the wanted height in pixels, is its own affair.
"""

import csv
import importlib
import importlib.util
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.character import Character, CharacterError, CommandRenderer, PythonRenderer
from engine.processes import die_with_parent

Row = Mapping[str, int | float | str]
Picture = NDArray[np.uint8]
Draw = Callable[[Sequence[Row], int], list[Picture]]
STDERR_LINES = 3


def open_renderer(character: Character) -> Draw:
    """The function that draws rows for a character with a renderer of its own; both may raise CharacterError."""
    source = character.source
    if isinstance(source, PythonRenderer):
        function = _function(character.folder, source.python)
        return lambda rows, size: _checked(_called(function, source.python, rows, size), len(rows), source.python)
    if isinstance(source, CommandRenderer):
        return lambda rows, size: _checked(run_command(character.folder, source, rows, size), len(rows), "the renderer")
    raise CharacterError(f"{character.schema.name} has no renderer of its own")


def _function(folder: Path, entry: str) -> Callable[..., Any]:
    module_name, _, name = entry.partition(":")
    file = folder / f"{module_name}.py"
    try:
        module = _from_file(file) if file.is_file() else importlib.import_module(module_name)
    except Exception as error:  # the studio's code may raise anything
        raise CharacterError(f"renderer {entry} cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise CharacterError(f"renderer {entry}: {module.__file__} has no function {name}")
    return function


def _from_file(file: Path) -> ModuleType:
    """A module of the character's folder, under a name that no other character's has."""
    spec = importlib.util.spec_from_file_location(f"likeness_character_{file.parent.name}_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _called(function: Callable[..., Any], entry: str, rows: Sequence[Row], size: int) -> list[Any]:
    try:
        return list(function([dict(row) for row in rows], size))
    except Exception as error:
        raise CharacterError(f"renderer {entry} failed: {type(error).__name__}: {error}") from error


def run_command(folder: Path, source: CommandRenderer, rows: Sequence[Row], size: int) -> list[Picture]:
    """Write rows to a CSV, run the command, read its pictures. Raises CharacterError with the program's own words."""
    with tempfile.TemporaryDirectory(prefix="likeness-renderer-") as scratch:
        parameters, out = Path(scratch) / "parameters.csv", Path(scratch) / "pictures"
        out.mkdir()
        names = [f"{number:06d}.png" for number in range(len(rows))]
        with parameters.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["picture", *rows[0]])
            writer.writeheader()
            writer.writerows({"picture": name, **row} for name, row in zip(names, rows, strict=True))
        filled = {"parameters": str(parameters), "out": str(out), "size": str(size), "python": sys.executable}
        _run([_filled(part, filled) for part in source.command], folder, source.timeout)
        return [_read(out / name) for name in names]


def _filled(part: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        part = part.replace(f"{{{name}}}", value)
    return part


def _run(command: list[str], folder: Path, timeout: float) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            timeout=timeout,
            check=False,
            preexec_fn=lambda: die_with_parent(signal.SIGKILL),
        )
    except subprocess.TimeoutExpired as error:
        raise CharacterError(
            f"renderer {command[0]} took longer than {timeout:g} s: raise `timeout`, or lower `batch`"
        ) from error
    except OSError as error:
        raise CharacterError(f"renderer {command[0]} cannot be started: {error.strerror or error}") from error
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()[-STDERR_LINES:]
        raise CharacterError(
            f"renderer {command[0]} ended with status {done.returncode}: {' | '.join(words) or 'it said nothing'}"
        )


def _read(path: Path) -> Picture:
    if not path.is_file():
        raise CharacterError(f"the renderer wrote no {path.name}: it must write one picture for each row of the CSV")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise CharacterError(f"the renderer's {path.name} is not a picture that can be read")
    return image.astype(np.uint8)


def _checked(pictures: list[Any], count: int, who: str) -> list[Picture]:
    if len(pictures) != count:
        raise CharacterError(f"{who} drew {len(pictures)} pictures for {count} rows")
    for picture in pictures:
        if (
            not isinstance(picture, np.ndarray)
            or picture.ndim != 3
            or picture.shape[2] != 3
            or picture.dtype != np.uint8
        ):
            raise CharacterError(f"{who} must give RGB pictures as uint8 arrays [H,W,3]")
    if len({picture.shape for picture in pictures}) > 1:
        raise CharacterError(f"{who} gave pictures of different sizes")
    return pictures
