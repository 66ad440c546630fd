"""A project on its machine: settings, stores and sources, under the names that stages use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import dagster as dg

from engine.errors import LikenessError
from orchestration.config.catalog import COLLECTED, SOURCES, Stage
from orchestration.config.check_rules import Rules
from orchestration.config.declarations import Declaration, declare
from orchestration.config.profiles import resolve_checks
from orchestration.config.settings import Settings
from orchestration.storage import dagster_metadata, versions
from orchestration.storage.store import Store
from orchestration.storage.versions import Version

EMBEDDED = "embedded"
"""The character that everything reads which is not made for one character."""


class SourceMissing(LikenessError):
    """A source's folder is not there."""


class SourceChanged(LikenessError):
    """A source was changed while a step read it."""


def title(asset: str, character: str | None) -> str:
    """How people read an asset's name: `portraits`, `encoder/embedded`."""
    return f"{asset}/{character}" if character else asset


@dataclass(frozen=True)
class AssetRef:
    """An asset of the graph: what one stage makes, for one character where it is made for each."""

    stage: Stage
    character: str | None = None

    @classmethod
    def of(cls, stage: Stage, character: str | None) -> AssetRef:
        """The stage's asset that counts for a character: what is not made for each is the same for all."""
        return cls(stage, character if stage.by_character else None)

    @property
    def name(self) -> str:
        """The asset's name in Dagster."""
        return self.stage.name

    def __str__(self) -> str:
        return title(self.name, self.character)


@dataclass(frozen=True)
class Graph:
    """What Dagster's definitions are built from: stages under settings, and what their checks ask for."""

    settings: Settings
    stages: Mapping[str, Stage] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)

    @classmethod
    def of(cls, settings: Settings, stages: Sequence[Stage]) -> Graph:
        """Raises ProfileError."""
        return cls(settings, {stage.name: stage for stage in stages}, resolve_checks(settings.profile, stages))

    @cached_property
    def declarations(self) -> dict[str, Declaration]:
        """What is known of each stage without importing it. Raises ProfileError."""
        return declare(self.settings, list(self.stages.values()))

    def stage_of(self, name: str) -> Stage | None:
        """The stage that makes an asset; None of sources. What is collected beside the pipeline has one, too."""
        collected = {stage.name: stage for stage in COLLECTED}
        return self.stages.get(name) or collected.get(name)

    def inputs_of(self, stage: Stage) -> tuple[str, ...]:
        """What a stage reads under the settings' profile. Raises ProfileError."""
        declared = self.declarations.get(stage.name)
        return declared.inputs if declared else tuple(stage.code.INPUTS)

    @cached_property
    def characters(self) -> dg.StaticPartitionsDefinition:
        """The partitions of what is made for each character."""
        return dg.StaticPartitionsDefinition(self.settings.character_names())

    def on(self, instance: dg.DagsterInstance) -> Project:
        """The project whose records are in this instance."""
        return Project(self, instance)


@dataclass(frozen=True)
class Project:
    """Settings, stages, stores and sources of a project, and Dagster's records of it."""

    graph: Graph
    instance: dg.DagsterInstance

    @classmethod
    def of(cls, settings: Settings, instance: dg.DagsterInstance, stages: Sequence[Stage]) -> Project:
        """Raises ProfileError."""
        return Graph.of(settings, stages).on(instance)

    @property
    def settings(self) -> Settings:
        """Where everything lies, and how it is run."""
        return self.graph.settings

    @property
    def store(self) -> Store:
        """Folders by md5."""
        return Store.of(self.settings)

    def source_folder(self, name: str, character: str | None = None) -> Path:
        """Folder of a source, called as stages call it. Raises SourceMissing."""
        if name == "character" and character:
            folder, remedy = (
                self.settings.characters / character,
                f"make it with `likeness character init characters/{character}`",
            )
        else:
            folder, remedy = self.settings.data / name, "run `likeness inputs`"
        if not folder.is_dir():
            raise SourceMissing(f"{folder} is missing: {remedy}")
        return folder

    def latest(self, name: str, character: str | None) -> Version | None:
        """The newest version of a stage's input, for the character that is being made."""
        if name == "character":
            return versions.latest(self.instance, "characters", character or EMBEDDED)
        stage = self.graph.stage_of(name)
        return versions.latest(self.instance, name, character if stage and stage.by_character else None)

    def latest_of(self, ref: AssetRef) -> Version | None:
        """The newest version of an asset."""
        return versions.latest(self.instance, ref.name, ref.character)

    def observe(self, name: str, character: str | None = None, retraining: str = "") -> bool:
        """Hash a source and record it where it changed; True when it did.

        retraining: the one that begins with it, if it changed.

        Where this machine's folders do not count, nothing is read. Raises SourceMissing, RemoteDown.
        """
        if self.settings.sources == "remote":
            return False
        character = (character or EMBEDDED) if name == "character" else None
        md5 = self.hash_source(name, character)
        source, folder = "characters" if name == "character" else name, self.source_folder(name, character)
        noted = {versions.RETRAINING: retraining} if retraining else {}
        return versions.observe(
            self.instance, source, md5, character,
            lambda: dagster_metadata.of_source(folder, self.store.report(folder)) | noted,
        )  # fmt: skip

    def hash_source(self, name: str, character: str | None = None) -> str:
        """The md5 of a source's folder: the one recorded last, unless what counts of it changed. Its content is kept
        where it is new, so that a step anywhere reads it by md5.

        Raises SourceMissing, RemoteDown.
        """
        folder, seen = self.source_folder(name, character), self.latest(name, character)
        md5 = self.store.version(folder, seen.md5 if seen else None)
        return md5 if self.store.is_cached(md5) else self.store.put(folder)

    def left_out(self, name: str, character: str | None = None) -> str:
        """One line on what is read of a source and what is left out, "" where nothing is. Raises SourceMissing."""
        if self.settings.sources == "remote":
            return ""
        seen = self.store.report(self.source_folder(name, character))
        return f"{title(name, character)}: {seen}" if seen.left_out or seen.alike else ""

    def fetch(self, name: str, version: Version) -> Path:
        """A folder that has exactly this version, to be read only. Raises StoreError, RemoteDown."""
        if name == "character":
            # A studio's renderer may have to be executable, which DVC does not keep: its own folder, if it is the one.
            own = self.settings.characters / str(version.character)
            if own.is_dir() and self.store.version(own, version.md5) == version.md5:
                return own
        return self.store.fetch(version.md5)


def is_source(name: str) -> bool:
    """Whether an input, called as stages call it, is a folder of people and no stage's output."""
    return name in SOURCES or name == "character"
