"""Random people: `uniform` as in the papers, `plausible` as a crowd looks.

A plausible person has a sex, an age and mostly one ancestry; skin tone, hair, hair colour, beard and make-up follow
from these; the other sliders scatter around neutral.
"""

import numpy as np
from numpy.typing import NDArray

from engine.schema import Schema

SPREAD = 0.20  # standard deviation of a plausible slider
SHAPE_SPREAD = 0.22  # the same for sliders that start at 0

# Mean skin tone (0 darkest to 5) and its spread, and how often each hair colour comes, by ancestry.
TONE = {"african": (0.7, 0.8), "asian": (3.3, 0.8), "european": (4.4, 0.7)}
COLOUR = {
    "african": (0.80, 0.17, 0.03, 0.0, 0.0),
    "asian": (0.65, 0.28, 0.06, 0.01, 0.0),
    "european": (0.08, 0.27, 0.33, 0.10, 0.22),
}
IRIS = {
    "african": (0.90, 0.09, 0.01, 0.0, 0.0),
    "asian": (0.80, 0.18, 0.01, 0.01, 0.0),
    "european": (0.25, 0.22, 0.15, 0.13, 0.25),
}
FEMALE_HAIR = {
    "none": 0.03,
    "afro01": 0.08,
    "braid01": 0.2,
    "long01": 0.28,
    "ponytail01": 0.25,
    "short01": 0.05,
    "short02": 0.06,
    "short04": 0.05,
}
MALE_HAIR = {
    "none": 0.22,
    "afro01": 0.06,
    "braid01": 0.01,
    "long01": 0.03,
    "ponytail01": 0.03,
    "short01": 0.25,
    "short02": 0.18,
    "short04": 0.22,
}
Sample = tuple[NDArray[np.float32], NDArray[np.int16]]


def uniform(schema: Schema, count: int, rng: np.random.Generator) -> Sample:
    """Every slider and choice independent and uniform: sliders [count,S], choices [count,G]."""
    sliders = rng.random((count, schema.n_sliders), dtype=np.float32)
    choices = np.stack([rng.integers(size, size=count) for size in schema.group_sizes], axis=1)
    return sliders, choices.astype(np.int16)


def plausible(schema: Schema, count: int, rng: np.random.Generator) -> Sample:
    """People as in a crowd, for the embedded character: sliders [count,S], choices [count,G]."""
    sliders = np.stack([_sliders(schema, rng) for _ in range(count)])
    choices = np.stack([_choices(schema, row, rng) for row in sliders])
    return sliders, choices


def mixed(schema: Schema, count: int, rng: np.random.Generator) -> Sample:
    """Half plausible, half uniform, shuffled: covers what people are like and what sliders can do."""
    half = count // 2
    parts = [plausible(schema, count - half, rng), uniform(schema, half, rng)]
    order = rng.permutation(count)
    sliders, choices = (np.concatenate(column)[order] for column in zip(*parts, strict=True))
    return sliders, choices


SAMPLERS = {"uniform": uniform, "plausible": plausible, "mixed": mixed}


def _sliders(schema: Schema, rng: np.random.Generator) -> NDArray[np.float32]:
    neutral = schema.neutral_sliders()
    spread = np.where(neutral > 0, SPREAD, SHAPE_SPREAD)
    sliders = neutral + rng.normal(size=len(neutral)) * spread
    sliders = np.where(neutral > 0, sliders, np.abs(sliders) * (rng.random(len(neutral)) < 0.3))
    index = schema.slider_index
    sliders[index["sex"]] = rng.beta(0.3, 0.3)
    sliders[index["age"]] = rng.beta(1.0, 1.8)
    sliders[[index["african"], index["asian"], index["european"]]] = rng.dirichlet([0.3, 0.3, 0.3])
    return sliders.clip(0, 1).astype(np.float32)


def _choices(schema: Schema, sliders: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int16]:
    index = schema.slider_index
    shares = {name: float(sliders[index[name]]) for name in ("african", "asian", "european")}
    male, age = float(sliders[index["sex"]]), float(sliders[index["age"]])
    tone = sum(share * TONE[name][0] for name, share in shares.items())
    tone += rng.normal() * sum(share * TONE[name][1] for name, share in shares.items())
    colour = (
        "grey"
        if rng.random() < (age - 0.35) * 1.6
        else _draw(_mix(COLOUR, shares), schema.groups[schema.group_index["hair_colour"]].choices, rng)
    )
    hair = FEMALE_HAIR if rng.random() > male else MALE_HAIR
    has_beard = rng.random() < male - 0.4
    made_up = rng.random() < (1 - male) * 0.5
    picked = {
        "skin": f"tone{1 + int(np.clip(round(tone), 0, 5))}",
        "hair": _draw(tuple(hair.values()), tuple(hair), rng),
        "hair_colour": colour,
        "eyes": _draw(_mix(IRIS, shares), schema.groups[schema.group_index["eyes"]].choices, rng),
        "beard": str(rng.choice(["stubble", "moustache", "goatee", "full"])) if has_beard else "none",
        "lips": str(rng.choice(["rose", "red"])) if made_up else "natural",
    }
    return np.array(
        [
            schema.choice(g.name, picked[g.name]) if g.name in picked else rng.integers(len(g.choices))
            for g in schema.groups
        ],
        dtype=np.int16,
    )


def _mix(table: dict[str, tuple[float, ...]], shares: dict[str, float]) -> tuple[float, ...]:
    rows = np.array([table[name] for name in shares]) * np.array(list(shares.values()))[:, None]
    return tuple(rows.sum(axis=0))


def _draw(weights: tuple[float, ...], names: tuple[str, ...], rng: np.random.Generator) -> str:
    chances = np.array(weights) / sum(weights)
    return str(names[int(rng.choice(len(chances), p=chances))])
