"""A version and everything that it came from, down to the sources, each with what is known about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestration.config.profiles import flatten
from orchestration.lineage.resolve import LineageTarget
from orchestration.storage.erasure_log import Erasure
from orchestration.storage.project import title
from orchestration.storage.store import RemoteDown, Store, StoreError
from orchestration.storage.version_index import VersionIndex, fitting
from orchestration.storage.versions import REUSED, Version, as_text, source_key

HERE, REMOTE, ERASED, GONE, UNKNOWN = "here", "remote", "erased", "gone", "unknown"
DAMAGED, PARTS = "damaged in the remote", "in parts, here and in the remote"


@dataclass
class Node:
    """One version in a graph of lineage."""

    id: str
    asset: str
    character: str | None
    md5: str
    source: bool = False
    recorded: int = 0
    """How many times Dagster saw this very content made or observed; the rest is of the newest time."""
    when: str | None = None
    dagster_run: str | None = None
    mlflow_run: str | None = None
    git_commit: str | None = None
    rows: dict[str, int] = field(default_factory=dict)
    same_as_production: bool | None = None
    """Has the version in production the same content? None where nothing is in production, or not of this asset."""
    differences: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Configuration that is not production's: here, there. A missing value is None."""
    bytes: list[str] = field(default_factory=list)
    """Where its content is to be had: `here`, `remote`, both, or in parts; `erased` or `gone` where it is nowhere as a
    whole; and whether it is damaged in the remote.
    """
    erased: list[str] = field(default_factory=list)
    """By whom and when bytes of it were erased."""
    model: Mapping[str, Any] | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    """md5 of each direct input."""
    reused: Mapping[str, Any] | None = None
    """Where it was not made of these inputs but taken from the run cache: the run that made it, and what of."""
    same_of: list[dict[str, str]] = field(default_factory=list)
    """Other inputs (those that differ) that this very content stands for as well."""

    @property
    def title(self) -> str:
        """The asset, and the character that it was made for."""
        return title(self.asset, self.character)


@dataclass
class LineageGraph:
    """`edges` lead from an input to what was made of it."""

    target: LineageTarget
    root: str
    nodes: dict[str, Node]
    edges: list[tuple[str, str]]
    production: Mapping[str, Any] | None
    """The model version that configurations were compared with."""

    def children(self, node: str) -> list[str]:
        """The direct inputs of a node."""
        return [start for start, end in self.edges if end == node]

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "root": self.root,
            "character_json": str(self.target.file) if self.target.file else None,
            "notes": list(self.target.notes),
            "production": self.production,
            "nodes": [asdict(node) for node in self.nodes.values()],
            "edges": [{"from": start, "to": end} for start, end in self.edges],
        }


def build(
    target: LineageTarget,
    production: LineageTarget | None,
    version_index: VersionIndex,
    store: Store,
    erased: Mapping[str, Erasure],
) -> LineageGraph:
    """Follow the md5s. Availability is asked of the store; a remote that is down makes it unknown, nothing else."""
    builder = _Builder(target, production, version_index, _Bytes(store, erased))
    root = builder.follow(target.asset, target.md5)
    return LineageGraph(target, root, builder.nodes, builder.edges, production.model if production else None)


class _Builder:
    def __init__(
        self, target: LineageTarget, production: LineageTarget | None, version_index: VersionIndex, content: _Bytes
    ) -> None:
        self.target, self.production, self.version_index, self.content = target, production, version_index, content
        self.nodes: dict[str, Node] = {}
        self.edges: list[tuple[str, str]] = []

    def follow(self, asset: str, md5: str) -> str:
        """Add a version and all that it came from; the id of its node."""
        name = f"{asset}@{md5 or 'unknown'}"
        if name not in self.nodes:
            self.nodes[name] = node = self._node(name, asset, md5)
            for part, its_md5 in node.inputs.items():
                self.edges.append((self.follow(part, its_md5), name))
        return name

    def _node(self, name: str, asset: str, md5: str) -> Node:
        known = self.version_index.of(source_key(asset), md5) if md5 else []
        version = fitting(known, self.target.versions, self.target.character)
        node = Node(name, asset, version.character if version else None, md5, recorded=len(known))
        if version:
            metadata = version.metadata
            node.when = as_text(version.when) if version.when else None
            node.dagster_run = version.run_id or None
            node.mlflow_run, node.git_commit = metadata.get("mlflow_run_id"), metadata.get("git_commit")
            node.rows = {
                table.removeprefix("rows_"): int(n) for table, n in metadata.items() if table.startswith("rows_")
            }
            node.inputs = dict(metadata.get("inputs") or {})
            node.source = "inputs" not in metadata
            node.reused = metadata.get(REUSED)
            node.same_of = _same_of(node.inputs, known)
        if asset == self.target.asset and md5 == self.target.md5:
            self._complete(node)
        self._compare(node, version)
        node.bytes, node.erased = self.content.of(md5)
        return node

    def _complete(self, node: Node) -> None:
        """The registry knows what Dagster may not: the model, and what it came from where no event tells."""
        node.model = self.target.model
        node.character = node.character or self.target.character
        if node.model:
            node.mlflow_run = node.mlflow_run or node.model["mlflow_run"]
            node.git_commit = node.git_commit or node.model["git_commit"]
            node.dagster_run = node.dagster_run or node.model["dagster_run"]
        if not node.recorded:
            node.inputs = dict(self.target.ancestors)

    def _compare(self, node: Node, version: Version | None) -> None:
        there = self.production.versions.get(node.asset) if self.production else None
        if not there or not self.production or (node.character or None) not in (None, self.production.character):
            return
        node.same_as_production = node.md5 == there
        other = next(iter(self.version_index.of(source_key(node.asset), there)), None)
        if version and other and version is not other:
            node.differences = dict(_differences(version.metadata.get("config"), other.metadata.get("config")))


class _Bytes:
    """Where content is to be had; a remote that is down is asked once."""

    def __init__(self, store: Store, erased: Mapping[str, Erasure]) -> None:
        self.store, self.erased, self.down = store, erased, False

    def of(self, md5: str) -> tuple[list[str], list[str]]:
        """Where a version is to be had, and by whom files of it were erased."""
        if not md5:
            return [UNKNOWN], []
        if self.down:
            return [HERE if self.store.is_cached(md5) else UNKNOWN], []
        try:
            available = self.store.availability(md5)
            damaged = [DAMAGED] if available.damaged else []
            if not available.lost:
                whole = [name for name in (HERE, REMOTE) if getattr(available, name)]
                return [*(whole or [PARTS]), *damaged], []
            files = self.store.listing(md5)
        except RemoteDown:
            self.down = True
            return self.of(md5)
        except StoreError:
            files = {}
        by = self._erased_from(files)
        if not by and md5 in self.erased:
            by = [str(self.erased[md5])]
        return [ERASED if by else GONE, *damaged], by

    def _erased_from(self, files: Mapping[str, str]) -> list[str]:
        """A line for each entry of the erasure log that took files of this version; weights may still be there."""
        lost: dict[str, list[str]] = {}
        for path, md5 in sorted(files.items()):
            if md5 in self.erased:
                lost.setdefault(str(self.erased[md5]), []).append(path)
        return [
            f"{len(paths)} of {len(files)} files ({', '.join(paths[:3])}{', …' if len(paths) > 3 else ''}): {entry}"
            for entry, paths in lost.items()
        ]


def _same_of(inputs: Mapping[str, str], known: list[Version]) -> list[dict[str, str]]:
    """By what other inputs the records of one content say that it was made of, newest first."""
    found: list[dict[str, str]] = []
    for version in known:
        others = dict(version.metadata.get("inputs") or {})
        apart = {name: md5 for name, md5 in others.items() if inputs.get(name) != md5}
        if apart and apart not in found:
            found.append(apart)
    return found


def _differences(own: Any, other: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if not isinstance(own, Mapping) or not isinstance(other, Mapping):
        return
    mine, theirs = flatten(own), flatten(other)
    for key in sorted({*mine, *theirs}):
        if mine.get(key) != theirs.get(key):
            yield key, (mine.get(key), theirs.get(key))
