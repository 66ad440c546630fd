"""Small pictures of single choices, framed and lit so that a person can choose by them; and the colour that some
choices stand for."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import skins, textures
from engine.exporters.materials import to_srgb
from engine.renderer import Renderer
from engine.scenes import GAME_DISTANCE, PIVOT, Scenes, head_rotation
from engine.schema import Group, Schema

OVERSIZE = 3  # drawn this much larger, then averaged
# Where the iris lies in the texture of the eyes: its middle (column, row) and what is left of it inside and outside.
IRIS_CENTRE, IRIS_RING = (360, 152), (26, 46)
BLINKS = ("eyeBlinkLeft", "eyeBlinkRight")


@dataclass(frozen=True)
class View:
    """What a thumbnail shows: its middle beside the point between the eyes, its width, and on whom."""

    centre: tuple[float, float] = (0.0, -0.012)  # metres to the person's left, and up
    width: float = 0.30  # metres
    yaw: float = 0.0  # degrees that the head is turned to its left
    sex: float | None = None  # None: the average face
    eyes_shut: float = 0.0
    choices: tuple[tuple[str, str], ...] = ()  # of other groups


# The person's left eye, seen a little from its side.
EYE = View(centre=(0.033, 0.003), width=0.062, sex=0.15)
VIEWS = {
    "skin": View(centre=(0.0, -0.022), width=0.21),
    "hair": View(centre=(-0.008, -0.003), width=0.30, yaw=-28.0),
    "hair_colour": View(centre=(0.0, 0.045), width=0.21, yaw=-28.0, choices=(("hair", "short02"),)),
    "brows": View(centre=(0.0, 0.014), width=0.118),
    "eyes": replace(EYE, centre=(0.033, 0.0), width=0.046),
    "lashes": EYE,
    "beard": View(centre=(0.0, -0.062), width=0.185, sex=0.9),
    "lips": View(centre=(0.0, -0.066), width=0.085, sex=0.15),
    "glasses": View(centre=(-0.004, -0.004), width=0.175, yaw=-18.0),
    "eye_makeup": replace(EYE, centre=(0.033, 0.006), width=0.066, eyes_shut=0.25, choices=(("skin", "tone5"),)),
}


def shown_on(schema: Schema, group: Group, choice: str) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Sliders [S] and choices [G] of the face that shows a choice: the average one, or whom it belongs to."""
    view = VIEWS.get(group.name, View())
    sliders, choices = schema.neutral_sliders(), schema.neutral_discrete()
    if view.sex is not None and "sex" in schema.slider_index:
        sliders[schema.slider_index["sex"]] = view.sex
    for name, worn in (*view.choices, (group.name, choice)):
        if name in schema.group_index and worn in schema.group(name).choices:
            choices[schema.group_index[name]] = schema.choice(name, worn)
    return sliders, choices


def thumbnail(renderer: Renderer, group: Group, choice: str, size: int) -> NDArray[np.uint8]:
    """A picture [size, size, 3] of one choice of a group, on the average face or where it belongs."""
    view = VIEWS.get(group.name, View())
    sliders, choices = shown_on(renderer.schema, group, choice)
    drawn = renderer.render(sliders[None], choices[None], _scene(renderer, view), OVERSIZE * size)
    return cv2.resize(drawn.image[0], (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)


def colour(renderer: Renderer, group: str, choice: str) -> str | None:
    """The colour `#rrggbb` that a choice stands for; None where it stands for none."""
    found = _srgb(renderer, group, choice)
    return None if found is None else "#" + "".join(f"{round(float(part)):02x}" for part in found)


def _scene(renderer: Renderer, view: View) -> Scenes:
    scenes = Scenes.game(1)
    expression = scenes.expression.copy()
    for action in BLINKS:
        expression[:, renderer.blend.actions[action]] = view.eyes_shut
    across, up = view.centre
    middle = [PIVOT[0] - across, PIVOT[1] - up, PIVOT[2] - GAME_DISTANCE]
    return replace(
        scenes,
        rotation=head_rotation(view.yaw)[None],
        translation=np.array([middle], np.float32),
        focal=np.full(1, GAME_DISTANCE / view.width, np.float32),
        expression=expression,
    )


def _srgb(renderer: Renderer, group: str, choice: str) -> NDArray[np.floating] | None:
    """sRGB [3] in [0, 255]."""
    made, linear = renderer.textures, None
    if group == "skin":
        first = made.layer[f"skin/{choice}"]
        face = made.stack[first : first + 2 * len(skins.AGES), *skins.FACE, :3]
        return np.median(face.reshape(-1, 3), axis=0)
    if group == "eyes":
        rows, columns = np.indices((textures.SIDE, textures.SIDE))
        distance = np.hypot(columns - IRIS_CENTRE[0], rows - IRIS_CENTRE[1])
        ring = (distance > IRIS_RING[0]) & (distance < IRIS_RING[1])
        return made.stack[made.layer[f"eyes/{choice}"]][ring, :3].mean(axis=0)
    if group == "hair_colour":
        linear = textures.HAIR_COLOURS[choice]
    elif group == "lips" and textures.LIP_COLOURS[choice][3]:
        linear = textures.LIP_COLOURS[choice][:3]
    elif group == "eye_makeup" and textures.EYE_COLOURS[choice][0]:
        linear = textures.EYE_COLOURS[choice][1][:3]
    return None if linear is None else to_srgb(np.array(linear, np.float32)) * 255.0
