"""Pictures that are turned, closer, with an expression, or before another background."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine import expressions
from engine.picture_options import AS_IN_GAME, TRANSPARENT, PictureOptions
from engine.renderer import Renderer
from engine.scenes import Scenes

SIZE = 96


def drawn(renderer: Renderer, options: PictureOptions = AS_IN_GAME) -> NDArray[np.uint8]:
    sliders, choices = renderer.schema.neutral_sliders()[None], renderer.schema.neutral_discrete()[None]
    return renderer.picture(sliders, choices, SIZE, options)


def test_the_defaults_are_the_games_own_picture(renderer: Renderer) -> None:
    sliders, choices = renderer.schema.neutral_sliders()[None], renderer.schema.neutral_discrete()[None]
    game = renderer.render(sliders, choices, Scenes.game(1), SIZE, samples=4).image[0]
    np.testing.assert_array_equal(drawn(renderer), game)


def test_a_transparent_picture_lies_on_a_colour_as_if_it_had_been_drawn_there(renderer: Renderer) -> None:
    picture = drawn(renderer, PictureOptions(background=TRANSPARENT)).astype(np.float32)
    alpha = picture[..., 3:] / 255
    assert picture.shape == (SIZE, SIZE, 4) and alpha[0, 0, 0] == 0 and alpha[SIZE // 2, SIZE // 2, 0] == 1
    assert ((alpha > 0.1) & (alpha < 0.9)).any(), "hair lets some of the background through"
    laid = alpha * picture[..., :3] + (1 - alpha) * np.array([0x20, 0xC0, 0x60])
    np.testing.assert_allclose(laid, drawn(renderer, PictureOptions(background="20c060")), atol=2)


def test_yaw_turns_the_face_to_the_pictures_right_and_a_closer_face_is_larger(renderer: Renderer) -> None:
    def spread(options: PictureOptions) -> tuple[float, int]:
        alpha = drawn(renderer, PictureOptions(**{**vars(options), "background": TRANSPARENT}))[..., 3]
        rows = alpha[SIZE // 4 : 3 * SIZE // 4] > 127
        return float(np.nonzero(rows)[1].mean()), int(rows.sum())

    straight, right, closer = (
        spread(options) for options in (PictureOptions(), PictureOptions(yaw=40), PictureOptions(crop="face"))
    )
    assert right[0] > straight[0] + 2 and closer[1] > 1.3 * straight[1]


def test_an_expression_has_a_name_or_face_actions_with_weights(renderer: Renderer) -> None:
    actions = renderer.blend.actions
    for name in expressions.EXPRESSIONS:
        assert set(expressions.parse(name)) <= set(actions)
    assert expressions.parse("jawOpen:0.3, mouthSmileLeft:0.5") == {"jawOpen": 0.3, "mouthSmileLeft": 0.5}
    assert expressions.parse("") == {}
    smiling = drawn(renderer, PictureOptions(expression=expressions.parse("smile")))
    assert (smiling != drawn(renderer)).any()
    with pytest.raises(ValueError, match=r"smile, .*: not grin"):
        expressions.parse("grin")
    for wrong in ({"jawOpenn": 0.3}, {"jawOpen": 1.5}):
        with pytest.raises(ValueError, match="jawOpen"):
            drawn(renderer, PictureOptions(expression=wrong))


@pytest.mark.parametrize("wrong", [{"yaw": 100}, {"pitch": float("nan")}, {"background": "red"}])
def test_what_cannot_be_drawn_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PictureOptions(**wrong)


def test_the_face_at_rest_smiles_and_looks_at_the_camera_unless_told_not_to(renderer: Renderer) -> None:
    actions = renderer.blend.actions
    turned, straight = (PictureOptions(yaw=30, resting=resting).scene(actions) for resting in (True, False))
    assert turned.gaze[0, 0] < 0 or turned.expression[0, actions["eyeLookInLeft"]] > 0, "back towards the camera"
    assert (straight.gaze == 0).all()
    assert straight.expression[0, actions["mouthSmileLeft"]] == pytest.approx(-0.2)
    assert (drawn(renderer, PictureOptions(resting=False)) != drawn(renderer)).any()
