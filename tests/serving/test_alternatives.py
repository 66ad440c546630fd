"""How sure an answer is, and what else the photo may show."""

from typing import Any

from serving.alternatives import alternatives_of, confidence_of


def document(**probabilities: dict[str, float]) -> dict[str, Any]:
    """A character.json with the likeliest choice of each group."""
    chosen = {
        group: {"choice": max(of, key=lambda choice: of[choice]), "probabilities": of}
        for group, of in probabilities.items()
    }
    return {"discrete": chosen}


def test_the_likeliest_come_first_and_may_change_two_groups() -> None:
    sure = {"tone1": 0.95, "tone2": 0.05}
    one = document(hair={"a": 0.5, "b": 0.4, "c": 0.1}, beard={"none": 0.6, "full": 0.3}, skin=sure)
    assert confidence_of(one) == {"hair": 0.5, "beard": 0.6, "skin": 0.95}
    assert alternatives_of(one) == [
        {"discrete": {"hair": "b"}, "relative": 0.8},
        {"discrete": {"beard": "full"}, "relative": 0.5},
        {"discrete": {"hair": "b", "beard": "full"}, "relative": 0.4},
    ]


def test_what_was_changed_by_hand_is_certain_and_what_nobody_knows_is_not_said() -> None:
    one = {**document(hair={"a": 0.5, "b": 0.5}), "edited": ["hair", "nose_width"]}
    assert confidence_of(one) == {"hair": 1.0} and alternatives_of(one) == []
    assert confidence_of({"discrete": {"hair": {"choice": "a"}}}) == {}
    assert alternatives_of({"discrete": {"hair": {"choice": "a"}}}) == []
