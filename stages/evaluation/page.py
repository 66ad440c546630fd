"""The scorecard as one HTML page without any other file: tables, curves and pictures."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from models.images import encode_jpeg
from stages.evaluation import charts
from stages.evaluation.report import Report, Tile
from stages.evaluation.scores import HEADLINES, find, interval, number, scores, words
from stages.evaluation.verification import PUBLISHED

TEMPLATE = "page.html.jinja"
GAP = 3
QUALITY = 86

STATISTICS = {
    "recovery_visible": "R² visible",
    "choices_right": "choices",
    "verification_pca": "verification",
    "likeness_similarity": "likeness",
    "likeness_rank1": "rank 1",
    "likeness_rank5": "rank 5",
    "imitator_given_l1": "imitator L1",
    "parsing_mean": "parsing F1",
}
PHOTO_STATISTICS = {
    "appearance_sex": "sex",
    "appearance_age_within_one": "age, one band off",
    "appearance_skin_within_one": "tone, one step off",
    "appearance_skin_error": "tone, steps off",
    "appearance_hair_style": "hair style",
    "appearance_hair_length": "hair length",
    "appearance_hair_colour": "hair colour",
    "appearance_beard": "beard or none",
    "appearance_glasses": "glasses or none",
    "likeness_similarity": "likeness",
}
DIMENSIONS = ("sex", "age", "skin", "age_band", "skin_tone")


@dataclass(frozen=True)
class ComparedScore:
    """One score of the candidate and of production."""

    name: str
    candidate: float | None
    production: float | None
    difference: Mapping[str, Any]


@dataclass(frozen=True)
class ScoreRow:
    """One line of a table of scores."""

    name: str
    note: str
    score: Mapping[str, Any]


def html(card: Mapping[str, Any], report: Report) -> str:
    """The page. Writes `robustness.png` beside it, for readers of the folder."""
    robust = card["robustness"]
    curves = {name: section for name, section in robust.items() if name != "undegraded"}
    (report.out / "robustness.png").write_bytes(charts.sheet(curves, robust["undegraded"]))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "interval": interval, "words": words}
    return environment.get_template(TEMPLATE).render(
        character=report.character,
        headlines=[ScoreRow(name, note, found) for path, name, note in HEADLINES if (found := find(card, path))],
        card=card,
        production=list(beside(card)),
        curves=[(name, *_themes(name, section, robust["undegraded"])) for name, section in curves.items()],
        legend=[(label, colour) for _, label, colour in charts.CURVES],
        exhibits={
            exhibit.key: (exhibit, [(_inline(t), t.caption) for t in exhibit.tiles]) for exhibit in report.exhibits
        },
        groups=_groups(card["groups"]),
        appearance=[ScoreRow(name, "", entry) for name, entry in scores(card["appearance"])],
        published=PUBLISHED,
        everything=[ScoreRow(path, "", score) for path, score in scores(card)],
    )


def beside(card: Mapping[str, Any]) -> Iterator[ComparedScore]:
    """The main scores that the candidate shares with production; none where it was compared with no other version."""
    theirs = card.get("production") or {}
    for path, difference in theirs.get("differences", {}).items():
        ours, other = find(card, path), find(theirs, path)
        if path.count(".") == 1 and ours and other:
            yield ComparedScore(path, ours["value"], other["value"], difference)


@dataclass(frozen=True)
class GroupTables:
    """Scores of groups of the same people."""

    of: str
    statistics: Mapping[str, str]
    """The columns: names of scores, and what they are called."""
    dimensions: Mapping[str, list[tuple[str, int, list[Mapping[str, Any]]]]]
    """For each dimension its groups, with their people and a score for each column."""
    largest: Mapping[str, Any]


def _groups(groups: Mapping[str, Any]) -> list[GroupTables]:
    """Of labelled real photos, where there are any, and of portraits."""
    photos, portraits = "Real photos by their labels", "Held-out portraits by their true parameters"
    found = [(photos, groups.get("labelled_photos", {}), PHOTO_STATISTICS), (portraits, groups, STATISTICS)]
    return [
        GroupTables(of, statistics, tables, those.get("largest", {}))
        for of, those, statistics in found
        if (tables := _group_tables(those, statistics))
    ]


def _group_tables(
    groups: Mapping[str, Any], statistics: Mapping[str, str]
) -> dict[str, list[tuple[str, int, list[Mapping[str, Any]]]]]:
    tables = {}
    for dimension in DIMENSIONS:
        if dimension not in groups:
            continue
        named = {name: groups[name] for name in ("everybody",) if name in groups} | groups[dimension]
        tables[dimension] = [
            (name, entry["people"], [entry.get(key, {"value": None, "ci": None}) for key in statistics])
            for name, entry in named.items()
        ]
    return tables


def _themes(name: str, section: Mapping[str, Any], undegraded: Mapping[str, Any]) -> tuple[Markup, Markup]:
    """One chart for light and one for dark pages."""
    start = None if name == "yaw" else undegraded
    light, dark = (_data(charts.chart(name, section, start, dark), "png") for dark in (False, True))
    return light, dark


def _inline(tile: Tile) -> Markup:
    """A tile's pictures side by side as a data URL."""
    height = tile.pictures[0].shape[0]
    gap = np.full((height, GAP, 3), 128, np.uint8)
    parts: list[NDArray[np.uint8]] = []
    for picture in tile.pictures:
        parts += [picture, gap]
    return _data(encode_jpeg(np.hstack(parts[:-1]), QUALITY), "jpeg")


def _data(content: bytes, kind: str) -> Markup:
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")
