"""How sure an answer is, and what else the photo may show."""

from typing import Any

from serving.alternatives import alternatives_of, confidence_of, likely_of


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


def test_what_is_likely_of_a_group_begins_with_what_was_read_of_it() -> None:
    hair = {"a": 0.4, "b": 0.13, "c": 0.2, "d": 0.14, "e": 0.13}
    one = document(hair=hair, skin={"tone1": 0.95, "tone2": 0.05})
    assert likely_of(one) == {"hair": ["a", "c", "d", "b"]}
    changed = {**one, "read": {"parameters": {}, "discrete": {"hair": "b"}}}
    assert likely_of(changed) == {"hair": ["b", "a", "c", "d"]}
    assert likely_of({"discrete": {"hair": {"choice": "a"}}}) == {}
