"""What players correct, on average: by encoder version, of each slider and group, with counts and intervals.

A correction is after minus before. Means are over all rows of a version, also those in which a slider was left alone,
so that a slider which few change much does not look wrong for all. Intervals are by bootstrap over players.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.schema import Schema
from stages.data import tables
from stages.evaluation.metrics import mean_score
from stages.evaluation.scores import interval, number, words

if TYPE_CHECKING:
    import pandas as pd

TEMPLATE = "corrections.html.jinja"
CHANGED = 1e-4
"""Of a slider: what differs by less was not changed. Documents have five digits."""


def of_table(file: Path, schema: Schema) -> dict[str, Any]:
    """The report on a table of `stages.corrections`, as JSON."""
    rows = tables.read(file)
    people = rows["player"].where(rows["player"].notna(), rows["id"])
    keys = ["version", "run", "encoder", "refined"]
    versions = [
        {**dict(zip(keys, _plain(key), strict=True)), **_of_rows(part, people[part.index], schema)}
        for key, part in rows.groupby(keys, sort=True)
    ]
    return {
        "character": schema.name,
        "rows": len(rows),
        "players": int(people.nunique()),
        "days": [rows["day"].min(), rows["day"].max()] if len(rows) else [],
        "versions": versions,
    }


def _plain(key: Any) -> list[Any]:
    return [value.item() if isinstance(value, np.generic) else value for value in key]


def _of_rows(rows: pd.DataFrame, people: pd.Series, schema: Schema) -> dict[str, Any]:
    change = tables.stack(rows["parameters"]).astype(np.float64) - tables.stack(rows["before"]).astype(np.float64)
    names = people.to_numpy()
    sliders = {slider.name: _of_slider(change[:, at], names, slider.part) for at, slider in enumerate(schema.sliders)}
    before, after = (tables.stack(rows[name], np.int16) for name in ("before_discrete", "discrete"))
    groups = {
        group.name: _of_group(before[:, at], after[:, at], names, group.choices)
        for at, group in enumerate(schema.groups)
    }
    moved = np.abs(change) > CHANGED
    return {
        "rows": len(rows),
        "players": int(people.nunique()),
        "sliders_changed": _score(moved.sum(1), names),
        "groups_changed": _score((before != after).sum(1), names),
        "sliders": sliders,
        "groups": groups,
    }


def _of_slider(change: NDArray, people: NDArray, part: str) -> dict[str, Any]:
    """`mean`: how far it was moved; `distance`: the same whatever the direction; `changed`: the share that moved it."""
    moved = np.abs(change) > CHANGED
    return {
        "part": part,
        "mean": _score(change, people),
        "distance": _score(np.abs(change), people),
        "changed": _score(moved, people),
        "count": int(moved.sum()),
    }


def _of_group(before: NDArray, after: NDArray, people: NDArray, choices: Any) -> dict[str, Any]:
    """`changes`: what was changed to what, the commonest first."""
    names = list(choices)
    pairs = Counter((names[old], names[new]) for old, new in zip(before, after, strict=True) if old != new)
    changes = [{"from": old, "to": new, "count": n} for (old, new), n in sorted(pairs.items(), key=_commonest)]
    return {"changed": _score(before != after, people), "count": sum(pairs.values()), "changes": changes}


def _commonest(item: tuple[tuple[str, str], int]) -> tuple[int, tuple[str, str]]:
    return -item[1], item[0]


def _score(values: NDArray, people: NDArray) -> dict[str, Any]:
    """Mean, interval and count, without what only the scorecard has."""
    found = mean_score(np.asarray(values, np.float64), people)
    return {"value": found["value"], "ci": found["ci"], "n": found["n"]}


def moved_most(version: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The sliders that were changed, those first whose mean was corrected farthest."""
    changed = [(name, found) for name, found in version["sliders"].items() if found["count"]]
    return sorted(changed, key=lambda item: (-abs(item[1]["mean"]["value"]), item[0]))


def chosen_otherwise(version: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The groups that were changed, the one that was changed most often first."""
    changed = [(name, found) for name, found in version["groups"].items() if found["count"]]
    return sorted(changed, key=lambda item: (-item[1]["count"], item[0]))


def html(found: Mapping[str, Any]) -> str:
    """The report as one page without any other file."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "interval": interval, "words": words}
    return environment.get_template(TEMPLATE).render(found, moved_most=moved_most, chosen_otherwise=chosen_otherwise)
