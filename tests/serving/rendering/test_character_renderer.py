"""What a client draws from pieces and textures is what the engine draws."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import sampler
from engine.renderer import Renderer
from serving.rendering.embedded_renderer import EmbeddedRenderer
from serving.rendering.errors import CannotDraw
from serving.rendering.schema_document import SchemaDocument
from serving.rendering.worker import open_renderer
from tests.engine.exporters.readers import complaints
from tests.engine.gltf_reader import Gltf
from tests.serving.rendering.conftest import CHARACTER, EMBEDDED, document

TENTH_OF_A_MILLIMETRE = 1e-4
WORN = {"beard": "goatee", "hair": "bob01", "brows": "eyebrow009", "lashes": "lashes04", "glasses": "wayfarer_black"}
ON_THE_WIRE = {
    "head": 900_000, "beard": 70_000, "hair": 1_000_000, "brows": 50_000, "lashes": 50_000, "glasses": 150_000,
}  # fmt: skip
"""Bytes."""


@pytest.fixture(scope="module")
def character_renderer() -> EmbeddedRenderer:
    opened = open_renderer(CHARACTER, EMBEDDED, "cpu")
    assert isinstance(opened, EmbeddedRenderer)
    return opened


@pytest.fixture(scope="module")
def published(character_renderer: EmbeddedRenderer) -> SchemaDocument:
    return character_renderer.document()


def bare(content: bytes) -> Gltf:
    """A reader of a file without a description."""
    reader = Gltf.__new__(Gltf)
    size = int.from_bytes(content[12:16], "little")
    reader.document, reader.binary = json.loads(content[20 : 20 + size]), content[20 + size + 8 :]
    return reader


@pytest.mark.slow
def test_pieces_follow_the_sliders_as_the_engine_does(
    character_renderer: EmbeddedRenderer, published: SchemaDocument, renderer: Renderer
) -> None:
    """Any slider anywhere, by nothing but the published formula. Pieces are rounded to 8 µm a target."""
    sliders, choices = sampler.uniform(renderer.schema, 4, np.random.default_rng(5))
    for group in ("beard", "hair", "glasses"):
        choices[:, renderer.schema.group_index[group]] = renderer.schema.choice(group, WORN[group])
    figure = published.figure
    assert figure is not None
    about: dict[str, Any] = {"sliders": [s.model_dump() for s in published.sliders], **figure.model_dump()}
    for values, numbers in zip(sliders, choices, strict=True):
        chosen = {g.name: g.choices[n] for g, n in zip(renderer.schema.groups, numbers, strict=True)}
        expected, seen = renderer.vertices(values[None], numbers[None])[0], 0
        for piece in figure.pieces:
            reader = bare(character_renderer.piece(piece.name, chosen.get(piece.group or "")))
            assert [mesh["name"] for mesh in reader.document["meshes"]] == piece.meshes
            reader.about = about
            influences = reader.influences(dict(zip(renderer.schema.slider_index, values.tolist(), strict=True)))
            for number, point in reader.shape(influences).items():
                assert np.linalg.norm(point - expected[number]) < TENTH_OF_A_MILLIMETRE
                seen += 1
        assert seen > 5000


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["head", "hair", "brows", "lashes", "glasses"])
def test_khronos_validator_finds_nothing_in_a_piece(
    character_renderer: EmbeddedRenderer, published: SchemaDocument, piece: str, tmp_path: Path
) -> None:
    content = character_renderer.piece(piece, WORN.get(piece))
    (tmp_path / "x.glb").write_bytes(content)
    report = complaints(tmp_path / "x.glb")
    assert report["numErrors"] == report["numWarnings"] == 0, report["messages"]
    assert report["info"]["hasMorphTargets"] and not report["info"]["hasTextures"]
    assert len(gzip.compress(content)) < ON_THE_WIRE[piece]


def test_a_piece_has_the_targets_of_all_sliders_and_of_a_blink(
    character_renderer: EmbeddedRenderer, published: SchemaDocument
) -> None:
    meshes = bare(character_renderer.piece("head", None)).document["meshes"]
    names = {name for mesh in meshes for name in mesh["extras"]["targetNames"]}
    asked = {target for slider in published.sliders for target in (slider.negative, slider.positive) if target}
    assert published.figure is not None
    blinks = {"eyeBlinkLeft", "eyeBlinkRight"}
    assert asked | blinks <= names <= asked | blinks | set(published.figure.products)


def test_face_actions_are_in_files_of_their_own_and_expressions_are_made_of_them(
    character_renderer: EmbeddedRenderer, published: SchemaDocument
) -> None:
    assert published.figure is not None
    moved = [piece.name for piece in published.figure.pieces if piece.actions]
    assert moved == ["head", "lashes", "brows", "beard"]
    files = {name: character_renderer.piece(name, WORN.get(name), "actions") for name in moved}
    assert sum(len(gzip.compress(content)) for content in files.values()) < 480_000
    meshes = [mesh for content in files.values() for mesh in bare(content).document["meshes"]]
    names = {name for mesh in meshes for name in mesh["extras"].get("targetNames", [])}
    laugh = published.figure.expressions["laugh"]
    assert {"jawOpen", "mouthSmileLeft", "mouthSmileRight"} <= laugh.keys() and max(laugh.values()) <= 1
    assert names >= {action for weights in published.figure.expressions.values() for action in weights} - set(
        published.figure.actions
    )


@pytest.mark.slow
def test_textures_depend_on_what_the_schema_says_and_on_nothing_else(
    character_renderer: EmbeddedRenderer, published: SchemaDocument
) -> None:
    assert published.figure is not None
    for texture in published.figure.textures:
        worn = {group.name: group.choices[-1].name for group in published.groups} | {"hair": "receding01"}
        still = character_renderer.texture(texture.name, worn, {})
        for group in published.groups:
            other = {**worn, group.name: group.choices[1 if group.name == "skin" else 0].name}
            if other[group.name] in (absent := texture.absent.get(group.name, ())):
                other[group.name] = next(choice.name for choice in group.choices if choice.name not in absent)
            assert (character_renderer.texture(texture.name, other, {}) != still) == (group.name in texture.groups), (
                group.name
            )
        rounded = {slider.name for slider in texture.sliders}
        others = {slider.name: 0.9 for slider in published.sliders if slider.name not in rounded}
        assert character_renderer.texture(texture.name, worn, others) == still
        for name in rounded:
            assert character_renderer.texture(texture.name, worn, {name: 0.9}) != still


def test_the_skin_is_the_renderers(character_renderer: EmbeddedRenderer, renderer: Renderer) -> None:
    import cv2

    sliders, choices = renderer.schema.neutral_sliders()[None], renderer.schema.neutral_discrete()[None].copy()
    choices[0, renderer.schema.group_index["beard"]] = renderer.schema.choice("beard", "full")
    content = np.frombuffer(character_renderer.texture("skin", {"beard": "full"}, {}), np.uint8)
    sent = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR_RGB), int)
    true = renderer.skin(sliders, choices)
    painted = true.any(axis=2)
    assert np.abs(sent - true)[painted].mean() < 4


@pytest.mark.slow
def test_thumbnails_of_one_group_differ(character_renderer: EmbeddedRenderer, published: SchemaDocument) -> None:
    group = next(group for group in published.groups if group.name == "brows")
    drawn = [character_renderer.thumbnail(group.name, choice.name) for choice in group.choices]
    assert len(set(drawn)) == len(drawn)
    assert character_renderer.thumbnail("brows", "eyebrow001") == drawn[0]


def test_choices_that_are_a_colour_say_which(published: SchemaDocument) -> None:
    colours = {g.name: {c.name: c.colour for c in g.choices} for g in published.groups}
    light = {name: int(colour[1:3], 16) for name, colour in colours["skin"].items() if colour}
    assert list(light) == sorted(light, key=lambda name: light[name]) and len(light) == 6
    red, green, blue = (int(str(colours["lips"]["red"])[at : at + 2], 16) for at in (1, 3, 5))
    assert red > 2 * max(green, blue)
    assert set(colours["hair"].values()) == {None} and colours["lips"]["natural"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_md5": "0" * 32}, "another schema"),
        ({"character": "orc"}, "made for orc"),
        ({"parameters": {}}, "do not fit"),
        ({"parameters": None}, "not valid"),
        ({"discrete": {"skin": {"choice": "green"}}}, "do not fit"),
    ],
)
def test_a_document_that_does_not_fit_is_refused_in_words(
    character_renderer: EmbeddedRenderer, change: dict, words: str
) -> None:
    with pytest.raises(CannotDraw, match=words):
        character_renderer.glb({**document(CHARACTER), **change})
    with pytest.raises(CannotDraw, match="pixels"):
        character_renderer.png(document(CHARACTER), 100_000)


def test_a_studios_own_character_has_pictures_but_no_geometry(clay: Path) -> None:
    character_renderer = open_renderer(clay, EMBEDDED, "cpu")
    assert character_renderer.png(document(clay), 64).startswith(b"\x89PNG")
    assert character_renderer.thumbnail("glaze", "red") != character_renderer.thumbnail("glaze", "dark_blue")
    for draw in (character_renderer.glb, character_renderer.vrm, character_renderer.mhm):
        with pytest.raises(CannotDraw, match="engine of its own"):
            draw(document(clay))


def test_exported_pairs_alone_draw_nothing(marble_character: Path) -> None:
    character_renderer = open_renderer(marble_character, EMBEDDED, "cpu")
    assert character_renderer.document().figure is None
    with pytest.raises(CannotDraw, match="only pairs"):
        character_renderer.png(document(marble_character), 256)
