"""What the benchmarks have in common: where notes and documents go."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from orchestration.config.settings import REPOSITORY

notes = Console(stderr=True, highlight=False)
BUSY = 0.5
"""Load average above which other programs take part of the cores."""
AsJson = Annotated[bool, typer.Option("--json", help="Print the document and nothing else on stdout.")]


def exit_with_error(message: object) -> None:
    """End the benchmark. Raises typer.Exit."""
    notes.print(f"[bold red]error:[/] {message}")
    raise typer.Exit(1)


def require_embedded() -> None:
    """Raises typer.Exit where the engine's files were never gathered."""
    if not (REPOSITORY / "data" / "embedded").is_dir():
        exit_with_error("data/embedded is missing: run `likeness inputs`")


def write(document: dict[str, Any], path: Path, as_json: bool, show: Callable[[], object], *pictures: str) -> None:
    """Write the document, and print it or `show` it; `pictures` lie beside it."""
    text = json.dumps(document, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if as_json:
        sys.stdout.write(text)
        return
    show()
    notes.print(f"written: {', '.join([str(path), *pictures])}")


def screen_of(columns: int) -> Console:
    """The terminal, or one of so many columns where it has fewer."""
    return Console(width=columns) if Console().width < columns else Console()
