"""`likeness models`, `promote`, `rollback`: the registry."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from orchestration.terminal import (
    AsJson,
    Character,
    get_registry,
    get_settings,
    one_line_errors,
    print_json,
    screen,
)


def add_to(app: typer.Typer) -> None:
    for command in (models, promote, rollback):
        app.command()(command)


@one_line_errors
def models(character: Character = "", as_json: AsJson = False) -> None:
    """Every registered version of the encoder, newest first."""
    registry = get_registry(get_settings(character=character))
    versions = registry.versions()
    if as_json:
        print_json(versions)
        return
    shown = Table(title=registry.name, title_justify="left")
    for column in ("version", "aliases", "md5", "commit", "rejected"):
        shown.add_column(column)
    for version in versions:
        tags = version["tags"]
        shown.add_row(
            str(version["version"]),
            ", ".join(version["aliases"]),
            tags.get("md5", "")[:12],
            tags.get("git.commit", "")[:10],
            tags.get("rejected", ""),
        )
    screen.print(shown if versions else f"{registry.name}: none yet; `likeness run` registers the first")


@one_line_errors
def promote(
    version: Annotated[str, typer.Argument(help="A version's number, or `candidate`.")], character: Character = ""
) -> None:
    """Put a version into production; the one that was there becomes `previous`."""
    registry = get_registry(get_settings(character=character))
    registry.promote(version)
    print(f"{registry.name}: version {registry.aliases()['production']} is in production")


@one_line_errors
def rollback(character: Character = "") -> None:
    """Go back to the `previous` version; the one left is marked and not promoted again by itself."""
    registry = get_registry(get_settings(character=character))
    left, now = registry.rollback()
    print(f"{registry.name}: version {now} is in production again; version {left} is marked as rejected")
