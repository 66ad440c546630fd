"""Why an asset has to be made: what is other than when it was made last, in words.

`likeness run --dry-run` says it before, the record of a version after it was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel

from engine.words import a_few
from orchestration.config.catalog import Stage
from orchestration.config.profiles import code_version, flatten
from orchestration.storage.project import AssetRef, Project
from orchestration.storage.versions import Version

SHOWN = 3
"""Names of inputs, or keys of a configuration, in a reason."""
NEVER_MADE, FORCED, FILES_GONE, ASKED_FOR = "never made", "--force", "its files were gone", "somebody asked for it"


def told(
    project: Project, ref: AssetRef, config: BaseModel, inputs: Mapping[str, Version], forced: bool = False
) -> str:
    """Why an asset is being made now, as its record says it."""
    if (latest := project.latest_of(ref)) is None:
        return NEVER_MADE
    changes = [*code_changes(ref.stage, config, latest), *in_words(changed_inputs(latest, inputs))]
    if forced:
        changes.insert(0, FORCED)
    if not changes:
        changes = [FILES_GONE if project.store.is_lost(latest.md5) else ASKED_FOR]
    return "; ".join(changes)


def changed_inputs(latest: Version, inputs: Mapping[str, Version]) -> list[str]:
    """Inputs that are others than those that a version was made of."""
    before = latest.metadata.get("inputs") or {}
    return [name for name, version in inputs.items() if before.get(name) != version.md5]


def in_words(changed: Sequence[str]) -> list[str]:
    """Those inputs as one reason; none where there are none."""
    return [f"{a_few(changed, SHOWN)} changed"] if changed else []


def code_changes(stage: Stage, config: BaseModel, latest: Version) -> Iterator[str]:
    """How code and configuration differ from those of the newest version."""
    now = code_version(stage, config)
    if latest.code == now:
        return
    version, before = stage.code.VERSION, latest.code.rpartition("-")[0]
    if before != version:
        yield f"code version {before or 'unknown'} became {version}"
    then, values = flatten(latest.metadata.get("config") or {}), flatten(config.model_dump(mode="json"))
    others = sorted(key for key in {*then, *values} if then.get(key) != values.get(key))
    changed = [f"{key} {then.get(key)} became {values.get(key)}" for key in others]
    if changed and then:
        yield f"configuration: {a_few(changed, SHOWN)}"
    elif before == version:
        yield "a file that the configuration names changed" if then else "configuration changed"
