"""What a client has to know of a character to show it and to let a person change it: the document of `/v1/schema`.

The document names URLs of geometry (`pieces`) and pictures (`textures`). Which groups and sliders an answer depends on
stands beside its URL, so that a client knows nothing of one character in particular.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from engine import beards, expressions, hair, rest
from engine.schema import Group, Schema, Slider, tidied

FIGURE_URL = "/v1/figure"
THUMBNAIL_SIZE = 160
# A part for the groups of a schema that says nothing of where people look for them.
LOOK = ("look", "Look")
WORN_MESHES = {name: (name,) for name in ("lashes", "brows", "beard", "hair")} | {"glasses": ("glasses", "lenses")}
SKIN_MESHES = ("skin", "mouth", "eye_left", "eye_right", "teeth")
ACTIONS = ("eyeBlinkLeft", "eyeBlinkRight")
"""The face actions that pieces have: a figure that blinks seems alive."""
MOVED = ("head", "lashes", "brows", "beard")
"""Pieces whose other face actions are in a file of their own, for clients that show expressions."""

Use = Literal["base_colour", "normals"]
Targets = Literal["sliders", "actions"]
"""Which morph targets a file of a piece has."""
STEP = 0.05
"""A slider's values between two steps are one picture: nobody sees the difference, and it is there already."""
WORN_TEXTURES = ("eyes", "lashes", "brows", "beard", "hair", "glasses")
HAIR_TINTS = ("hair_lightness", "hair_warmth")
PAINTED = ("skin", "hair", "hair_colour", "beard", "lips", "eye_makeup")
# Each picture's file format, use, materials, and the groups and sliders that it depends on.
TEXTURES: dict[str, tuple[str, Use, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "skin": (
        "jpg",
        "base_colour",
        ("skin", "mouth"),
        PAINTED,
        ("sex", "age", "skin_lightness", "skin_warmth", *HAIR_TINTS),
    ),
    "skin_normals": ("jpg", "normals", ("skin",), ("skin",), ("sex", "age")),
    "eyes": ("webp", "base_colour", ("eyes",), ("eyes",), ()),
    "lashes": ("webp", "base_colour", ("lashes",), ("lashes", "hair_colour"), HAIR_TINTS),
    "brows": ("webp", "base_colour", ("brows",), ("brows", "hair_colour"), HAIR_TINTS),
    "teeth": ("jpg", "base_colour", ("teeth",), (), ()),
    "beard": ("webp", "base_colour", ("beard",), ("beard", "hair_colour"), HAIR_TINTS),
    "hair": ("webp", "base_colour", ("hair",), ("hair", "hair_colour"), HAIR_TINTS),
    "glasses": ("webp", "base_colour", ("glasses",), ("glasses",), ()),
}


class PublishedSlider(BaseModel):
    """A slider, its value in [0, 1]. The targets are morph targets of the pieces, see Figure.formula."""

    name: str
    label: str
    part: str
    neutral: float
    reach: float
    negative: str | None = Field(default=None, description="the target below the neutral value")
    positive: str | None = Field(default=None, description="the target above the neutral value")
    low: str | None = Field(default=None, description="what people call 0", examples=["narrow"])
    high: str | None = Field(default=None, description="what people call 1", examples=["wide"])


class PublishedChoice(BaseModel):
    name: str
    label: str
    thumbnail: str | None = Field(description="URL of a picture; null where nothing can draw the character")
    colour: str | None = Field(default=None, description="#rrggbb, of a choice that stands for a colour")


class PublishedGroup(BaseModel):
    name: str
    label: str
    part: str
    neutral: str
    choices: list[PublishedChoice]


class SchemaPart(BaseModel, title="Part"):
    """Sliders and groups that people look for in one place, by name."""

    name: str
    label: str
    sliders: list[str]
    groups: list[str]


class Piece(BaseModel):
    """Geometry as .glb, on the template, all influences 0. To `url` is added `&<group>=<choice>`."""

    name: str
    url: str
    group: str | None = Field(description="the group whose choice it shows")
    absent: list[str] = Field(description="choices of that group that have no geometry")
    meshes: list[str]
    actions: str | None = Field(
        default=None,
        description="like `url`: the same meshes with the targets of the other face actions instead of the sliders'",
    )


class Rounded(BaseModel):
    name: str
    step: float


class Texture(BaseModel):
    """A picture. To `url` are added `&<group>=<choice>` for all `groups`, then `&<slider>=<value>` for all `sliders`,
    each rounded to its step, with two decimals."""

    name: str
    url: str
    use: Use
    materials: list[str] = Field(description="materials of the pieces that it belongs to")
    groups: list[str]
    sliders: list[Rounded] = []
    absent: dict[str, list[str]] = Field(default={}, description="choices, by group, with which there is none")


class Lids(BaseModel):
    """By how much more than on the template a blink weighs on a face, see Figure.formula."""

    gap: list[float] = Field(description="metres between the lids at some places of the template's eye")
    targets: dict[str, list[float]] = Field(description="by how much each target changes it there")
    limits: list[float] = Field(description="the least and the most that a blink may weigh more")


class ReferenceCamera(BaseModel, title="Camera"):
    """The camera of the engine's own picture; it looks along −Z, and the point between the eyes is the origin."""

    distance: float = Field(description="metres before the eyes")
    width: float = Field(description="metres that the picture spans at the eyes")
    level: float = Field(description="where the eyes are, as a share of the picture's height from its top")


class Figure(BaseModel):
    """How the template becomes the character, and where its geometry and pictures are."""

    formula: str = Field(description="how the influence of a morph target follows from the sliders")
    curves: dict[str, Any]
    shares: dict[str, str]
    products: dict[str, list[str]]
    rest: dict[str, float] = {}
    actions: list[str] = Field(description="face actions that the pieces have targets for")
    resting: dict[str, float] = Field(
        default={}, description="how much of some face actions the template holds: less of them is a straight face"
    )
    lids: dict[str, Lids] = {}
    expressions: dict[str, dict[str, float]] = Field(
        default={}, description="named expressions: the weights of face actions, also of those in `actions` of a piece"
    )
    face_actions: dict[str, float] = Field(
        default={}, description="every face action, named as ARKit's, and the largest weight that the meshes can show"
    )
    camera: ReferenceCamera
    pieces: list[Piece]
    textures: list[Texture]


class SchemaDocument(BaseModel):
    """All that a client can set, in a person's order and words."""

    character: str
    label: str
    schema_md5: str
    version: str = Field(description="of all that the URLs in here name")
    parts: list[SchemaPart]
    sliders: list[PublishedSlider]
    groups: list[PublishedGroup]
    figure: Figure | None = Field(description="null for a character whose geometry its own engine keeps to itself")


def schema_document(
    schema: Schema,
    md5: str,
    version: str,
    *,
    thumbnails: bool,
    colours: Mapping[str, dict[str, str | None]] | None = None,
    basis: dict[str, Any] | None = None,
    camera: dict[str, float] | None = None,
) -> SchemaDocument:
    """The document of one character.

    Args:
        md5: of the schema, as in character.json.
        version: changes with all that an URL's answer depends on.
        thumbnails: whether something can draw them.
        colours: by group and choice.
        basis: `Basis.description()` of the embedded engine; None for others.
        camera: the fields of ReferenceCamera, likewise.
    """
    targets = {slider["name"]: slider for slider in basis["sliders"]} if basis else {}
    figure = _figure(schema, version, basis, camera) if basis is not None and camera is not None else None
    drawn = version if thumbnails else None
    return SchemaDocument(
        character=schema.name,
        label=schema.label,
        schema_md5=md5,
        version=version,
        parts=_parts(schema),
        sliders=[_slider(slider, targets.get(slider.name, {})) for slider in schema.sliders],
        groups=[_group(group, drawn, (colours or {}).get(group.name, {})) for group in schema.groups],
        figure=figure,
    )


def pieces_of(schema: Schema) -> dict[str, tuple[str | None, tuple[str, ...]]]:
    """The group and the meshes of each piece."""
    worn = {name: (name, meshes) for name, meshes in WORN_MESHES.items() if name in schema.group_index}
    return {"head": (None, SKIN_MESHES), **worn}


def textures_of(schema: Schema, version: str) -> list[Texture]:
    """All pictures of a character: those of its skin, and one for each group whose choices have a picture."""
    found = []
    for name, (form, use, materials, groups, sliders) in TEXTURES.items():
        if name in WORN_TEXTURES and name not in schema.group_index:
            continue
        found.append(
            Texture(
                name=name,
                url=f"{FIGURE_URL}/{name}.{form}?v={version}",
                use=use,
                materials=list(materials),
                groups=[group for group in groups if group in schema.group_index],
                sliders=[Rounded(name=slider, step=STEP) for slider in sliders if slider in schema.slider_index],
                absent={name: absent} if name in WORN_TEXTURES and (absent := _absent(schema, name)) else {},
            )
        )
    return found


def _absent(schema: Schema, group: str) -> list[str]:
    choices = schema.groups[schema.group_index[group]].choices
    painted = hair.PAINTED if group == "hair" else set(choices) - set(beards.LENGTHS) if group == "beard" else ()
    return [choice for choice in choices if choice in {"none", *painted}]


def _figure(schema: Schema, version: str, basis: dict[str, Any], camera: dict[str, float]) -> Figure:
    pieces = [
        Piece(
            name=name,
            url=f"{FIGURE_URL}/{name}.glb?v={version}",
            group=group,
            absent=_absent(schema, group) if group else [],
            meshes=list(meshes),
            actions=f"{FIGURE_URL}/{name}.glb?v={version}&targets=actions" if name in MOVED else None,
        )
        for name, (group, meshes) in pieces_of(schema).items()
    ]
    kept = {name: basis[name] for name in ("formula", "curves", "shares", "products", "lids")}
    actions = [name for name in ACTIONS if name in basis["actions"]]
    return Figure(
        **kept,
        actions=actions,
        resting=rest.resting(),
        expressions=_expressions(basis["actions"]),
        face_actions={name: expressions.LIMITS.get(name, 1.0) for name in basis["actions"]},
        camera=ReferenceCamera(**camera),
        pieces=pieces,
        textures=textures_of(schema, version),
    )


def _expressions(actions: Sequence[str]) -> dict[str, dict[str, float]]:
    """Every named expression by what the mesh can show of it."""
    columns = {name: number for number, name in enumerate(actions)}
    found = {
        name: expressions.weights_of(expressions.named(name), columns).tolist() for name in expressions.EXPRESSIONS
    }
    return {
        name: {action: round(weight, 3) for action, weight in zip(actions, weights, strict=True) if weight > 0}
        for name, weights in found.items()
    }


def _slider(slider: Slider, target: dict[str, Any]) -> PublishedSlider:
    low, high = slider.ends or (None, None)
    # Some labels say what 0 and 1 are: no need to, where `ends` does.
    label = re.sub(r" \(0 .*\)$", "", slider.label) if slider.ends else slider.label
    return PublishedSlider(
        name=slider.name,
        label=label,
        part=slider.part,
        neutral=slider.neutral,
        reach=slider.reach,
        negative=target.get("negative"),
        positive=target.get("positive"),
        low=low,
        high=high,
    )


def _group(group: Group, version: str | None, colours: dict[str, str | None]) -> PublishedGroup:
    choices = [
        PublishedChoice(
            name=choice,
            label=group.label_of(choice),
            thumbnail=version and f"{FIGURE_URL}/thumbnails/{group.name}/{choice}.jpg?v={version}",
            colour=colours.get(choice),
        )
        for choice in group.choices
    ]
    part = group.part or LOOK[0]
    return PublishedGroup(name=group.name, label=group.label, part=part, neutral=group.neutral, choices=choices)


def _parts(schema: Schema) -> list[SchemaPart]:
    """The parts that the schema names, in its order, then others in the order in which they appear."""
    labels = dict([LOOK]) | schema.parts
    used = [*(s.part for s in schema.sliders), *(g.part or LOOK[0] for g in schema.groups)]
    ordered = [*(name for name in schema.parts if name in used), *used]
    return [
        SchemaPart(
            name=name,
            label=labels.get(name) or tidied(name),
            sliders=[slider.name for slider in schema.sliders if slider.part == name],
            groups=[group.name for group in schema.groups if (group.part or LOOK[0]) == name],
        )
        for name in dict.fromkeys(ordered)
    ]
