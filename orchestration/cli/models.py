"""`likeness models`, `promote`, `rollback`: the registry."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestration.cli.terminal import (
    AsJson,
    Character,
    Profile,
    exit_with_error,
    get_registry,
    get_settings,
    libraries_into_log,
    marked,
    one_line_errors,
    print_json,
    print_note,
    print_warning,
    progress_bar,
    screen,
    who_acts,
    wide_screen,
)
from orchestration.config.progress import duration
from orchestration.registry.promotion_events import OUTSIDE, ROLLBACK

if TYPE_CHECKING:
    from rich.table import Table

    from orchestration.config.settings import Settings
    from orchestration.promotion.notifiers import Notice
    from orchestration.promotion.promote import PromotionResult
    from orchestration.registry.gate import GateResult
    from orchestration.registry.promotion_events import PromotionEvent

WAITS = 3
"""Exit status of a promotion that waits for another person."""
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; it is recorded.")]


def add_to(app: typer.Typer) -> None:
    for command in (models, promote, rollback):
        app.command()(command)


@one_line_errors
def models(
    version: Annotated[str, typer.Argument(help="A version's number or alias: its whole history.")] = "",
    character: Character = "",
    as_json: AsJson = False,
) -> None:
    """Every registered version of the encoder, newest first: aliases, scores, what its retraining **cost**, who
    **promoted** it when and why, what was **rejected**. With VERSION, its promotions and the figures that decided them.
    """
    registry = get_registry(get_settings(character=character, or_registered=True))
    state, versions = registry.alias_store.state(), registry.versions()
    if not as_json and (outside := state.moved_outside()):
        print_warning(f"{registry.name}: {outside}")
    if version:
        number = int(registry.find(version).version)
        versions = [entry for entry in versions if entry["version"] == number]
    for entry in versions:
        entry["figures"] = registry.figures(str(entry["version"]))
        entry["cost"] = registry.costs(str(entry["version"]))
    if as_json:
        print_json(versions[0] if version else versions)
    elif version:
        _print_version(registry.name, versions[0])
    elif versions:
        wide_screen(120).print(_versions_table(registry.name, versions))
    else:
        screen.print(f"{registry.name}: none yet; `likeness run` registers the first")


def _versions_table(name: str, versions: list[dict[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=name, title_justify="left")
    for column in ("version", "aliases", "profile", "md5", "commit", *FIGURES.values(), "cost", "last move", "why"):
        shown.add_column(column, no_wrap=column == "cost")
    for version in versions:
        tags, last = version["tags"], (version["moves"] or [{}])[-1]
        aliases = Text(", ".join(version["aliases"]))
        if version["rejected"]:
            aliases = Text(", ").join(part for part in (aliases, marked("red", "rejected")) if part)
        shown.add_row(
            str(version["version"]),
            aliases,
            tags.get("profile", ""),
            tags.get("md5", "")[:8],
            tags.get("git.commit", "")[:8],
            *(_number(version["figures"].get(path)) for path in FIGURES),
            _cost(version["cost"]),
            _told(last),
            last.get("why", ""),
        )
    return shown


FIGURES = {"recovery.visible": "R² visible", "likeness.similarity": "similarity"}


def _cost(costs: Mapping[str, Mapping[str, float]]) -> str:
    """Of what was new in a version: its time, as that of one core, and its energy."""
    new = costs.get("new")
    return f"{duration(new['cpu_seconds'])}, {new['energy_wh']:.3g} Wh" if new else ""


def _told(move: Mapping[str, Any]) -> str:
    if not move:
        return ""
    if move["kind"] == OUTSIDE:
        return "moved past likeness"
    verb = "rolled back" if move["kind"] == ROLLBACK else "forced" if move["forced"] else "promoted"
    return f"{verb} {move['when'][:16].replace('T', ' ')} by {move['who']}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _print_version(name: str, version: Mapping[str, Any]) -> None:
    from rich.table import Table

    from orchestration.storage.costs import Cost

    aliases = ", ".join(version["aliases"]) or "no alias"
    screen.print(f"{name} version {version['version']} ({aliases})" + (", rejected" if version["rejected"] else ""))
    screen.print(f"md5 {version['tags'].get('md5', 'unknown')}, MLflow run {version['run']}", highlight=False)
    tags = version["tags"]
    belongs_to = f", retraining {tags['retraining']}" if "retraining" in tags else ""
    screen.print(f"profile {tags.get('profile', 'unknown')}{belongs_to}", highlight=False)
    for path, value in version["figures"].items():
        screen.print(f"  {path}  {_number(value)}", highlight=False)
    for name, what in (("new", "what was new in it cost"), ("all", "all that it came from cost")):
        if name in version["cost"]:
            screen.print(f"{what} {Cost.of(version['cost'][name], '')}", highlight=False, soft_wrap=True)
    for move in version["moves"]:
        place = f"to version {move['to']}" if move["kind"] == ROLLBACK else f"after version {move['from'] or 'none'}"
        screen.print(f"\n{_told(move)}, {place}: {move['why'] or 'no reason given'}", highlight=False)
        if move.get("against"):
            shown = Table()
            for column in ("score", "candidate", "production", "difference", "95 %", "margin", "ok"):
                shown.add_column(column)
            for path, figures in move["against"].items():
                ends = figures["interval"]
                shown.add_row(
                    path,
                    *(_number(figures[key]) for key in ("candidate", "production", "difference")),
                    f"{ends[0]:.4g} to {ends[1]:.4g}" if ends else "",
                    f"{figures['margin']:g} by {figures['by']}",
                    {True: "yes", False: "NO", None: "not judged"}[figures["ok"]],
                )
            wide_screen(110).print(shown)
    for approval in version["approvals"]:
        screen.print(f"\napproved by {approval['who']} on {approval['when'][:16].replace('T', ' ')}", highlight=False)
    if not version["moves"]:
        screen.print("it was never in production")


@one_line_errors
def promote(
    version: Annotated[str, typer.Argument(help="A version's number, or `candidate`, `newest`, `previous`.")],
    why: Why = "",
    force: Annotated[bool, typer.Option("--force", help="Whatever the gate says; needs --why, is recorded.")] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="First compare it with what is in production now, on the same people.")
    ] = False,
    profile: Profile = "",
    character: Character = "",
    as_json: AsJson = False,
) -> None:
    """Put a version into production; the one that was there becomes `previous`.

    The **gate** of the profile (`production_encoder`) judges it by figures against what is in production now. A version
    that is worse is refused with a table that says where, and the exit status is 1. One that was rolled back comes
    back by **--force --why** alone. Where the gate asks for **approvals** this is one: the last person's promotes, and
    until then the exit status is 3.
    """
    from orchestration.config.profiles import resolve_one
    from orchestration.promotion.promote import Refused
    from orchestration.promotion.promote import promote as promote_version
    from orchestration.registry.gate import Config
    from orchestration.registry.people import PROMOTE

    settings, asked = get_settings(profile, character, or_registered=True), when_asked()
    who = who_acts(settings, PROMOTE)
    registry, config = get_registry(settings), resolve_one(settings.profile, "production_encoder", Config)
    if compare:
        _compare(settings, registry, version)
    try:
        outcome = promote_version(registry, version, config, why, force, asked, who)
    except Refused as error:
        _show_gate_result(error.result, as_json, {"version": version, "promoted": False})
        refused, _, remedy = str(error).rpartition(": ")
        above = f"{registry.name} version {version} is not promoted, see the scores above: {remedy}"
        exit_with_error(refused if as_json else above)
        return
    if outcome.waits:
        _show_waiting(settings, registry.name, outcome, as_json)
        raise typer.Exit(WAITS)
    now = f"{registry.name}: version {outcome.version} is in production"
    if as_json:
        record = outcome.move.document() if outcome.move else None
        print_json({"version": int(outcome.version), "promoted": outcome.move is not None, "record": record})
    else:
        print(now if outcome.move else f"{now} already")
    if outcome.move:
        _notify(settings, registry.name, outcome.move)


def _show_waiting(settings: Settings, model: str, outcome: PromotionResult, as_json: bool) -> None:
    """Say whose approval is there and how many are missing, to LIKENESS_NOTIFY too."""
    from orchestration.promotion.notifiers import of_approval
    from orchestration.registry.people import PROMOTE, People

    if as_json:
        about = {"approved": list(outcome.approved), "waits_for": outcome.waits}
        print_json({"version": int(outcome.version), "promoted": False, **about})
    else:
        others = [name for name in People.of(settings.home).who_may(PROMOTE) if name not in outcome.approved]
        by = " or ".join(others) or "somebody who may, of whom there is none"
        approved = f"{', '.join(outcome.approved)} approved"
        screen.print(
            f"{model} version {outcome.version} waits for {outcome.waits} more: {approved}; "
            f"`likeness promote {outcome.version}` by {by}", highlight=False, soft_wrap=True,
        )  # fmt: skip
    _tell(settings, of_approval(settings, model, outcome.version, outcome.approved, outcome.waits))


def _compare(settings: Any, registry: Any, version: str) -> None:
    from orchestration.pipeline.production_encoder import PIPELINE
    from orchestration.promotion.comparison import with_production
    from orchestration.storage.instance import open_instance
    from orchestration.storage.project import Project

    with libraries_into_log(settings), progress_bar() as progress, open_instance(settings) as instance:
        with_production(Project.of(settings, instance, PIPELINE), registry, version, progress)


def _show_gate_result(result: GateResult, as_json: bool, about: Mapping[str, Any]) -> None:
    from rich.table import Table

    from orchestration.registry.gate import COLUMNS, cells_of

    if as_json:
        print_json({**about, **result.document()})
        return
    shown = Table()
    for column in COLUMNS:
        shown.add_column(column, no_wrap=column != COLUMNS[-1])
    for cells in cells_of(result):
        shown.add_row(*cells, style="red" if cells[-1] == "NO" else "")
    wide_screen(160).print(shown)
    for refusal in result.refusals:
        print_note(refusal)


@one_line_errors
def rollback(
    why: Why = "",
    leave: Annotated[
        str, typer.Option("--from", metavar="VERSION", help="The version to leave; if another is there, nothing moves.")
    ] = "",
    character: Character = "",
    as_json: AsJson = False,
) -> None:
    """Go back to the version that was in production **before**; the one left is marked as rejected and is
    not promoted again by itself.

    Where somebody else moved production a moment ago nothing moves, without **--from**: two people who roll back at
    once mean the same version.
    """
    from orchestration.registry.aliases import AliasStore
    from orchestration.registry.people import ROLLBACK as ROLL_BACK
    from orchestration.registry.people import NotAllowed
    from orchestration.registry.promotion_events import RegistryError

    if leave and not leave.isdecimal():
        exit_with_error(f"--from takes a version's number, not {leave}: see `likeness models`")
    asked = when_asked()
    settings = get_settings(character=character, or_registered=True)
    aliases = AliasStore.of(settings, settings.character)
    try:
        move = aliases.rollback(who_acts(settings, ROLL_BACK), why, leave, asked)
    except (
        RegistryError,
        NotAllowed,
    ) as error:  # here, because to know all errors that are meant for people takes seconds
        exit_with_error(str(error))
        return
    if as_json:
        print_json({"left": int(move.before or 0), "now": int(move.after or 0), "record": move.document()})
    else:
        print(
            f"{aliases.name}: version {move.after} is in production again; version {move.before} is marked as rejected"
        )
    _notify(settings, aliases.name, move)


def when_asked() -> str:
    """When this command was given, as records say it: its imports take longer than somebody else's move."""
    from orchestration import BEGAN
    from orchestration.registry import promotion_events

    is_own_process = {"promote", "rollback"} & set(sys.argv[1:])
    return promotion_events.at(BEGAN) if is_own_process else promotion_events.now()


def _notify(settings: Settings, model: str, move: PromotionEvent) -> None:
    """Tell LIKENESS_NOTIFY what was done by hand, and by whom."""
    from orchestration.promotion.notifiers import of_move

    _tell(settings, of_move(settings, model, move))


def _tell(settings: Settings, notice: Notice) -> None:
    from orchestration.promotion.notifiers import BadNotifier, tell

    try:
        tell(settings, notice, logging.getLogger("likeness"))
    except BadNotifier as error:
        print_note(marked("yellow", "nobody was told:", error))
