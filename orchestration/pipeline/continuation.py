"""A training that goes on from the newest version of its own asset, where its configuration says `start: last`.

The version that it begins with is an input like any other: in the run's inputs, in the lineage (under `start`), and so
in the registered version's tags, its model card and `likeness lineage`; `likeness restore` brings it back. So the same
inputs, this one among them, give the same bytes. It is no part of the key of the run cache: where just these data were
trained on before, there is nothing to learn, whatever that training began with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from orchestration.checks import results
from orchestration.storage.project import AssetRef, Project
from orchestration.storage.store import StoreError
from orchestration.storage.versions import CONTINUED, STARTED, Version, as_text


@dataclass(frozen=True)
class Continuation:
    """What a training begins with, and one line for people; `version` is None where it begins with nothing."""

    version: Version | None = None
    told: str = ""
    """Empty where nobody asked for more."""

    @property
    def inputs(self) -> dict[str, Version]:
        """The optional input of the stage."""
        return {CONTINUED: self.version} if self.version else {}

    @property
    def metadata(self) -> dict[str, str]:
        """What is recorded with the version that comes of it."""
        return {STARTED: self.told} if self.told else {}


def of(project: Project, ref: AssetRef, config: BaseModel, versions: Mapping[str, Version]) -> Continuation:
    """What a training of these inputs begins with. Raises RemoteDown."""
    if not ref.stage.continues or getattr(config, "start", "nothing") != "last":
        return Continuation()
    last = project.latest_of(ref)
    if last is None:
        return Continuation(None, "from nothing: there is no version yet")
    named = f"{last.md5[:12]} of {as_text(last.when)}"
    if why := _why_not(project, ref, config, versions, last):
        return Continuation(None, f"from nothing, not from {named}: {why}")
    return Continuation(last, f"from version {named}")


def _why_not(project: Project, ref: AssetRef, config: BaseModel, versions: Mapping[str, Version], last: Version) -> str:
    code: Any = ref.stage.code
    if (then := last.code.rpartition("-")[0]) != code.VERSION:
        return f"it was made by version {then or 'unknown'} of the stage's code, and this is {code.VERSION}"
    if failed := [result.check for result in results.newest(project, ref) if result.blocks]:
        return f"it failed its check {failed[0]}"
    try:
        folders = {name: project.fetch(name, version) for name, version in {**versions, CONTINUED: last}.items()}
        before = last.metadata.get("inputs") or {}
        if learned_from := getattr(code, "LEARNED_FROM", ""):
            version = Version(learned_from, None, str(before.get(learned_from)))
            folders[f"{CONTINUED}.{learned_from}"] = project.fetch(learned_from, version)
        space = getattr(code, "READS", {}).get("character")
        md5 = before.get("character")
        if space and md5 != versions["character"].md5:
            character = project.fetch("character", Version("character", last.character, str(md5)))
            if space.digest(character) != space.digest(folders["character"]):
                return "the character has other parameters now"
    except StoreError as error:
        return f"not all of it is to be had any more ({error})"
    return code.why_not_start(folders, config)
