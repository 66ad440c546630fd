"""Random people: `uniform` as in the papers, `plausible` as a crowd looks.

What is plausible stands in the schema's `sampler` section (engine/sampler_config.py). A schema without one gets sliders
that scatter independently around neutral, and choices that are all as likely.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from engine.sampler_config import OTHERS, Sampler, Term, Weights
from engine.schema import Schema

Sample = tuple[NDArray[np.float32], NDArray[np.int16]]
Floats = NDArray[np.float64]


def uniform(schema: Schema, count: int, rng: np.random.Generator) -> Sample:
    """Every slider and choice independent and uniform: sliders [count,S], choices [count,G]."""
    sliders = rng.random((count, schema.n_sliders), dtype=np.float32)
    choices = np.zeros((count, len(schema.groups)), np.int16)
    for column, size in enumerate(schema.group_sizes):
        choices[:, column] = rng.integers(size, size=count)
    return sliders, choices


def plausible(schema: Schema, count: int, rng: np.random.Generator) -> Sample:
    """People as in a crowd: sliders [count,S], choices [count,G]."""
    sampler = schema.sampler or Sampler()
    sliders = _sliders(schema, sampler, count, rng)
    return sliders, _choices(schema, sampler, sliders, rng)


def mixed(schema: Schema, count: int, rng: np.random.Generator) -> Sample:
    """Half plausible, half uniform, shuffled: covers what people are like and what sliders can do."""
    half = count // 2
    parts = [plausible(schema, count - half, rng), uniform(schema, half, rng)]
    order = rng.permutation(count)
    sliders, choices = (np.concatenate(column)[order] for column in zip(*parts, strict=True))
    return sliders, choices


SAMPLERS = {"uniform": uniform, "plausible": plausible, "mixed": mixed}


def _sliders(schema: Schema, sampler: Sampler, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    index, neutral = schema.slider_index, schema.neutral_sliders().astype(np.float64)
    spread = np.full(schema.n_sliders, sampler.spread)
    for name, value in sampler.spreads.items():
        spread[index[name]] = value
    centre = neutral.copy()
    for name, value in sampler.means.items():
        centre[index[name]] = value
    sliders = np.zeros((count, schema.n_sliders))
    standard = _draw_own(schema, sampler, sliders, rng)
    loadings = np.zeros((len(sampler.factors), schema.n_sliders))
    factors = np.zeros((count, len(sampler.factors)))
    for number, factor in enumerate(sampler.factors):
        for name, loading in factor.loadings.items():
            loadings[number, index[name]] = loading
        led = sum((share * standard[name] for name, share in factor.follows.items()), np.zeros(count))
        rest = 1.0 - sum(share**2 for share in factor.follows.values())
        factors[:, number] = led + np.sqrt(rest) * rng.normal(size=count)
    rest = np.sqrt((1.0 - (loadings**2).sum(axis=0)).clip(0.0))
    offset = factors @ loadings + rest * rng.normal(size=(count, schema.n_sliders))
    offset = offset.clip(-sampler.limit, sampler.limit)
    # A slider that starts at 0 is above it in a share of people, and then by the upper tail of its bell.
    offset = np.where(neutral > 0, offset, np.maximum(offset - ndtri(1.0 - sampler.used), 0.0))
    scattered = [i for name, i in index.items() if name not in sampler.own]
    sliders[:, scattered] = (centre + spread * offset)[:, scattered]
    return sliders.clip(0, 1).astype(np.float32)


def _draw_own(schema: Schema, sampler: Sampler, sliders: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    """Fill in the sliders with distributions of their own; return each less its mean, over its deviation."""
    index, count, standard = schema.slider_index, len(sliders), {}
    for name, (a, b) in sampler.beta.items():
        sliders[:, index[name]] = rng.beta(a, b, size=count)
        standard[name] = _standardised(sliders[:, index[name]], a, b)
    for shares in sampler.shares:
        columns = [index[name] for name in shares.sliders]
        sliders[:, columns] = rng.dirichlet(shares.dirichlet, size=count)
        total = sum(shares.dirichlet)
        for name, a in zip(shares.sliders, shares.dirichlet, strict=True):  # each share alone is a beta
            standard[name] = _standardised(sliders[:, index[name]], a, total - a)
    return standard


def _standardised(values: Floats, a: float, b: float) -> Floats:
    variance = a * b / ((a + b) ** 2 * (a + b + 1))
    return (values - a / (a + b)) / np.sqrt(variance)


def _choices(
    schema: Schema, sampler: Sampler, sliders: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.int16]:
    choices = np.zeros((len(sliders), len(schema.groups)), np.int16)
    free = [group.name for group in schema.groups if group.name not in sampler.groups]
    for name in (*sampler.groups, *free):
        column = schema.group_index[name]
        group = schema.groups[column]
        chances = np.ones((len(sliders), len(group.choices)))
        for term in sampler.groups.get(name, ()):
            weights = _term(schema, term, group.choices, sliders, choices)
            chances = chances + weights if term.plus is not None else chances * weights
        # Where no choice has a weight, the neutral one is taken.
        impossible = chances.sum(axis=1) == 0
        chances[impossible, group.choices.index(group.neutral)] = 1.0
        limits = np.cumsum(chances, axis=1)
        thrown = rng.random(len(sliders)) * limits[:, -1]
        choices[:, column] = (thrown[:, None] >= limits).sum(axis=1).clip(max=len(group.choices) - 1)
    return choices


def _term(
    schema: Schema, term: Term, names: tuple[str, ...], sliders: NDArray[np.float32], choices: NDArray[np.int16]
) -> Floats:
    """Weights [N,choices] of one term, or [1,choices] where they are the same for all."""

    def values(slider: str) -> Floats:
        return sliders[:, schema.slider_index[slider]].astype(np.float64)

    if term.weights is not None:
        return _row(term.weights, names)[None]
    if term.mix is not None:
        shares = _shares(np.stack([values(name) for name in term.mix], axis=1))
        return shares @ np.stack([_row(table, names) for table in term.mix.values()])
    if curve := term.by or term.plus:
        (slider, tables), *_ = curve.items()
        at = np.array(sorted(tables))
        rows = np.stack([_row(tables[value], names) for value in at])
        return np.stack([np.interp(values(slider), at, rows[:, k]) for k in range(len(names))], axis=1)
    if term.given is not None:
        (group, by_choice), *_ = term.given.items()
        known = schema.groups[schema.group_index[group]].choices
        rows = np.stack([_row(by_choice[c], names) if c in by_choice else np.ones(len(names)) for c in known])
        return rows[choices[:, schema.group_index[group]]]
    assert term.scale is not None
    shares = _shares(np.stack([values(name) for name in term.scale.centre], axis=1))
    centre = shares @ np.array(list(term.scale.centre.values()))
    return np.exp(-0.5 * ((np.arange(len(names)) - centre[:, None]) / term.scale.spread) ** 2)


def _row(weights: Weights, names: tuple[str, ...]) -> Floats:
    return np.array([weights.get(name, weights.get(OTHERS, 0.0)) for name in names])


def _shares(values: Floats) -> Floats:
    """Rows that sum to 1; equal shares where all are 0."""
    total = values.sum(axis=1, keepdims=True)
    return np.where(total > 1e-6, values / np.maximum(total, 1e-6), 1.0 / values.shape[1])
