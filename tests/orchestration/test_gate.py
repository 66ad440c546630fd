"""The gate's rules, on tables of figures."""

from typing import Any

import pytest
from pydantic import ValidationError

from orchestration.config.profiles import ProfileError, resolve_one
from orchestration.registry.gate import Config, Margin, evaluate, markdown

SIMILARITY = "likeness.similarity"


def score(value: float | None, baseline: float = 0.0, ci: tuple[float, float] | None = None, **more: Any) -> dict:
    return {"value": value, "baseline": baseline, "ci": ci, "n": 100, **more}


def card(
    ours: float | None = 0.90, theirs: float | None = 0.90, ci: tuple[float, float] | None = (-0.005, 0.005)
) -> dict[str, Any]:
    """A candidate's similarity and production's, and the 95 % interval of the difference."""
    found: dict[str, Any] = {"likeness": {"similarity": score(ours, 0.5, (0.85, 0.95))}}
    found["production"] = {"version": 1, "likeness": {"similarity": score(theirs, 0.5)}, "differences": {}}
    if ours is not None and theirs is not None:
        found["production"]["differences"][SIMILARITY] = {"value": round(ours - theirs, 5), "ci": ci, "n": 100}
    return found


def gate(by: str = "interval", margin: float = 0.02) -> Config:
    return Config(beats_baseline={SIMILARITY: "interval"}, not_worse={SIMILARITY: {"margin": margin, "by": by}})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("ours", "interval", "by_interval", "by_value"),
    [
        (0.90, (-0.005, 0.005), True, True),
        (0.95, (0.045, 0.055), True, True),
        (0.89, (-0.015, -0.005), True, True),  # certainly worse, by less than the margin
        (0.89, (-0.025, 0.005), False, True),  # may be worse by more
        (0.91, (-0.030, 0.050), False, True),  # better by luck: too few people to tell
        (0.87, (-0.035, -0.025), False, False),
        (0.90, None, False, True),
    ],
)
def test_no_worse_than_production_by_more_than_the_margin(
    ours: float, interval: tuple[float, float] | None, by_interval: bool, by_value: bool
) -> None:
    found = card(ours, 0.90, interval)
    assert (not evaluate(gate("interval"), found).refusals) is by_interval
    assert (not evaluate(gate("value"), found).refusals) is by_value


def test_a_refusal_says_which_score_by_how_much_and_on_which_evidence() -> None:
    (clear,) = evaluate(gate(), card(0.85, 0.90, (-0.06, -0.04))).refusals
    assert clear == "likeness.similarity 0.85 is worse than production's 0.9 by more than 0.02"
    (unclear,) = evaluate(gate(), card(0.89, 0.90, (-0.03, 0.01))).refusals
    assert unclear == (
        "likeness.similarity 0.89 may be worse than production's 0.9 by more than 0.02: "
        "the difference is -0.01, its 95 % interval -0.0300 to 0.0100"
    )


def test_where_less_is_better_the_other_end_counts() -> None:
    rule = Config(beats_baseline={"imitator.l1": "value"}, not_worse={"imitator.l1": Margin(margin=0.01)})

    def found(difference: float, ci: tuple[float, float]) -> dict[str, Any]:
        ours = {"imitator": {"l1": score(0.1 + difference, 0.3)}}
        theirs = {"imitator": {"l1": score(0.1, 0.3)}, "differences": {"imitator.l1": {"value": difference, "ci": ci}}}
        return ours | {"production": theirs}

    assert not evaluate(rule, found(-0.05, (-0.06, -0.04))).refusals
    assert evaluate(rule, found(0.05, (0.04, 0.06))).refusals


def test_the_average_face_must_be_beaten_beyond_the_interval() -> None:
    near = {"likeness": {"similarity": score(0.52, 0.5, (0.48, 0.56))}}
    assert "does not beat the average face's 0.5 beyond its interval" in evaluate(gate(), near).refusals[0]
    assert not evaluate(Config(beats_baseline=[SIMILARITY], not_worse={}), near).refusals  # pyright: ignore[reportArgumentType]
    assert evaluate(gate(), {}).refusals == ["likeness.similarity is missing from the scorecard"]


def test_without_another_version_in_production_the_average_face_is_all_there_is_to_beat() -> None:
    first = {**card(), "production": None}
    assert not evaluate(gate(), first).refusals and not evaluate(gate(), first).compared


def test_what_production_cannot_be_scored_by_is_passed_over_unless_nothing_is_left() -> None:
    found = card(0.90, None)
    found["production"]["likeness"]["similarity"]["reason"] = "it was registered before"
    (refusal,) = evaluate(gate(), found).refusals
    assert refusal == "no score could be compared with production's: it was registered before"
    found["recovery"] = {"visible": score(0.3)}
    found["production"]["recovery"] = {"visible": score(0.3)}
    found["production"]["differences"]["recovery.visible"] = {"value": 0.0, "ci": (-0.001, 0.001)}
    both = gate().model_copy(
        update={"not_worse": {SIMILARITY: Margin(margin=0), "recovery.visible": Margin(margin=0.1)}}
    )
    result = evaluate(both, found)
    passed_over = {each.score: each.note for each in result.criteria if each.ok is None}
    assert not result.refusals and passed_over == {SIMILARITY: "it was registered before"}


def test_the_figures_that_decided_are_for_the_record() -> None:
    result = evaluate(gate(), card(0.91, 0.90, (0.005, 0.015)))
    assert result.against() == {
        SIMILARITY: {
            "candidate": 0.91, "production": 0.9, "difference": 0.01, "interval": (0.005, 0.015), "margin": 0.02,
            "by": "interval", "ok": True,
        }
    }  # fmt: skip
    table = markdown(result).splitlines()
    assert table[0].startswith("| score |") and len(table) == 4
    assert table[3] == (
        "| likeness.similarity | not worse than production | 0.9100 | 0.9000 | +0.0100 | 0.0050 to 0.0150 | "
        "0.02 by interval | yes |"
    )


def test_a_profile_may_give_plain_numbers_names_or_whole_rules(tmp_path: Any) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(
        "production_encoder:\n"
        "  auto_promote: false\n"
        "  beats_baseline: [recovery.visible]\n"
        "  not_worse: {likeness.rank1: 0.05, recovery.visible: {margin: 0.02, by: interval}}\n"
    )
    found = resolve_one(str(path), "production_encoder", Config)
    assert not found.auto_promote and found.beats_baseline == {"recovery.visible": "value"}
    assert found.not_worse["likeness.rank1"] == Margin(margin=0.05, by="value")
    assert found.not_worse["recovery.visible"].by == "interval"
    path.write_text("production_encoder: {not_worse: {likeness.rank1: {margin: -1}}}\n")
    with pytest.raises(ProfileError, match=r"not_worse.likeness.rank1.margin"):
        resolve_one(str(path), "production_encoder", Config)
    with pytest.raises(ValidationError):
        Config(not_worse={"a": {"margin": 0.1, "by": "luck"}})  # pyright: ignore[reportArgumentType]
