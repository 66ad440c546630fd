"""What a face wears: which parts of the head show the choices of which groups."""

from engine import beards, glasses

WORN = ("lashes", "brows", "beard", "hair", "glasses")
"""Groups whose choices are parts of the head."""
ALWAYS = ("base", "eyes", "teeth")
"""Parts that every face has."""


def worn_parts(group: str, choice: str) -> dict[str, str]:
    """The parts of the head that show a choice of a group, by what exporters call them; the head need not have them."""
    if group == "glasses":
        return glasses.parts_of(choice)
    return {group: beards.part_of(choice) if group == "beard" else choice}
