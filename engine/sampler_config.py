"""The `sampler` section of a schema: what plausible people look like, in numbers a studio can edit.

Sliders scatter around their neutral value and share *factors*, so that they vary together; the chances of a choice
may depend on sliders and on choices drawn before. Every loading is a correlation.
"""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, Field, model_validator

Weights = dict[str, float]  # of choices; `others` stands for all that are not listed, 0 where it is missing
OTHERS = "others"


class Factor(BaseModel, frozen=True, extra="forbid"):
    """A hidden quantity with mean 0 and variance 1 that several sliders share."""

    name: str
    loadings: dict[str, float]  # correlation with each slider that it moves
    follows: dict[str, float] = {}  # correlation with sliders that have a distribution of their own

    @model_validator(mode="after")
    def _leaves_room(self) -> "Factor":
        if sum(value**2 for value in self.follows.values()) > 1:
            raise ValueError(f"factor {self.name}: the squares of `follows` sum to more than 1")
        return self


class Shares(BaseModel, frozen=True, extra="forbid"):
    """Sliders that are shares of a whole, drawn from a Dirichlet distribution."""

    sliders: tuple[str, ...] = Field(min_length=2)
    dirichlet: tuple[float, ...]

    @model_validator(mode="after")
    def _fits(self) -> "Shares":
        if len(self.sliders) != len(self.dirichlet) or min(self.dirichlet) <= 0:
            raise ValueError(f"shares of {', '.join(self.sliders)}: `dirichlet` needs one positive number for each")
        return self


class Scale(BaseModel, frozen=True, extra="forbid"):
    """Choices as steps of a scale (0, 1, 2 …): a bell around a centre that is averaged by the sliders' shares."""

    centre: dict[str, float]
    spread: float = Field(gt=0)


class Term(BaseModel, frozen=True, extra="forbid"):
    """Weights of a group's choices, multiplied with those of the terms before; exactly one entry is set."""

    weights: Weights | None = None
    mix: dict[str, Weights] | None = None  # slider: weights, averaged by the sliders' shares
    by: dict[str, dict[float, Weights]] | None = None  # one slider: weights at some of its values, linear between
    plus: dict[str, dict[float, Weights]] | None = None  # as `by`, but added to the terms before
    given: dict[str, dict[str, Weights]] | None = None  # one group: weights for its choices; no entry: no influence
    scale: Scale | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "Term":
        named = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"a term has one of weights, mix, by, plus, given, scale, not {named or 'none'}")
        for name in ("by", "plus", "given"):
            if len(getattr(self, name) or "1") != 1:
                raise ValueError(f"`{name}` names exactly one, not {sorted(getattr(self, name))}")
        return self

    @property
    def tables(self) -> list[Weights]:
        """Every table of weights in this term."""
        nested = [t for entry in (self.by, self.plus, self.given) for t in (entry or {}).values()]
        return [*filter(None, [self.weights]), *(self.mix or {}).values(), *(w for t in nested for w in t.values())]

    @property
    def sliders(self) -> list[str]:
        return [*(self.mix or {}), *(self.by or {}), *(self.plus or {}), *(self.scale.centre if self.scale else {})]


class Sampler(BaseModel, frozen=True, extra="forbid"):
    """Plausible people."""

    spread: float = Field(default=0.15, ge=0)  # standard deviation of a slider around its neutral value
    means: dict[str, float] = {}  # of sliders whose mean is not the neutral value
    limit: float = Field(default=2.5, gt=0)  # no slider strays farther, in standard deviations
    used: float = Field(default=0.3, gt=0, le=1)  # share of people in whom a slider that starts at 0 is above it
    spreads: dict[str, float] = {}  # of sliders with a spread of their own
    beta: dict[str, tuple[float, float]] = {}  # sliders that follow a beta distribution
    shares: tuple[Shares, ...] = ()
    factors: tuple[Factor, ...] = ()
    groups: dict[str, tuple[Term, ...]] = {}  # drawn in this order; groups not listed are uniform

    @property
    def own(self) -> set[str]:
        """Sliders with a distribution of their own."""
        return {*self.beta, *(name for share in self.shares for name in share.sliders)}

    def problems(self, sliders: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
        """What does not fit a schema with these sliders and choices by group; empty when all does."""
        found = [
            f"sampler {where}: no slider {name}"
            for where, names in self._slider_names()
            for name in names
            if name not in sliders
        ]
        found += [f"sampler: {name} has a distribution of its own and cannot load on a factor" for name in self._both()]
        found += [
            f"sampler {f.name}: {n} has no distribution to follow"
            for f in self.factors
            for n in f.follows
            if n not in self.own
        ]
        squares: dict[str, float] = {}
        for factor in self.factors:
            for name, loading in factor.loadings.items():
                squares[name] = squares.get(name, 0.0) + loading**2
        found += [
            f"sampler: the squares of {n}'s loadings sum to {v:.2f}, more than 1" for n, v in squares.items() if v > 1
        ]
        drawn: set[str] = set()
        for group, terms in self.groups.items():
            if group not in groups:
                found.append(f"sampler groups: no group {group}")
                continue
            for term in terms:
                found += _choice_problems(group, term, groups, drawn)
            drawn.add(group)
        return found

    def _slider_names(self) -> list[tuple[str, list[str]]]:
        named = [("means", [*self.means]), ("spreads", [*self.spreads]), ("beta", [*self.beta])]
        named += [("shares", [*share.sliders]) for share in self.shares]
        named += [(f"factor {f.name}", [*f.loadings, *f.follows]) for f in self.factors]
        return named + [(f"group {g}", term.sliders) for g, terms in self.groups.items() for term in terms]

    def _both(self) -> list[str]:
        return sorted(self.own & {name for factor in self.factors for name in factor.loadings})


def _choice_problems(group: str, term: Term, groups: Mapping[str, Sequence[str]], drawn: set[str]) -> list[str]:
    known = {*groups[group], OTHERS}
    found = [f"sampler group {group}: no choice {n}" for table in term.tables for n in table if n not in known]
    if any(weight < 0 for table in term.tables for weight in table.values()):
        found.append(f"sampler group {group}: a weight is negative")
    for other, tables in (term.given or {}).items():
        if other not in drawn:
            found.append(f"sampler group {group}: group {other} must come before it")
        found += [f"sampler group {group}: {other} has no choice {c}" for c in tables if c not in groups.get(other, ())]
    return found
