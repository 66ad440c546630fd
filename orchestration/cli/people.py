"""`likeness person`, `audit`: who may do what, and who did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from orchestration.cli.terminal import (
    exit_with_error,
    one_line_errors,
    print_note,
    screen,
    who_acts,
    wide_screen,
)
from orchestration.config.settings import Settings
from orchestration.registry import audit as audit_log
from orchestration.registry.people import ACTS, PEOPLE, People

person_app = typer.Typer(
    help="Who may **promote, roll back and forget**: people with keys of their own.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
Name = Annotated[str, typer.Argument(help="Letters, digits, dots and dashes.")]
FACTS = ("model", "version", "from", "to", "forced", "approved", "why", "photos", "person")
"""What of a record stands in the table; `--json` has all."""


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(person_app, name="person")
    app.command()(audit)


@person_app.command("add")
@one_line_errors
def add_person(
    name: Name,
    may: Annotated[
        list[str] | None,
        typer.Option(
            "--may", metavar="ACT", help=f"One of {', '.join(ACTS)}; several times. The first person may all."
        ),
    ] = None,
) -> None:
    """Let the project know a person, and print her key, **once**: only its digest is kept.

    From the first one on `promote`, `rollback` and `forget` ask for a key: LIKENESS_PERSON_KEY, or at the terminal.
    """
    settings, acts = Settings(), may or [act for act in ACTS if act != PEOPLE]
    if wrong := set(acts) - set(ACTS):
        exit_with_error(f"--may takes {', '.join(ACTS)}, not {', '.join(sorted(wrong))}")
    people = People.of(settings.home)
    who = who_acts(settings, PEOPLE)
    key = people.add(name, acts)
    audit_log.append(settings.home, "person added", who, {"person": name, "may": people.known()[name]["may"]})
    print(key)


@person_app.command("remove")
@one_line_errors
def remove_person(name: Name) -> None:
    """Take a person's key away; what she did stays recorded."""
    settings = Settings()
    who = who_acts(settings, PEOPLE)
    People.of(settings.home).remove(name)
    audit_log.append(settings.home, "person removed", who, {"person": name})


@person_app.command("list")
@one_line_errors
def list_people() -> None:
    """Who is known, and may do what."""
    for name, about in People.of(Settings().home).known().items():
        screen.print(f"{name}: {', '.join(about['may'])}", highlight=False)


@one_line_errors
def audit(
    as_json: Annotated[bool, typer.Option("--json", help="Every record as a line of JSON, and nothing else.")] = False,
) -> None:
    """Who did what, when, and by which figures: promotions, approvals, rollbacks, erasures, people, oldest first.

    Each record has the sha256 of the one before it. Exit status 1 where that chain is broken. What only the registry
    knows (`chained: false`) was done before there was this log, on another machine, or in MLflow itself.
    """
    settings = Settings()
    records = [{**record, "chained": True} for record in audit_log.records(settings.home)]
    known = {(record.get("model"), record["when"]) for record in records}
    others = [record for record in _of_registry(settings) if (record["model"], record["when"]) not in known]
    records = sorted([*records, *others], key=lambda record: record["when"])
    if as_json:
        for record in records:
            print(json.dumps(record))
    else:
        _print_records(records)
        screen.print(f"last record: {audit_log.head(settings.home)}", highlight=False)
    if broken := audit_log.break_in(settings.home):
        exit_with_error(f"{settings.home / audit_log.FILE} was changed: {broken}; compare it with a backup's")


def _of_registry(settings: Settings) -> Iterator[dict[str, Any]]:
    """Moves of `production` of every character, as the registry knows them."""
    from orchestration.registry.aliases import MODEL, AliasStore, registry_errors
    from orchestration.storage.mlflow_client import open_client
    from orchestration.storage.mlflow_files import is_unmade

    if is_unmade(settings.tracking_uri):
        return
    with registry_errors(settings.tracking_uri):
        found = open_client(settings.tracking_uri).search_registered_models(max_results=1000)
    for model in found:
        if model.name.startswith(MODEL):
            store = AliasStore.of(settings, model.name.removeprefix(MODEL))
            for event in store.state().history():
                about = {"model": model.name, "version": event.version, "chained": False}
                yield {"what": event.kind, **event.document(), **about}


def _print_records(records: list[dict[str, Any]]) -> None:
    from rich.table import Table

    shown = Table()
    for column in ("when", "who", "what", "of what"):
        shown.add_column(column)
    for record in records:
        facts = ", ".join(f"{name} {record[name]}" for name in FACTS if record.get(name))
        mark = "" if record["chained"] else " (registry)"
        shown.add_row(record["when"][:19].replace("T", " "), record["who"], record["what"] + mark, facts)
    wide_screen(110).print(shown)
    if not records:
        print_note("nobody did anything yet")
