"""Promoting a registered version by hand: judged by the same gate, on figures against what is in production now."""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.promotion import shadow
from orchestration.registry.aliases import user
from orchestration.registry.gate import Config, GateResult, evaluate
from orchestration.registry.people import People
from orchestration.registry.promotion_events import PromotionEvent, RegistryError, overtaken
from orchestration.registry.registered_models import Registry
from orchestration.registry.remedies import command


class Refused(RegistryError):
    """The gate says no; `result` says where."""

    def __init__(self, message: str, result: GateResult) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class PromotionResult:
    """What became of one promotion."""

    version: str
    move: PromotionEvent | None
    """None: it was in production already, or waits for more approvals."""
    result: GateResult | None
    """None: forced without figures against what was in production."""
    approved: tuple[str, ...] = ()
    """Everybody who approved of it by now, where more than one must."""
    waits: int = 0
    """How many more must."""


def promote(
    registry: Registry,
    version: str,
    config: Config,
    why: str = "",
    force: bool = False,
    asked: str = "",
    who: str = "",
) -> PromotionResult:
    """Put a version into production if the gate lets it, or with `force` and a reason whatever the gate says.

    `version`: its number or an alias. `asked`: when the command was given; what came into production since then is not
    replaced by force. One that somebody set in MLflow itself gets its record. `who`: a person who is known, or whoever
    the environment names. Where the rule asks for approvals this is one, and the last of them promotes. Raises Refused,
    RegistryError.
    """
    if force and not why.strip():
        raise RegistryError("--force needs a reason: --why TEXT; it is recorded with the promotion")
    who = who or user()
    number = str(registry.find(version).version)
    state = registry.alias_store.state()
    if number == state.production:
        why = why or "set in MLflow itself, and kept"
        # Only if it is there still: who rolled it back meanwhile is not undone without a look of the gate.
        return PromotionResult(number, registry.alias_store.promote(number, who, why, judged_against=number), None)
    if force and asked and state.production_at(asked) != state.production:
        raise RegistryError(f"{overtaken(registry.name, state)}; nothing was moved: give the command again if need be")
    forcing = command(f"promote {number} --force --why REASON", registry.character)
    if state.was_rolled_back(number) and not force:
        raise RegistryError(f"version {number} was rolled back: {forcing} if you are sure")
    result = _gate_result(registry, number, config, force)
    if result and result.refusals and not force:
        said = "; ".join(result.refusals)
        raise Refused(f"version {number} is not promoted: {said}: {forcing} if you are sure", result)
    forced = force and (result is None or bool(result.refusals) or state.was_rolled_back(number))
    against = result.against() if result else {}
    why, approved = why or "passed the gate", ()
    if config.approvals > 1:
        approved = _approve(registry, number, config, who, why)
        if waits := max(config.approvals - len(approved), 0):
            return PromotionResult(number, None, result, approved, waits)
    move = registry.alias_store.promote(number, who, why, against, forced, state.production, approved)
    return PromotionResult(number, move, result, approved)


def _approve(registry: Registry, number: str, config: Config, who: str, why: str) -> tuple[str, ...]:
    """Record an approval; everybody who gave one. Raises RegistryError where nobody can tell two people apart."""
    if not People.of(registry.alias_store.home):
        raise RegistryError(
            f"the gate asks for {config.approvals} approvals (`approvals` of production_encoder in the profile), and "
            "the project knows nobody: `likeness person add NAME`, for each of them"
        )
    return tuple(each.who for each in registry.alias_store.approve(number, who, why))


def _gate_result(registry: Registry, number: str, config: Config, force: bool) -> GateResult | None:
    """The gate's, on figures against the version in production now; None where there are none and none are needed.

    Raises RegistryError where there are none.
    """
    state = registry.alias_store.state()
    current = state.production
    md5 = state.tags[current].get("md5") if current else None
    if current and md5 is None:
        card = None
    else:
        card = registry.card_against(number, md5)
    if card is not None:
        served = shadow.figures(registry, current, number) if current and config.shadow else {}
        if served:
            registry.log_card(number, served, shadow.FILE)
        return evaluate(config, card, served)
    if force:
        return None
    if current is None:
        forcing = command(f"promote {number} --force --why REASON", registry.character)
        raise RegistryError(f"version {number} has no scorecard, or its run was erased from MLflow: {forcing}")
    compare = command(f"promote {number} --compare", registry.character)
    raise RegistryError(
        f"version {number} was never compared with version {current}, which is in production now: "
        f"{compare} does it, on the people of the last scorecard"
    )
