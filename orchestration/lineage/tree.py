"""A graph of lineage on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text
from rich.tree import Tree

from orchestration.lineage.graph import DAMAGED, ERASED, GONE, PARTS, UNKNOWN, LineageGraph, Node

COLOURS = {ERASED: "bold red", GONE: "bold red", DAMAGED: "bold red", UNKNOWN: "yellow", PARTS: "yellow"}
LONGEST = 40
MOST_OTHERS = 3


def shown(graph: LineageGraph) -> Tree:
    """Everything down to the sources; what was shown before is named and referred to."""
    seen: set[str] = set()
    tree = _branch(graph, graph.root, seen)
    if graph.target.file:
        top = Tree(Text.assemble((str(graph.target.file), "bold"), *(f"\n{note}" for note in graph.target.notes)))
        top.children.append(tree)
        return top
    return tree


def against(graph: LineageGraph) -> str:
    """What configurations were compared with, in words."""
    if graph.production is None:
        return "nothing is in production yet, so there is nothing to compare configurations with"
    name = f"{graph.production['name']} version {graph.production['version']}"
    root = graph.nodes[graph.root]
    if root.model and root.model["version"] == graph.production["version"]:
        return f"this is {name}, which is in production"
    differing = sum(bool(node.differences) for node in graph.nodes.values())
    if not differing:
        return f"no configuration differs from that of {name}, which is in production"
    told = "1 configuration differs" if differing == 1 else f"{differing} configurations differ"
    return f"compared with {name}, which is in production: {told}"


def _branch(graph: LineageGraph, name: str, seen: set[str]) -> Tree:
    node = graph.nodes[name]
    if name in seen:
        return Tree(Text.assemble((node.title, "bold"), f"  {node.md5[:12]}  ", ("shown above", "dim italic")))
    seen.add(name)
    tree = Tree(_label(node))
    for child in graph.children(name):
        tree.children.append(_branch(graph, child, seen))
    return tree


def _label(node: Node) -> Text:
    parts: list[Any] = [(node.title, "bold"), f"  {node.md5 or 'md5 unknown'}  "]
    for number, place in enumerate(node.bytes):
        parts += [", " if number else "", (place, COLOURS.get(place, "green"))]
    if node.model:
        aliases = f" ({', '.join(node.model['aliases'])})" if node.model["aliases"] else ""
        parts.append(f"\n{node.model['name']} version {node.model['version']}{aliases}")
    for line in details(node):
        parts.append((f"\n{line}", "dim"))
    parts += [(f"\n{line}", "yellow") for line in differences(node)]
    parts += [(f"\nerased: {line}", "red") for line in node.erased]
    return Text.assemble(*parts)


def details(node: Node) -> list[str]:
    """When, by which runs, of which code, and how many rows."""
    if not node.recorded and not node.model:
        return ["Dagster has no record of it"]
    times = f" ({node.recorded} times; this is the newest)" if node.recorded > 1 else ""
    verb = "seen" if node.source else "made"
    runs = [
        f"Dagster run {node.dagster_run[:8]}" if node.dagster_run and not node.source else "",
        f"MLflow run {node.mlflow_run[:12]}" if node.mlflow_run else "",
        f"commit {node.git_commit[:10]}" if node.git_commit else "",
    ]
    lines = [" · ".join(filter(None, [f"{verb} {node.when}{times}" if node.when else "", *runs]))]
    if node.reused:
        lines.append(f"not made of these: {made_by(node.reused)}")
    lines += [f"the same came of {_named(others)}" for others in node.same_of[:MOST_OTHERS]]
    if len(node.same_of) > MOST_OTHERS:
        lines.append(f"… and of {len(node.same_of) - MOST_OTHERS} older inputs")
    if node.rows:
        lines.append(f"rows: {', '.join(f'{table} {rows:,}' for table, rows in node.rows.items())}")
    return lines


def made_by(reused: Mapping[str, Any]) -> str:
    """By whom a result was made that was taken over."""
    return f"run {reused['run'][:8]} of {reused['when']} made it, of {_named(reused['inputs'])}; {reused['why']}"


def _named(inputs: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {md5[:12]}" for name, md5 in inputs.items())


def differences(node: Node) -> list[str]:
    """A line for each value that is not production's."""
    lines = [f"{key}: {_short(here)}, in production {_short(there)}" for key, (here, there) in node.differences.items()]
    if not lines and node.source and node.same_as_production is False:
        lines = ["other content than in production"]
    return lines


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
