"""Which readings each choice is read from, and how the encoder's reader of choices is fitted to what is known."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from engine.schema import Schema
from models.choices import OLDEST, YOUNGEST
from models.encoder import Encoder, choices
from models.identity import IdentityModel
from models.parsing import FaceParser
from stages.training.features import LabelledFeatures

Family = Literal["identity", "high", "low", "middle", "colours", "outline", "attributes"]
KNOWS: dict[str, tuple[Family, ...]] = {
    "skin": ("low", "middle", "colours"),
    "hair": ("high", "colours", "outline"),
    "hair_colour": ("high", "colours"),
    "beard": ("low", "middle"),
}
"""What each group of this name is read from; the others from all maps and colours."""
OTHERS: tuple[Family, ...] = ("low", "middle", "high", "colours")


class Look(BaseModel, frozen=True, extra="forbid"):
    """How choices, sex and age are read by what knows each of them (`models.appearance`, `models.choices`)."""

    channels: int = Field(
        default=192, gt=0, description="principal channels kept of each level of the recogniser's maps"
    )
    features: int = Field(default=150, gt=0, description="numbers that each level is reduced to")
    decay: float = Field(default=0.01, gt=0, description="of the weights of a reading")
    decays: dict[str, float] = Field(
        default={"beard": 0.03},
        description="of groups whose reading wants more or less of it: drawn beards are less like life's than hair is",
    )
    bias: dict[str, dict[str, float]] = Field(
        default={
            "beard": {"none": 0.4, "moustache": -1.5, "circle": -0.7, "short_full": 1.0, "full": 1.0},
            "hair": {"short02": -1.0, "short06": -1.0},
        },
        description="log-odds added to choices. A beard that nobody has is seen at once, stubble that was missed is "
        "not. Readings find moustaches and short fringes on photos five times as often as people have them, and full "
        "beards half as often",
    )
    knows: dict[str, tuple[Family, ...]] = KNOWS


def seen_architecture(look: Look | None, schema: Schema, identity: IdentityModel, parser: FaceParser) -> dict[str, Any]:
    """The part of the encoder's architecture that reads choices, sex and age; empty without `look`."""
    if look is None:
        return {}
    number = {slider.name: column for column, slider in enumerate(schema.sliders)}
    return {
        "parser": parser.arguments,
        "sex_and_age_of_maps": identity.backbone.attributes is not None,
        "level_shapes": identity.backbone.level_shapes,
        "level_features": (look.channels, look.features),
        "choice_families": [group.families for group in schema.groups],
        "scales": [group.ordered for group in schema.groups],
        "sex": number.get("sex"),
        "age": number.get("age"),
    }


def fit_choices(encoder: Encoder, look: Look, schema: Schema, known: LabelledFeatures) -> None:
    """Fit the encoder's reader of choices to faces whose parameters are known."""
    assert encoder.choices is not None
    families = encoder.families
    columns = [
        np.concatenate([families[family] for family in look.knows.get(group.name, OTHERS) if family in families])
        for group in schema.groups
    ]
    decays = [look.decays.get(group.name, look.decay) for group in schema.groups]
    sex, age = (
        np.full(len(known), 0.5) if number is None else known.x[:, number].double().numpy()
        for number in (encoder.architecture.sex, encoder.architecture.age)
    )
    chosen = choices(known.x, schema.n_sliders, schema.group_sizes).numpy()
    years = YOUNGEST + (OLDEST - YOUNGEST) * age
    encoder.choices.fit(known.features.numpy(), chosen, columns, decays, sex, years)
    for number, group in enumerate(schema.groups):
        for choice, odds in look.bias.get(group.name, {}).items():
            if choice in group.choices:
                encoder.choices.add_odds(number, group.choices.index(choice), odds)
