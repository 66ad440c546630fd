"""The version in production, which a candidate is compared with, and the figures by which a version may be promoted.

The scorecard compares when it is made; it is not made again because production moved. Figures against a version that is
no longer in production decide nothing: the gate has both compared again on the scorecard's own data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import LikenessError
from orchestration.promotion import packaging
from orchestration.registry.aliases import AliasStore
from orchestration.registry.promotion_events import PRODUCTION
from orchestration.registry.registered_models import COMPARISON, INPUT
from orchestration.storage import versions
from orchestration.storage.store import Store

if TYPE_CHECKING:
    from orchestration.config.progress import Progress
    from orchestration.registry.registered_models import Registry
    from orchestration.storage.project import Project

ASSET = "production_encoder"
DATA = ("embedded", "character", "aligned_faces", "rendered_pairs")
"""What two packed encoders are compared on."""
LEARNED_FROM = "production.aligned_faces"
"""As `stages.evaluation.production` has it, without what that imports."""


class NotComparable(LikenessError):
    """There is nothing to compare with, or on."""


def production_version(
    aliases: AliasStore, store: Store, character: str, inputs: Mapping[str, str]
) -> versions.Version | None:
    """The packed version in production that a candidate made of these inputs (md5 by name) is compared with.

    None where there is none, where it is the candidate's own content, and where nobody noted its md5.
    Raises RegistryError, StoreError, RemoteDown.
    """
    state = aliases.state()
    tags = state.tags.get(state.production or "", {})
    if "md5" not in tags or packaging.is_made_of(store, tags["md5"], inputs):
        return None
    return packed(character, tags)


def packed(character: str, tags: Mapping[str, str]) -> versions.Version:
    """The packed folder of a registered version, by its tags, which also say what it was made of."""
    lineage = {name.removeprefix(INPUT): md5 for name, md5 in tags.items() if name.startswith(INPUT)}
    return versions.Version(ASSET, character, tags["md5"], lineage=lineage)


def learned_from(
    project: Project, production: versions.Version | None, faces: versions.Version | None
) -> dict[str, Path]:
    """The aligned faces that a packed version was made of, as an input of the scorecard: nobody of whom it learned from
    them is a fair test of it. Nothing where they are `faces`, those of now, or not in this machine's cache.

    Raises StoreError, RemoteDown.
    """
    md5 = production.lineage.get("aligned_faces") if production else None
    if md5 is None or faces is None or md5 == faces.md5 or not project.store.is_cached(md5):
        return {}
    return {LEARNED_FROM: project.store.fetch(md5)}


def with_production(project: Project, registry: Registry, version: str, progress: Progress) -> dict[str, Any] | None:
    """Compare a version with what is in production now and keep the figures with it; None where it is that itself, or
    nothing is. Raises NotComparable, RegistryError, StoreError, RemoteDown.
    """
    number, state = str(registry.find(version).version), registry.alias_store.state()
    current = state.production
    if current in (None, number):
        return None
    for one in (number, current):
        if "md5" not in state.tags[one]:
            raise NotComparable(f"nobody noted which files version {one} consists of: it cannot be compared")
    progress.stage(f"compare version {number} with version {current}, which is in production")
    candidate, production = (packed(registry.character, state.tags[one]) for one in (number, current))
    card = again(project, candidate, production, progress)
    card[PRODUCTION]["version"] = int(current)
    registry.log_card(number, card, COMPARISON)
    return card


def again(
    project: Project, candidate: versions.Version, production: versions.Version, progress: Progress
) -> dict[str, Any]:
    """Two packed versions beside each other on the people of the last scorecard: the candidate's sections, and
    production's under `production`.

    Raises NotComparable, StoreError, RemoteDown.
    """
    from stages import scorecard
    from stages.context import Context
    from stages.evaluation.schema_mapping import CannotDo

    character = candidate.character
    last = versions.latest(project.instance, "scorecard", character)
    if last is None:
        raise NotComparable(f"nothing was evaluated yet for {character}: run `likeness run`")
    folders_of = [project.store.fetch(version.md5) for version in (candidate, production)]
    md5s = last.metadata["inputs"]
    folders = {name: project.fetch(name, versions.Version(name, character, md5s[name])) for name in DATA}
    faces = versions.Version("aligned_faces", None, md5s["aligned_faces"])
    folders |= learned_from(project, production, faces)
    config = scorecard.Config(**last.metadata["config"])
    try:
        settings = project.settings
        context = Context(settings.pick_device(), workers=settings.workers, on_progress=progress.step)
        card = scorecard.compare(folders, config, folders_of[0], folders_of[1], context)
    except CannotDo as error:
        raise NotComparable(f"the version cannot be scored by what the scorecard asks for today: {error}") from error
    card[PRODUCTION]["md5"] = production.md5
    return card
