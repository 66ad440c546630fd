"""`likeness forget PLAYER --player`: what a player shared of corrections, erased wherever it lies.

The service's rows, and every version of the table `corrections` that has one of them, in cache, remote and working
copies. The digest of the player's id is in the erasure log, so that a row that comes later, out of a backup or from a
service that was away, is dropped when it is collected. Weights that were trained on the rows are left, and named.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from orchestration.config.settings import Settings
from orchestration.lineage import OnStep, silent
from orchestration.lineage.photo_trace import SCORED, TRAINED, ModelUse
from orchestration.lineage.resolve import find_all_models
from orchestration.registry import audit
from orchestration.registry.aliases import user
from orchestration.registry.people import FORGET
from orchestration.storage import collected_rows
from orchestration.storage.collected_rows import ASSET, RowsFound
from orchestration.storage.erasure_log import Erasure, ErasureLog
from orchestration.storage.store import Store
from orchestration.storage.version_index import VersionIndex
from serving.configuration import ServiceSettings
from serving.corrections import CorrectionStore, digest_of_player

NOT_ERASED = (
    "weights of models that were trained on it: retrain them (listed above)",
    "what other machines keep in their own cache, and what a service elsewhere keeps (its LIKENESS_SERVE_CORRECTIONS_"
    "STORE): its rows are dropped when they are collected; run the same command there",
    "backups (`likeness restore-backup` erases it again), and older versions of objects where the remote keeps them "
    "(S3 versioning)",
    "a digest of the player's id, in the erasure log",
)


@dataclass
class CorrectionsPlan:
    """Everything that will be done, before it is."""

    found: RowsFound
    served: list[tuple[CorrectionStore, str]] = field(default_factory=list)
    """Rows that services of this project keep, by their characters' ids."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes by md5 of what cache and remote have of `found.objects`."""
    uses: list[ModelUse] = field(default_factory=list)
    before: Erasure | None = None
    """The same erasure, begun and interrupted."""
    forgotten_today: bool = False
    """Whether it is in the log until today already."""

    @property
    def nothing_left(self) -> bool:
        """Whether everything was erased before, and nothing can come back."""
        return self.forgotten_today and not (self.served or self.sizes or self.found.copies or self.before)

    @property
    def retrain(self) -> list[str]:
        """The commands that train anew what was trained on the rows."""
        characters = dict.fromkeys(use.model.character for use in self.uses if use.retrain)
        return [f"likeness run --character {name}" if name else "likeness run" for name in characters]

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "players": list(self.found.players),
            "served_rows": [id for _, id in self.served],
            "versions": self.found.rows,
            "erase": [{"md5": md5, "file": self.found.objects[md5], "bytes": n} for md5, n in self.sizes.items()],
            "erase_here": [str(path) for path in self.found.copies],
            "models": [
                {**(use.model.model or {}), "character": use.model.character, "use": use.how, "retrain": use.retrain}
                for use in self.uses
            ],
            "retrain": self.retrain,
            "not_erased": list(NOT_ERASED),
        }


def stores(settings: Settings) -> Iterator[CorrectionStore]:
    """Every folder in which services of this project keep rows."""
    named = ServiceSettings().corrections_store
    homes = sorted((settings.home / "serving").glob("*/corrections"))
    yield from map(CorrectionStore, [*homes, *(sorted(named.glob("*")) if named and named.is_dir() else ())])


def plan(settings: Settings, instance: dg.DagsterInstance, player: str) -> CorrectionsPlan:
    """What is known of a player, by the id that the game gave; nothing is changed. Raises RemoteDown."""
    return _plan(settings, instance, {digest_of_player(player)}, set())


def _plan(settings: Settings, instance: dg.DagsterInstance, players: set[str], ids: set[str]) -> CorrectionsPlan:
    log, today = ErasureLog(instance).entries(), datetime.now(UTC).date().isoformat()
    made = CorrectionsPlan(collected_rows.find(settings, VersionIndex(instance), players, ids))
    for served in stores(settings):
        rows = ((id, row) for id, row in served.rows() if id in ids or (row and row.player in players))
        made.served += [(served, id) for id, _ in rows]
    same = [entry for entry in log if (players and players <= entry.players.keys()) or (ids & entry.characters.keys())]
    made.before = next((entry for entry in same if not entry.done), None)
    made.forgotten_today = any(entry.players.get(player, "") >= today for entry in same for player in players)
    for entry in same:  # a command that was killed may have erased the table that says what it was
        made.found.objects = {**entry.erased, **made.found.objects}
    rows = {md5: splits for entry in reversed(same) for md5, splits in entry.rows.items()} | made.found.rows
    made.sizes = _sizes(settings, made.found.objects)
    made.uses = list(_uses(settings, rows))
    return made


def _sizes(settings: Settings, objects: Mapping[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for place in Store.of(settings).sizes().values() if objects else ():
        found |= {md5: place[md5] for md5 in objects if md5 in place}
    return found


def _uses(settings: Settings, rows: Mapping[str, Mapping[str, str]]) -> Iterator[ModelUse]:
    for model in find_all_models(settings) if rows else ():
        if (md5 := model.ancestors.get(ASSET, "")) in rows:
            yield ModelUse(model, TRAINED if "train" in rows[md5].values() else SCORED)


def erase(
    settings: Settings,
    instance: dg.DagsterInstance,
    planned: CorrectionsPlan,
    why: str,
    who: str = "",
    progress: OnStep = silent,
) -> Erasure:
    """Do it. No run may be at work. Raises RemoteDown, OSError."""

    def delete_served() -> None:
        for number, (served, id) in enumerate(planned.served):
            progress("erase: rows of the service", number, len(planned.served))
            served.delete(id)

    name = who or user()
    signed = f"{name}@{socket.gethostname()}"
    entry = collected_rows.erase(settings, instance, planned.found, signed, why, delete_served, planned.before)
    rows = len({*planned.found.ids_found, *(id for _, id in planned.served)})
    details = {"erasure": entry.id, "corrections": rows, "files": len(entry.erased), "why": entry.why}
    audit.append(settings.home, FORGET, name, details)
    return entry


def erase_again(settings: Settings, instance: dg.DagsterInstance, entry: Erasure) -> None:
    """An erasure of the log once more, after a backup brought back what it had erased. Raises RemoteDown, OSError."""
    planned = _plan(settings, instance, set(entry.players), set(entry.characters))
    planned.before = replace(entry, done=False)
    erase(settings, instance, planned, entry.why)
