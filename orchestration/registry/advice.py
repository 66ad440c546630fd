"""What to do where a version is not there or cannot be used: words that are true for the registry as it is now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestration.config.settings import Settings
from orchestration.registry.gate import Config, evaluate
from orchestration.registry.promotion_events import CANDIDATE, PRODUCTION, State

if TYPE_CHECKING:
    from orchestration.registry.registered_models import Registry


def command(words: str, character: str) -> str:
    """A command line of ours, with the option without which it would be about another character."""
    option = "" if character == Settings().character else f" --character {character}"
    return f"`likeness {words}{option}`"


def missing(registry: Registry, wanted: str) -> str:
    """Why there is no version of this number or alias, and what to do."""
    state = registry.ledger.state()
    if not state.tags:
        first = command("run", registry.character)
        return f"{registry.name} has no version {wanted}: run {first}, which registers the first"
    if wanted == PRODUCTION:
        return without_production(registry, state)
    there = ", ".join(in_order(state.tags))
    called = wanted if wanted.isdigit() else f"called {wanted}"
    return f"{registry.name} has no version {called}: there are {there}, see {command('models', registry.character)}"


def without_production(registry: Registry, state: State) -> str:
    """Which of the versions could be in production, and what keeps it from being."""
    number, character = likeliest(state), registry.character
    begin = f"{registry.name} has no version in production"
    if outside := state.moved_outside():
        begin += f" ({outside})"
    if (obstacle := why_refused(registry, state, number)) is None:
        return f"{begin}: {command(f'promote {number}', character)} puts version {number} there"
    force = command(f"promote {number} --force --why REASON", character)
    return (
        f"{begin}: {obstacle}. {force} puts version {number} there all the same; "
        f"{command(f'create --model {number}', character)} uses it as it is"
    )


def likeliest(state: State) -> str:
    """What was in production last, else the candidate, else the newest; a rejected one only where all are."""
    was = [move.after for move in reversed(state.moves())]
    for number in (*was, state.aliases.get(CANDIDATE), *reversed(in_order(state.tags))):
        if number in state.tags and not state.is_rejected(str(number)):
            return str(number)
    return in_order(state.tags)[-1]


def why_refused(registry: Registry, state: State, number: str) -> str | None:
    """What keeps `likeness promote` from putting a version into production where there is none; None: nothing does."""
    from orchestration.config.profiles import resolve_one

    if state.was_rolled_back(number):
        return f"version {number} was rolled back"
    card = registry.card_against(number, None)
    if card is None:
        return f"the scorecard of version {number} is gone"
    refusals = evaluate(resolve_one(Settings().profile, "production_encoder", Config), card).refusals
    return f"the gate refuses version {number} ({refusals[0]})" if refusals else None


def broken(registry: Registry, number: str) -> str:
    """What to do about a version that cannot be loaded."""
    state, character = registry.ledger.state(), registry.character
    newest = next(reversed(in_order(state.tags)), "")
    md5 = state.tags.get(number, {}).get("md5")
    if md5 and md5 == state.tags[newest].get("md5"):
        return f"{command('run --only production_encoder --force', character)} registers the same content anew"
    if number == state.production and (back := state.previous()):
        return f"{command(f'rollback --from {number}', character)} goes back to version {back}"
    return f"use another: {command('models', character)} shows what there is"


def in_order(numbers: Iterable[str]) -> list[str]:
    return sorted(numbers, key=int)
