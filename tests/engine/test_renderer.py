"""The character from parameters: geometry, pictures, label maps and landmarks agree with each other."""

from dataclasses import replace

import numpy as np
import pytest
import warp as wp
from numpy.typing import NDArray

from engine import expressions, sampler
from engine.camera_effects import apply_camera_effects
from engine.head import FACE, HAIR_LABEL, LEFT_EYE, LOWER_LIP, RIGHT_EYE, TEETH, UPPER_LIP
from engine.portrait_scenes import DomainRandomization, random_scene
from engine.renderer import Renderer
from engine.scenes import Scenes, head_rotation, load_backgrounds, load_panoramas


def neutral(renderer: Renderer, count: int = 1) -> tuple[NDArray, NDArray]:
    schema = renderer.schema
    return np.repeat(schema.neutral_sliders()[None], count, 0), np.repeat(schema.neutral_discrete()[None], count, 0)


def test_neutral_sliders_give_the_base_mesh(renderer: Renderer) -> None:
    """In float64, as only the phenotypes' own products may move the template at neutral."""
    head, blend = renderer.head, renderer.blend
    sliders, _ = neutral(renderer)
    names = [name for name in head.morph_names if name.startswith("macro/")]
    macros = head.morphs[[head.morph_index[name] for name in names]].astype(np.float64)
    expected = head.template + np.tensordot(blend.macro_weights(sliders)[0].astype(np.float64), macros, axes=1)
    got = blend(sliders, np.zeros((1, len(blend.actions)), np.float32))[0]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_each_slider_moves_the_mesh_both_ways_and_only_where_it_should(renderer: Renderer) -> None:
    schema, blend = renderer.schema, renderer.blend
    base = blend(neutral(renderer)[0], np.zeros((1, len(blend.actions)), np.float32))[0]
    for name in ("nose_width", "mouth_width", "chin_height"):
        for value in (0.0, 1.0):
            sliders, _ = neutral(renderer)
            sliders[0, schema.slider_index[name]] = value
            moved = np.linalg.norm(blend(sliders, np.zeros((1, len(blend.actions)), np.float32))[0] - base, axis=1)
            assert moved.max() > 0.001, f"{name} at {value} moves nothing by a millimetre"
            assert moved[base[:, 1] > 0.09].max() < 0.001, f"{name} moves the top of the head"


def test_ancestries_count_by_their_shares(renderer: Renderer) -> None:
    index = renderer.schema.slider_index
    sliders, _ = neutral(renderer, 2)
    columns = [index[name] for name in ("african", "asian", "european")]
    sliders[0, columns], sliders[1, columns] = [0.2, 0.1, 0.1], [0.8, 0.4, 0.4]
    weights = renderer.blend.macro_weights(sliders)
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-6)
    np.testing.assert_allclose(weights[:, :12].sum(axis=1), 1.0, atol=1e-5)


def test_same_parameters_give_the_same_bytes_in_any_batch(renderer: Renderer) -> None:
    sliders, choices = sampler.plausible(renderer.schema, 3, np.random.default_rng(5))
    first = renderer.render(sliders, choices, Scenes.game(3), 64)
    second = renderer.render(sliders, choices, Scenes.game(3), 64)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_labels_landmarks_and_colours_agree(renderer: Renderer) -> None:
    """Landmarks of the eyes lie on the eyes' label, hair covers the top, lips lie where their landmarks are."""
    schema = renderer.schema
    sliders, choices = neutral(renderer)
    choices[0, schema.group_index["hair"]] = schema.choice("hair", "short02")
    choices[0, schema.group_index["lips"]] = schema.choice("lips", "red")
    drawn = renderer.render(sliders, choices, Scenes.game(1), 256)
    labels, points = drawn.labels[0], drawn.landmarks[0]

    def centre(label: int) -> NDArray:
        rows, columns = np.nonzero(labels == label)
        return np.array([columns.mean(), rows.mean()])

    # iBUG 36-41 is the eye on the left of the picture, which is the person's right one.
    assert np.linalg.norm(centre(RIGHT_EYE) - points[36:42].mean(axis=0)) < 3
    assert np.linalg.norm(centre(LEFT_EYE) - points[42:48].mean(axis=0)) < 3
    assert centre(RIGHT_EYE)[0] < centre(LEFT_EYE)[0]
    assert centre(UPPER_LIP)[1] < centre(LOWER_LIP)[1]
    assert abs(centre(LOWER_LIP)[1] - points[57, 1]) < 8
    assert centre(HAIR_LABEL)[1] < centre(FACE)[1]
    red, green, _ = drawn.image[0][labels == LOWER_LIP].mean(axis=0)
    assert red > 1.8 * green, "red lips are red: RGB order"


def test_darker_tones_render_darker(renderer: Renderer) -> None:
    schema = renderer.schema
    tones = schema.groups[schema.group_index["skin"]].choices
    sliders, choices = neutral(renderer, len(tones))
    choices[:, schema.group_index["skin"]] = np.arange(len(tones))
    drawn = renderer.render(sliders, choices, Scenes.game(len(tones)), 64)
    levels = [image[labels == FACE].mean() for image, labels in zip(drawn.image, drawn.labels, strict=True)]
    assert levels == sorted(levels)
    assert levels[0] < 0.6 * levels[-1]


def test_edges_are_anti_aliased(renderer: Renderer) -> None:
    sliders, choices = neutral(renderer)
    black = replace(Scenes.game(1), background=np.zeros((1, 8, 8, 3), np.uint8))
    hard = renderer.render(sliders, choices, black, 64, samples=1).image[0].astype(float)
    smooth = renderer.render(sliders, choices, black, 64, samples=3).image[0].astype(float)
    fine = renderer.render(sliders, choices, black, 512, samples=1).image[0].astype(float)
    blocks = fine.reshape(64, 8, 64, 8, 3)
    covered = (blocks.sum(axis=4) > 0).mean(axis=(1, 3))
    edge = (covered > 0.1) & (covered < 0.9)
    reference = blocks.mean(axis=(1, 3))
    assert np.abs(smooth - reference)[edge].mean() < 0.5 * np.abs(hard - reference)[edge].mean()


def test_portraits_differ_but_stay_the_same_person(renderer: Renderer, embedded) -> None:
    rng = np.random.default_rng(1)
    panoramas, backgrounds = load_panoramas(embedded), load_backgrounds(embedded)
    assert len(panoramas) == 18 and len(backgrounds) == 9
    scene, described = random_scene(rng, DomainRandomization(), renderer.blend.actions, panoramas, backgrounds)
    sliders, choices = neutral(renderer)
    drawn = renderer.render(sliders, choices, scene, 128)
    assert (drawn.labels == FACE).mean() > 0.05
    assert {"yaw", "pitch", "roll", "distance", "light", "exposure"} <= set(described)
    data, _ = apply_camera_effects(drawn.image[0], rng, DomainRandomization())
    assert data[:2] == b"\xff\xd8", "a JPEG"


def test_turning_the_head_to_its_left_moves_the_nose_to_the_right(renderer: Renderer, embedded) -> None:
    still = DomainRandomization(yaw=0, pitch=0, roll=0, expression=0, zoom=(1.2, 1.2001))
    scene, _ = random_scene(
        np.random.default_rng(2), still, renderer.blend.actions, load_panoramas(embedded), load_backgrounds(embedded)
    )
    turned = replace(scene, rotation=head_rotation(30.0)[None])
    sliders, choices = neutral(renderer)
    offsets = []
    for s in (scene, turned):
        points = renderer.render(sliders, choices, s, 128).landmarks[0]
        offsets.append(points[30, 0] - points[[36, 45], 0].mean())
    assert offsets[1] > offsets[0] + 5


def test_all_samplers_stay_inside_the_schema(renderer: Renderer) -> None:
    for name, sample in sampler.SAMPLERS.items():
        sliders, choices = sample(renderer.schema, 64, np.random.default_rng(3))
        assert sliders.min() >= 0 and sliders.max() <= 1, name
        assert (choices >= 0).all() and (choices < np.array(renderer.schema.group_sizes)).all(), name


@pytest.mark.gpu
def test_cuda_draws_what_the_cpu_draws(renderer: Renderer, character, embedded) -> None:
    if not wp.is_cuda_available():
        pytest.skip("no CUDA device")
    other = Renderer(character, embedded, "cuda")
    sliders, choices = sampler.plausible(renderer.schema, 4, np.random.default_rng(4))
    a = renderer.render(sliders, choices, Scenes.game(4), 128)
    b = other.render(sliders, choices, Scenes.game(4), 128)
    assert np.abs(a.image.astype(int) - b.image.astype(int)).mean() < 0.5
    assert (a.labels != b.labels).mean() < 0.002


def test_teeth_are_seen_when_a_mouth_laughs(renderer: Renderer) -> None:
    """Single teeth with gaps between them, lighter than the gums."""
    schema = renderer.schema
    acting = expressions.weights_of(expressions.named("toothy_smile"), renderer.blend.actions)
    scene = replace(Scenes.game(1), expression=acting[None])
    drawn = renderer.render(schema.neutral_sliders()[None], schema.neutral_discrete()[None], scene, 512)
    calm = renderer.render(schema.neutral_sliders()[None], schema.neutral_discrete()[None], Scenes.game(1), 256)
    assert (calm.labels == TEETH).sum() < 20
    teeth = drawn.image[0][drawn.labels[0] == TEETH].astype(float).mean(axis=1)
    assert len(teeth) > 200
    assert np.quantile(teeth, 0.9) > 1.6 * np.quantile(teeth, 0.1)
