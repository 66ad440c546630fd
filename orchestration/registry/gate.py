"""The gate: which scores decide whether a model may become production, by which margins, on which evidence.

Two questions are asked of a candidate. Does it beat the average face? Is it no worse than production, by more than a
margin? The second is a test of non-inferiority: both were scored on the same people in one run, the difference has a
95 % interval that resamples people in both at once, and by default the interval's worse end must lie within the margin.
So a lucky draw promotes nothing that may be worse than the margin allows, and noise smaller than the margin blocks
nothing. Where people are so few that the interval is wider than the margin the evidence decides nothing, and the
answer is no: a person may promote by hand, or the rule may ask for the value alone (`by: value`).

A third question may be asked: whether the candidate, in production's shadow (`likeness serve --shadow`), read players'
photos much as production did. Nobody knows the truth about these, so this tells surprises, not which one is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

By = Literal["interval", "value"]
IN_SERVICE = "like production in service"
LOWER_IS_BETTER = frozenset({"l1", "no_face", "skin_error", "network_age_error"})
"""Scores by the last part of their path."""


class Margin(BaseModel, frozen=True, extra="forbid"):
    """How much worse than production a score may be."""

    margin: float = Field(ge=0)
    by: By = "interval"
    """interval: the worse end of the difference's 95 % interval is within the margin; value: the difference is."""


class ShadowRule(BaseModel, frozen=True, extra="forbid"):
    """How a candidate must have read players' photos beside production. Each limit is held by the worse end of the
    figure's 95 % interval; null: not asked."""

    photos: int = Field(default=200, ge=10)
    """At least so many, read by both."""
    choices_differ: float | None = Field(default=None, ge=0, le=1)
    """Largest mean share of choices that are not production's."""
    parameters_differ: float | None = Field(default=None, ge=0, le=1)
    """Largest mean difference of the sliders from production's."""
    similarity: float | None = Field(default=None, ge=-1, le=1)
    """Least mean similarity of the two renders."""
    unread: float | None = Field(default=None, ge=0, le=1)
    """Largest share of photos that production read and the candidate did not."""
    slower: float | None = Field(default=None, gt=0)
    """Largest ratio of the processor time to production's."""


class Config(BaseModel, frozen=True, extra="forbid"):
    """The gate's rule. A score is named by its path in scorecard.json."""

    beats_baseline: dict[str, By] = {"recovery.visible": "interval", "likeness.similarity": "interval"}
    """Scores that must be above those of the average face: by the lower end of their 95 % interval, or by value. A list
    of names means by value.
    """
    not_worse: dict[str, Margin] = {
        "recovery.visible": Margin(margin=0.12),
        "recovery.groups_mean": Margin(margin=0.03),
        "verification.parameters_pca": Margin(margin=0.03),
        "likeness.similarity": Margin(margin=0.01),
        "likeness.real_photos": Margin(margin=0.03, by="value"),
    }
    """Scores that may be worse than production's by at most a margin. A plain number is a margin for the value. Real
    photos are few, so that an interval of theirs would block everything. An encoder that learns whom its renders show
    answers less near the mean, and R² of single sliders falls: it has a wide margin, likeness a narrow one.
    """
    stand_ins: dict[str, str] = {
        "likeness.similarity": "likeness.imitator_similarity",
        "likeness.real_photos": "likeness.imitator_real_photos",
    }
    """What is judged in the place of a score that a character cannot have; one without a fallback is passed over."""
    auto_promote: bool = True
    """Whether what passes becomes production by itself; if not, it becomes `candidate`, for `likeness promote`."""
    approvals: int = Field(default=1, ge=1, exclude=True)
    """How many people must call `likeness promote` for one version, with keys of their own. With 2 or more nothing is
    promoted by itself. It judges nobody, so that a change of it makes no version stale.
    """
    shadow: ShadowRule | None = Field(default=None, exclude_if=lambda rule: rule is None)
    """What is asked of a candidate's photos beside production before it takes its place; null: nothing. What passes all
    else becomes `candidate` meanwhile.
    """

    @field_validator("beats_baseline", mode="before")
    @classmethod
    def _names_alone(cls, given: Any) -> Any:
        return given if isinstance(given, Mapping) else dict.fromkeys(given, "value")

    @field_validator("not_worse", mode="before")
    @classmethod
    def _numbers_alone(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        plain = (int, float)
        return {k: {"margin": v, "by": "value"} if isinstance(v, plain) else v for k, v in given.items()}


@dataclass(frozen=True)
class Criterion:
    """One score that was judged, or could not be."""

    score: str
    asked: Literal["beats the average face", "not worse than production", "like production in service"]
    candidate: float | None
    reference: float | None
    """The average face's, or production's."""
    difference: float | None = None
    interval: tuple[float, float] | None = None
    """Of the difference; of the candidate's score beside the average face's."""
    margin: float | None = None
    by: By = "value"
    ok: bool | None = None
    """None: passed over."""
    note: str = ""


@dataclass(frozen=True)
class GateResult:
    """What the gate says, criterion by criterion."""

    criteria: tuple[Criterion, ...]
    compared: bool
    """Whether there is another version in production that it was compared with."""

    @property
    def refusals(self) -> list[str]:
        """Why the candidate may not become production; empty when it may."""
        return self.by_scorecard + self.by_shadow

    @property
    def by_shadow(self) -> list[str]:
        """What it has not shown yet beside production in service."""
        return [each.note for each in self._asked(IN_SERVICE) if each.ok is False]

    @property
    def by_scorecard(self) -> list[str]:
        """Why it may not even become `candidate`."""
        found = [each.note for each in self.criteria if each.ok is False and each.asked != IN_SERVICE]
        if not any(each.ok is not None for each in self._asked("beats the average face")):
            found.insert(0, "the scorecard has no score that can be judged: name one in the gate's `beats_baseline`")
        against = self._asked("not worse than production")
        if self.compared and against and all(each.ok is None for each in against):
            found.append("no score could be compared with production's: " + "; ".join({each.note for each in against}))
        return found

    def against(self) -> dict[str, dict[str, Any]]:
        """The figures that decided, for the record of a promotion."""
        return {
            each.score: {
                "candidate": each.candidate, "production": each.reference, "difference": each.difference,
                "interval": each.interval, "margin": each.margin, "by": each.by, "ok": each.ok,
            }
            for each in (*self._asked("not worse than production"), *self._asked(IN_SERVICE))
        }  # fmt: skip

    def document(self) -> dict[str, Any]:
        """What `--json` prints of it."""
        return {
            "passed": not self.refusals,
            "refusals": self.refusals,
            "scores": [asdict(each) for each in self.criteria],
        }

    def _asked(self, question: str) -> list[Criterion]:
        return [each for each in self.criteria if each.asked == question]


def evaluate(config: Config, card: Mapping[str, Any], shadow: Mapping[str, Any] | None = None) -> GateResult:
    """Whether the scorecard's candidate may become production. Under `production` the card has what it was compared
    with, null where there is no other version; `shadow` the figures of photos that both of them read in service.

    A score that this character cannot have (null, with a reason) is judged by its fallback, or passed over, as is one
    that production's version cannot be scored by; a candidate of which nothing can be judged may not pass.
    """
    production = card.get("production")
    criteria = [_beats_average(config, card, path, by) for path, by in config.beats_baseline.items()]
    if production:
        criteria += [_not_worse(config, card, production, path, rule) for path, rule in config.not_worse.items()]
        criteria += _like_production(config.shadow, shadow or {}) if config.shadow else []
    return GateResult(tuple(criteria), bool(production))


def _beats_average(config: Config, card: Mapping[str, Any], wanted: str, by: By) -> Criterion:
    asked: Literal["beats the average face"] = "beats the average face"
    path = judged_by(config, card, wanted)
    score = find_score(card, path or wanted)
    if score is None:
        return Criterion(wanted, asked, None, None, ok=False, note=f"{wanted} is missing from the scorecard")
    if path is None:
        return Criterion(wanted, asked, None, None, note=str(score.get("reason")))
    value, average, interval = score["value"], score.get("baseline"), _ends(score)
    sign = -1 if _lower_is_better(path) else 1
    tested = value if by == "value" else interval and interval[0 if sign > 0 else 1]
    ok = tested is not None and sign * (tested - (average or 0.0)) > 0
    said = f"{path} {value} does not beat the average face's {average}"
    if not ok and by == "interval":
        said += f" beyond its interval {_told(interval)}"
    return Criterion(path, asked, value, average, None, interval, None, by, ok, "" if ok else said)


def _not_worse(
    config: Config, card: Mapping[str, Any], production: Mapping[str, Any], wanted: str, rule: Margin
) -> Criterion:
    asked: Literal["not worse than production"] = "not worse than production"
    path = judged_by(config, card, wanted)
    ours = find_score(card, path or wanted)
    if path is None and ours is not None:
        return Criterion(wanted, asked, None, None, margin=rule.margin, by=rule.by, note=str(ours.get("reason")))
    path = path or wanted
    theirs = find_score(production, path)
    if theirs is None or theirs["value"] is None:
        reason = (theirs or {}).get("reason") or production.get("reason") or f"production has no {path}"
        value = ours["value"] if ours else None
        return Criterion(path, asked, value, None, margin=rule.margin, by=rule.by, note=reason)
    if ours is None or ours["value"] is None:
        said = f"{path} is missing, production has {theirs['value']}"
        return Criterion(path, asked, None, theirs["value"], margin=rule.margin, by=rule.by, ok=False, note=said)
    return _compared(path, ours["value"], theirs["value"], (production.get("differences") or {}).get(path) or {}, rule)


def _compared(path: str, ours: float, theirs: float, paired: Mapping[str, Any], rule: Margin) -> Criterion:
    difference, interval = paired.get("value", round(ours - theirs, 5)), _ends(paired)
    sign = -1 if _lower_is_better(path) else 1
    tested = difference if rule.by == "value" else interval and interval[0 if sign > 0 else 1]
    ok = tested is not None and sign * tested >= -rule.margin
    note = ""
    if not ok and tested is None:
        note = f"{path}: the difference from production has no interval to judge by"
    elif not ok and sign * difference < -rule.margin:
        note = f"{path} {ours} is worse than production's {theirs} by more than {rule.margin}"
    elif not ok:
        note = (
            f"{path} {ours} may be worse than production's {theirs} by more than {rule.margin}: "
            f"the difference is {difference}, its 95 % interval {_told(interval)}"
        )
    return Criterion(
        path, "not worse than production", ours, theirs, difference, interval, rule.margin, rule.by, ok, note
    )  # fmt: skip


def _like_production(rule: ShadowRule, figures: Mapping[str, Any]) -> list[Criterion]:
    """`figures`: a score by name, as `promotion/shadow.py` makes them."""
    photos = (figures.get("photos") or {}).get("compared", 0)
    enough = photos >= rule.photos
    said = "" if enough else f"{photos} of {rule.photos} photos were read beside production: likeness serve --shadow"
    criteria = [Criterion("shadow.photos", IN_SERVICE, photos, None, margin=rule.photos, ok=enough, note=said)]
    for name, limit in rule.model_dump(exclude={"photos"}, exclude_none=True).items() if enough else ():
        criteria.append(_within(f"shadow.{name}", figures.get(name) or {}, limit, -1 if name == "similarity" else 1))
    return criteria


def _within(path: str, score: Mapping[str, Any], limit: float, sign: int) -> Criterion:
    """`sign`: 1 where the limit is the largest value, −1 where it is the least."""
    value, interval = score.get("value"), _ends(score)
    tested = interval and interval[1 if sign > 0 else 0]
    ok = tested is not None and sign * tested <= sign * limit
    note = f"{path} {value}, interval {_told(interval)}: it may be {'above' if sign > 0 else 'below'} {limit}"
    return Criterion(path, IN_SERVICE, value, None, None, interval, limit, "interval", ok, "" if ok else note)


def judged_by(config: Config, card: Mapping[str, Any], path: str) -> str | None:
    """The score that stands for `path`: itself, its fallback, or none where the character cannot have either."""
    score = find_score(card, path)
    if score is None or score["value"] is not None or "reason" not in score:
        return path
    fallback = config.stand_ins.get(path)
    found = find_score(card, fallback) if fallback else None
    return fallback if found and found["value"] is not None else None


def replaced(config: Config, card: Mapping[str, Any]) -> dict[str, str]:
    """The gate's scores that this character cannot have: what was judged instead, and why."""
    found = {}
    for path in dict.fromkeys([*config.beats_baseline, *config.not_worse]):
        fallback, score = judged_by(config, card, path), find_score(card, path)
        if fallback != path and score:
            found[path] = f"judged by {fallback}: {score['reason']}" if fallback else f"not judged: {score['reason']}"
    return found


def find_score(card: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    """The {"value", …} at a dotted path, None where there is none."""
    found: Any = card
    for key in path.split("."):
        if not isinstance(found, dict) or key not in found:
            return None
        found = found[key]
    return found if isinstance(found, dict) and "value" in found else None


def markdown(result: GateResult) -> str:
    """The result as a Markdown table."""
    rows = [f"| {' | '.join(cells)} |" for cells in cells_of(result)]
    return "\n".join([f"| {' | '.join(COLUMNS)} |", "|---|---|---|---|---|---|---|---|", *rows])


COLUMNS = ("score", "must be", "candidate", "against", "difference", "95 %", "margin", "ok")


def cells_of(result: GateResult) -> Iterator[tuple[str, ...]]:
    """One row of text for each criterion, under COLUMNS."""
    for each in result.criteria:
        mark = {True: "yes", False: "NO", None: f"not judged: {each.note}"}[each.ok]
        margin = "" if each.margin is None else f"{each.margin:g} by {each.by}"
        figures = (each.candidate, each.reference)
        difference = "" if each.difference is None else f"{each.difference:+.4f}"
        values = ("–" if value is None else f"{value:.4f}" for value in figures)
        interval = _told(each.interval) if each.interval else ""
        yield each.score, each.asked, *values, difference, interval, margin or f"by {each.by}", mark


def _ends(score: Mapping[str, Any]) -> tuple[float, float] | None:
    ends = score.get("ci")
    return (float(ends[0]), float(ends[1])) if ends else None


def _told(interval: tuple[float, float] | None) -> str:
    return f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "(it has none)"


def _lower_is_better(path: str) -> bool:
    return path.rpartition(".")[2] in LOWER_IS_BETTER
