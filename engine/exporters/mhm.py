"""A character as MakeHuman's own model file (.mhm, version 1.2): the same modifiers, so that MakeHuman or MPFB shows
the same head.

A modifier `nose/nose-hump-decr|incr` is in [-1, 1]: below 0 it applies the target `nose-hump-decr`, above 0
`nose-hump-incr`. One without a bar is in [0, 1]. Macro modifiers are in [0, 1], age with 25 years at 0.5 and 90 at 1.
The targets of asymmetry have no modifier: each goes by its own name, which MPFB takes and MakeHuman passes over.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from engine import skins, textures
from engine.exporters.basis import SHARES, directions, morph_weight
from engine.schema import Schema

# The words that end the names of opposite targets, the one below 0 first.
OPPOSITES = (
    ("decr", "incr"), ("down", "up"), ("in", "out"), ("backward", "forward"), ("concave", "convex"),
    ("compress", "uncompress"), ("square", "round"), ("pointed", "triangle"),
)  # fmt: skip
MIDDLE = (
    "macrodetails-universal/Muscle",
    "macrodetails-height/Height",
    "macrodetails-proportions/BodyProportions",
    "breast/BreastSize",
    "breast/BreastFirmness",
)
# MakeHuman's name and identifier of each asset.
EYES = ("HighPolyEyes", "2c12f43b-1303-432c-b7ce-d78346baf2e6")
ASSETS = {
    "eyebrow001": ("eyebrow001", "9c81ec3a-faa5-4c94-9cdb-992300ba3084"),
    "eyebrow002": ("eyebrow002", "a4e73c2f-3a12-47c8-b706-31a68cac6907"),
    "eyebrow003": ("eyebrow003", "4089e4e3-b842-40f4-91a4-0686118f7535"),
    "eyebrow004": ("eyebrow004", "eb028b6d-3ff8-40c7-a2ea-4d9aa808b38d"),
    "eyebrow005": ("eyebrow005", "9da0aea6-fdf3-4862-baa4-0d122074179a"),
    "eyebrow006": ("eyebrow006", "bb953a1a-db43-44db-a0ad-ed8a5d6000c9"),
    "eyebrow007": ("eyebrow007", "f2092456-86eb-423f-a5c6-2e0b3117d664"),
    "eyebrow008": ("eyebrow008", "79ea307f-a942-40dd-bf50-bbaa41f02034"),
    "eyebrow009": ("eyebrow009", "55b3b52a-379e-426d-b320-562ed57202b3"),
    "eyebrow010": ("eyebrow010", "8261cde8-7ce2-47f3-a7a2-edf459c50887"),
    "eyebrow011": ("eyebrow011", "19e43555-4613-4457-ac6e-c30bf350d275"),
    "eyebrow012": ("eyebrow012", "1c16325c-7831-4166-831a-05c5b609c219"),
    "lashes01": ("Eyelashes01", "d533836f-13ad-4836-8b65-051108253cd2"),
    "lashes02": ("eyelashes02", "04a0718e-aaa4-4480-a013-ad51703bef6b"),
    "lashes03": ("eyelashes03", "a311babf-a7fb-4d65-a1fc-94ab99fe520f"),
    "lashes04": ("eyelashes04", "efd75993-8de1-43fb-b410-adc203091d25"),
    "afro01": ("afro01", "59627022-32e9-4126-9cf1-036d4b9335fc"),
    "bob01": ("bob01", "a153cb9b-2a28-45fa-a526-04e45146268e"),
    "bob02": ("bob02", "cd7840cf-b340-49e9-a505-8a5a22a86db2"),
    "braid01": ("Braid01", "eead6f99-d6c6-4f6b-b6c2-210459d7a62e"),
    "long01": ("long01", "6c6b0bb1-3608-40b8-9108-4bfd8fa71e39"),
    "ponytail01": ("ponytail01", "44e0340e-c7a6-4d22-814c-0632968d2dde"),
    "short01": ("short01", "766436e9-63ed-4f6a-afa9-99f3acff70a8"),
    "short02": ("short02", "c104cd4a-1edc-43f9-8b94-f63345a44638"),
    "short03": ("short03", "a6cb8ad2-2e0d-4655-81ef-bfce1676ec67"),
    "short04": ("short04", "e09bfd91-f83f-4f9a-ba8c-4635cd1ae0d8"),
}
SLOTS = {"eyebrows": "brows", "eyelashes": "lashes", "hair": "hair"}
WITHOUT_EQUAL = ("beard", "lips", "eye_makeup", "hair_colour", "glasses")


def to_mhm(schema: Schema, sliders: NDArray[np.float32], choices: NDArray[np.integer], name: str) -> str:
    """The text of a .mhm file for slider values [S] and choice numbers [G]."""
    values = {s.name: float(v) for s, v in zip(schema.sliders, sliders, strict=True)}
    wanted = {g.name: g.choices[int(c)] for g, c in zip(schema.groups, choices, strict=True)}
    chosen = {group.name: group.like.get(wanted[group.name], wanted[group.name]) for group in schema.groups}
    lines = ["version v1.2.0", f"name {' '.join(name.split()) or 'character'}", "camera 0.0 0.0 0.0 0.0 0.0 1.0"]
    lines += [f"modifier {modifier} {value:.6f}" for modifier, value in modifiers(schema, values).items()]
    lines += [*_assets(chosen), "clothesHideFaces True"]
    lines += [f"skinMaterial {_skin(values, chosen)}", *_materials(chosen), "subdivide False"]
    lost = [f"{group} {chosen[group]}" for group in WITHOUT_EQUAL if chosen.get(group) not in (None, "none", "natural")]
    lost += [f"{group} {choice}" for group, choice in wanted.items() if choice != chosen[group]]
    if lost:
        lines.append(f"# MakeHuman has no like of: {', '.join(lost)}")
    return "\n".join(lines) + "\n"


def modifiers(schema: Schema, values: Mapping[str, float]) -> dict[str, float]:
    """Slider values to MakeHuman's modifiers: all macro ones, and the others that are not 0."""
    shares = np.array([values[slider] for slider in SHARES.values()])
    shares = shares / shares.sum() if shares.sum() > 1e-6 else np.full(len(shares), 1.0 / len(shares))
    found = {
        "macrodetails/Gender": values["sex"],
        "macrodetails/Age": 0.5 + 0.5 * values["age"],
        **{f"macrodetails/{word.capitalize()}": float(s) for word, s in zip(SHARES, shares, strict=True)},
        "macrodetails-universal/Weight": values.get("weight", 0.5),
        **dict.fromkeys(MIDDLE, 0.5),
    }
    for slider in schema.local:
        for sign, targets in directions(slider):
            weight = morph_weight(slider, sign, values[slider.name])
            for target in targets if weight > 1e-6 else ():
                modifier, direction = modifier_of(target)
                found[modifier] = found.get(modifier, 0.0) + direction * weight
    return found


def modifier_of(target: str) -> tuple[str, float]:
    """The modifier that applies a target (`nose/nose-hump-decr`), and the sign that its value then has."""
    folder, name = target.split("/")
    stem, _, word = name.rpartition("-")
    group = "measure" if name.startswith("measure-") else folder
    # `head/head-square` and `head/head-round` are no opposites but shapes of their own.
    if stem != folder:
        for negative, positive in OPPOSITES:
            if word in (negative, positive):
                return f"{group}/{stem}-{negative}|{positive}", 1.0 if word == positive else -1.0
    return target, 1.0


def _assets(chosen: Mapping[str, str]) -> Iterator[str]:
    yield f"eyes {EYES[0]} {EYES[1]}"
    for slot, group in SLOTS.items():
        if chosen.get(group) in ASSETS:
            yield f"{slot} {' '.join(ASSETS[chosen[group]])}"


def _materials(chosen: Mapping[str, str]) -> Iterator[str]:
    iris = chosen.get("eyes", "brown")
    yield f"material {EYES[0]} {EYES[1]} eyes/materials/{textures.IRIS_OF.get(iris, iris)}.mhmat"
    for group in SLOTS.values():
        if chosen.get(group) in ASSETS:
            name, identifier = ASSETS[chosen[group]]
            yield f"material {name} {identifier} {name.lower()}.mhmat"


def _skin(values: Mapping[str, float], chosen: Mapping[str, str]) -> str:
    """MakeHuman's skin that is nearest in tone, sex and age."""
    ancestry = skins.TONES[chosen["skin"]][0] if "skin" in chosen else "caucasian"
    age = skins.AGES[round(2.0 * float(skins.age_of(np.array(values["age"]))))]
    sex = skins.SEXES[int(values["sex"] >= 0.5)]
    name = f"{age}_{ancestry}_{sex}"
    return f"skins/{name}/{name}.mhmat"
