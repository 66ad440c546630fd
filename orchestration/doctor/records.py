"""Whether the registry's aliases, the records of promotions, the audit log and Dagster's records tell one story."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.words import a_few
from orchestration.config.settings import Settings
from orchestration.doctor.diagnosis import Diagnosis
from orchestration.lineage.registered_data import registered_models
from orchestration.lineage.resolve import MODEL, LineageTarget
from orchestration.registry import audit
from orchestration.registry.promotion_events import (
    PREVIOUS,
    PRODUCTION,
    PROMOTION,
    ROLLBACK,
    AliasState,
    PromotionEvent,
)
from orchestration.registry.registered_models import Registry
from orchestration.registry.remedies import broken, command
from orchestration.storage.instance import open_instance
from orchestration.storage.tracking import Tracking
from orchestration.storage.version_index import VersionIndex
from orchestration.storage.versions import latest, source_key

FEW = 4
"""Names in a line."""
BACKUP = "`likeness restore-backup` of the newest backup brings both from one moment"


def check(settings: Settings) -> Iterator[Diagnosis]:
    """A line for each way in which they disagree, for every character that has a registered version."""
    models: dict[str, list[LineageTarget]] = {}
    for target in registered_models(settings):
        models.setdefault(str(target.character), []).append(target)
    for character, versions in models.items():
        registry = Registry(Tracking.of(settings), character)
        state, name = registry.alias_store.state(), f"records of {registry.name}"
        found = [
            *_unfinished(registry, state),
            *_not_in_the_registry(settings, registry, state),
            *_previous(registry, state),
            *_broken_aliases(registry, state),
            *_not_in_dagster(settings, registry, versions),
        ]
        for detail, remedy in found:
            yield Diagnosis.warning(name, detail, remedy)
        if not found:
            yield Diagnosis.ok(name, "registry, promotions, audit log and Dagster agree")


Finding = tuple[str, str]
"""What disagrees, and what to do."""


def _unfinished(registry: Registry, state: AliasState) -> Iterator[Finding]:
    """Moves that were written down and that a killed process never made."""
    for version, tags in state.tags.items():
        for tag, content in tags.items():
            event = PromotionEvent.read(version, tag, content)
            if event and event.pending and event.after != state.production:
                done = f"a {event.kind} was begun and never carried out: {event}"
                again = f"promote {version}" if event.kind == PROMOTION else f"rollback --from {version}"
                yield done, f"{command(again, registry.character)} carries it out, if it is still wanted"


def _not_in_the_registry(settings: Settings, registry: Registry, state: AliasState) -> Iterator[Finding]:
    """The last move that the audit log tells of, where the registry has no record of it."""
    moves = [
        record
        for record in audit.records(settings.home)
        if record.get("model") == registry.name and record.get("what") in (PROMOTION, ROLLBACK)
    ]
    known = {(event.kind, event.when) for event in state.events()}
    if moves and (moves[-1]["what"], moves[-1]["when"]) not in known:
        last = moves[-1]
        told = f"{last['who']}'s {last['what']} of version {last.get('version')} on {last['when'][:19]}"
        gone = "" if str(last.get("version")) in state.tags else ", which it does not have any more"
        yield (
            f"the audit log has {told}{gone}; the registry has no record of it",
            f"its database is older than the log: {BACKUP}; or {command('promote VERSION', registry.character)}",
        )


def _previous(registry: Registry, state: AliasState) -> Iterator[Finding]:
    """The alias `previous`, where the records say that a rollback goes elsewhere."""
    alias, back = state.aliases.get(PREVIOUS), state.previous()
    if alias and alias != back and not state.moved_outside():
        goes = f"a rollback goes to version {back}" if back else "there is no version to go back to"
        yield (
            f"the alias `previous` names version {alias}, and by the records {goes}",
            "likeness follows the records; the next promotion sets the alias; or delete it in MLflow",
        )


def _broken_aliases(registry: Registry, state: AliasState) -> Iterator[Finding]:
    """Versions with an alias of which MLflow has lost something; of production the check of models tells."""
    for alias, number in sorted(state.aliases.items()):
        if number != state.production and number in state.tags and (lost := registry.lost(number)):
            yield f"{alias}: {lost}", broken(registry, number)


def _not_in_dagster(settings: Settings, registry: Registry, versions: list[LineageTarget]) -> Iterator[Finding]:
    """What the registry has and Dagster does not, of the version in production, and the other way round."""
    with open_instance(settings) as instance:
        index = VersionIndex(instance)
        made = latest(instance, MODEL, registry.character)
        if made and made.md5 not in {target.md5 for target in versions}:
            detail = f"Dagster made {MODEL} {made.md5[:12]}, and the registry has no version of it"
            yield detail, f"{command('run', registry.character)} registers it"
        for target in (target for target in versions if PRODUCTION in target.aliases):
            gaps = [asset for asset, md5 in _wanted(target).items() if not index.refs(source_key(asset), md5)]
            if gaps:
                number = (target.model or {})["version"]
                detail = f"Dagster has no record of {a_few(gaps, FEW)} that version {number} in production came from"
                again = command("run --force", registry.character)
                yield detail, f"its lineage has gaps: {BACKUP}; or {again} makes a version with all records"


def _wanted(target: LineageTarget) -> Mapping[str, str]:
    return {asset: md5 for asset, md5 in {**target.ancestors, MODEL: target.md5}.items() if md5}
