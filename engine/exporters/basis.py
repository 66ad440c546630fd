"""The morph targets that exported files carry, and how the weight of each one follows from the sliders.

One target for each direction of a slider (`nose_width+`, `nose_width-`), one for each product of phenotypes
(`macro/african-female-young`), one for each ARKit face action (`jawOpen`). All are linear and add up.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.blend import MorphBlend
from engine.head import ACTION, MACRO, Head
from engine.lids import BLINKS, LIMITS, Openness
from engine.schema import Schema, Slider

# The factors of a product, by the words of its name: the weight of a word is piecewise linear in one slider.
CURVES: dict[str, tuple[str, tuple[tuple[float, float], ...]]] = {
    "female": ("sex", ((0.0, 1.0), (1.0, 0.0))),
    "male": ("sex", ((0.0, 0.0), (1.0, 1.0))),
    "young": ("age", ((0.0, 1.0), (1.0, 0.0))),
    "old": ("age", ((0.0, 0.0), (1.0, 1.0))),
    "minweight": ("weight", ((0.0, 1.0), (0.5, 0.0), (1.0, 0.0))),
    "averageweight": ("weight", ((0.0, 0.0), (0.5, 1.0), (1.0, 0.0))),
    "maxweight": ("weight", ((0.0, 0.0), (0.5, 0.0), (1.0, 1.0))),
}
# The weight of an ancestry is its slider's share of the sum of all three.
SHARES = {"african": "african", "asian": "asian", "caucasian": "european"}
LEAST_GAP, DECIMALS = 2e-5, 6  # metres by which a target changes the gap between the lids at least; of metres
FORMULA = (
    "A slider has a value in [0, 1]. Its positive target weighs reach * max(value - neutral, 0) / (1 - neutral), its "
    "negative target reach * max(neutral - value, 0) / neutral. A target of `products` weighs the product of its "
    "factors: a factor of `curves` is linear between the points [value of `slider`, factor]; a factor of `shares` is "
    "the value of that slider over the sum of the values of all sliders in `shares` (all equal where the sum is 0). A "
    "face action weighs what the client wants, in [0, 1]. The influence to set is the weight less the target's entry "
    "in `rest` (0 where it has none): that much is in the base geometry already. A blink in `lids` weighs as much more "
    "as the eye is more open than the template's: times the largest of (gap + sum of weight * targets[name]) / gap "
    "over the places along the lids, within `limits`."
)


@dataclass(frozen=True)
class Basis:
    """Targets in a fixed order: `names` [K], what each one moves `displacements` [K, V, 3] (base vertices, metres)."""

    schema: Schema
    blend: MorphBlend
    names: tuple[str, ...]
    displacements: NDArray[np.float32]
    products: dict[str, tuple[str, ...]]
    macro_columns: NDArray[np.int64]
    openness: Openness

    @classmethod
    def of(cls, head: Head, schema: Schema, blend: MorphBlend) -> "Basis":
        """The basis of a character: its sliders', its phenotypes' and the face actions' targets."""
        local = [(target_name(s, sign), ts) for s in schema.local for sign, ts in directions(s)]
        named = [name for name in head.morph_names if name.startswith(MACRO)]
        factors = {name: _factors(name, schema) for name in named}
        products = {name: words for name, words in factors.items() if words is not None}
        actions = [(name.removeprefix(ACTION), (name,)) for name in head.morph_names if name.startswith(ACTION)]
        targets = [*local, *((name, (name,)) for name in products), *actions]
        rows = [[head.morph_index[morph] for morph in morphs] for _, morphs in targets]
        displacements = np.stack([head.morphs[row].sum(axis=0) for row in rows])
        return cls(
            schema=schema,
            blend=blend,
            names=tuple(name for name, _ in targets),
            displacements=displacements,
            openness=Openness(head, displacements[: len(targets) - len(actions)]),
            products=products,
            macro_columns=np.array([named.index(name) for name in products]),
        )

    def with_faces_alone(self) -> "Basis":
        """The face actions' targets alone."""
        kept = [number for number, name in enumerate(self.names) if name in self.blend.actions]
        names, displacements = tuple(self.names[number] for number in kept), self.displacements[kept]
        none = np.zeros(0, np.int64)
        return replace(
            self,
            names=names,
            displacements=displacements,
            products={},
            macro_columns=none,
            openness=self.openness.without_targets(),
        )

    def weights(self, sliders: NDArray[np.float32]) -> NDArray[np.float32]:
        """Slider values [S] to the weights of all targets [K]; face actions rest at 0."""
        weight = dict(zip(self.products, self.blend.macro_weights(sliders[None])[0][self.macro_columns], strict=True))
        for number, slider in enumerate(self.schema.local, start=len(self.schema.phenotypes)):
            for sign, _ in directions(slider):
                weight[target_name(slider, sign)] = morph_weight(slider, sign, float(sliders[number]))
        return np.array([weight.get(name, 0.0) for name in self.names], dtype=np.float32)

    def description(self) -> dict[str, Any]:
        """What a client needs to turn slider values into target weights, as plain JSON."""
        words = {word for product in self.products.values() for word in product}
        return {
            "formula": FORMULA,
            "sliders": [
                *(self._slider(slider, []) for slider in self.schema.phenotypes),
                *(self._slider(slider, self._signs(slider)) for slider in self.schema.local),
            ],
            "curves": {
                word: {"slider": slider, "points": [list(point) for point in points]}
                for word, (slider, points) in CURVES.items()
                if word in words
            },
            "shares": {word: slider for word, slider in SHARES.items() if word in words},
            "products": {name: list(product) for name, product in self.products.items()},
            "actions": list(self.blend.actions),
            "lids": {blink: self._lids(side) for side, blink in enumerate(BLINKS)},
        }

    def blinks(self, weights: NDArray[np.float32]) -> dict[str, float]:
        """How much more a blink weighs on a face whose targets have some weights [K] than on the template."""
        shares = self.openness(weights[None, : self.openness.changes.shape[1]])[0]
        return dict(zip(BLINKS, shares.tolist(), strict=True))

    def _lids(self, side: int) -> dict[str, Any]:
        changes = self.openness.changes[side]
        moving = np.flatnonzero(np.abs(changes).max(axis=1) > LEAST_GAP)
        return {
            "gap": np.round(self.openness.open[side], DECIMALS).tolist(),
            "targets": {self.names[number]: np.round(changes[number], DECIMALS).tolist() for number in moving},
            "limits": list(LIMITS),
        }

    def _signs(self, slider: Slider) -> list[str]:
        return [sign for sign, _ in directions(slider) if target_name(slider, sign) in self.names]

    @staticmethod
    def _slider(slider: Slider, signs: list[str]) -> dict[str, Any]:
        return {
            "name": slider.name,
            "label": slider.label,
            "part": slider.part,
            "neutral": slider.neutral,
            "reach": slider.reach,
            "negative": target_name(slider, "-") if "-" in signs else None,
            "positive": target_name(slider, "+") if "+" in signs else None,
        }


def directions(slider: Slider) -> list[tuple[str, tuple[str, ...]]]:
    """The directions in which a slider drives morphs, with these."""
    return [(sign, morphs) for sign, morphs in (("-", slider.negative), ("+", slider.positive)) if morphs]


def morph_weight(slider: Slider, sign: str, value: float) -> float:
    """How much of its morphs in one direction a slider gives at a value in [0, 1]."""
    offset, room = value - slider.neutral, 1.0 - slider.neutral
    if sign == "-":
        offset, room = -offset, slider.neutral
    return slider.reach * max(offset, 0.0) / room


def target_name(slider: Slider, sign: str) -> str:
    """The name of the morph target that a slider drives in a direction, "-" or "+"."""
    return f"{slider.name}{sign}"


def _factors(macro: str, schema: Schema) -> tuple[str, ...] | None:
    """The factors of a macro morph that vary in this schema; None where one of them is always 0.

    A phenotype that the schema lacks stays in MakeHuman's middle.
    """
    factors = []
    for word in macro.removeprefix(MACRO).split("-"):
        if word in CURVES:
            slider, points = CURVES[word]
            if slider in schema.slider_index:
                factors.append(word)
            elif np.interp(0.5, *np.array(points).T) == 0.0:
                return None
        elif word in SHARES:
            factors.append(word)
        elif word not in ("universal", "averagemuscle"):
            raise ValueError(f"{macro}: the exporters do not know what {word!r} depends on")
    return tuple(factors)
