"""What faces do in photos: named expressions built from the 52 face actions, and where the eyes look.

Actions that come in pairs move together with a slight asymmetry. Combinations that no face can hold, as lids closed
twice or a tongue through closed lips, are brought back to what the mesh can show.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]


@dataclass(frozen=True)
class Expression:
    """A named expression: ranges of action weights. `both` names stand for their left and right action, `one_side` for
    either of them at random."""

    chance: float
    both: Mapping[str, Range] = field(default_factory=dict)
    single: Mapping[str, Range] = field(default_factory=dict)
    one_side: Mapping[str, Range] = field(default_factory=dict)


# People who are photographed mostly smile or are calm; the chances are shares of all faces that are not neutral.
EXPRESSIONS: dict[str, Expression] = {
    "smile": Expression(20, {"mouthSmile": (0.25, 0.8), "cheekSquint": (0.1, 0.6), "eyeSquint": (0.0, 0.35)}),
    "closed_smile": Expression(
        9, {"mouthSmile": (0.15, 0.55), "mouthPress": (0.1, 0.4), "mouthDimple": (0.1, 0.5), "eyeSquint": (0.0, 0.2)}
    ),
    "toothy_smile": Expression(
        16,
        {
            "mouthSmile": (0.4, 0.85), "mouthUpperUp": (0.3, 0.6), "mouthLowerDown": (0.2, 0.6),
            "cheekSquint": (0.2, 0.8), "eyeSquint": (0.0, 0.4),
        },
        {"jawOpen": (0.0, 0.1)},
    ),
    "laugh": Expression(
        8,
        {
            "mouthSmile": (0.6, 1.0), "mouthUpperUp": (0.3, 0.7), "mouthLowerDown": (0.3, 0.7),
            "cheekSquint": (0.4, 1.0), "eyeSquint": (0.2, 0.7), "eyeBlink": (0.0, 0.3),
        },
        {"jawOpen": (0.12, 0.4), "browInnerUp": (0.0, 0.3)},
    ),
    "surprise": Expression(
        4,
        {"browOuterUp": (0.3, 1.0), "eyeWide": (0.1, 0.5)},
        {"browInnerUp": (0.4, 1.0), "jawOpen": (0.05, 0.45), "mouthFunnel": (0.0, 0.25)},
    ),
    "frown": Expression(
        5,
        {"browDown": (0.4, 1.0), "mouthFrown": (0.1, 0.6), "mouthPress": (0.0, 0.5), "eyeSquint": (0.0, 0.4)},
        {"mouthShrugLower": (0.0, 0.4)},
    ),
    "anger": Expression(
        2,
        {"browDown": (0.6, 1.0), "noseSneer": (0.2, 0.7), "mouthUpperUp": (0.1, 0.5), "mouthLowerDown": (0.1, 0.5)},
        {"jawForward": (0.0, 0.5), "jawOpen": (0.0, 0.2)},
    ),
    "disgust": Expression(
        2,
        {"noseSneer": (0.4, 1.0), "mouthUpperUp": (0.1, 0.5), "browDown": (0.2, 0.7), "eyeSquint": (0.1, 0.5)},
        {"mouthShrugUpper": (0.0, 0.4), "mouthRollLower": (0.0, 0.3)},
    ),
    "sad": Expression(
        3,
        {"mouthFrown": (0.3, 0.9), "eyeBlink": (0.0, 0.3)},
        {"browInnerUp": (0.4, 1.0), "mouthShrugLower": (0.1, 0.6)},
    ),
    "fear": Expression(
        1.5,
        {"mouthStretch": (0.3, 0.9), "eyeWide": (0.1, 0.5), "browOuterUp": (0.1, 0.5)},
        {"browInnerUp": (0.4, 0.9), "jawOpen": (0.0, 0.2)},
    ),
    "concentration": Expression(
        4,
        {"browDown": (0.2, 0.7), "eyeSquint": (0.2, 0.6), "mouthPress": (0.1, 0.6)},
        {"mouthRollLower": (0.0, 0.5), "mouthRollUpper": (0.0, 0.4)},
    ),
    "squint": Expression(3, {"eyeSquint": (0.4, 0.8), "cheekSquint": (0.3, 1.0), "noseSneer": (0.0, 0.3)}),
    "doubt": Expression(
        2,
        {"mouthFrown": (0.0, 0.4)},
        {"mouthShrugUpper": (0.1, 0.6), "mouthShrugLower": (0.3, 0.8)},
        {"browOuterUp": (0.3, 1.0), "browDown": (0.0, 0.5)},
    ),
    "smirk": Expression(
        3, {}, {}, {"mouthSmile": (0.3, 0.8), "mouthDimple": (0.1, 0.6), "mouth": (0.0, 0.4), "cheekSquint": (0.0, 0.5)}
    ),
    "half_blink": Expression(2.5, {"eyeBlink": (0.25, 0.95)}),
    "wink": Expression(0.7, {"mouthSmile": (0.1, 0.5)}, {}, {"eyeBlink": (0.8, 1.0), "cheekSquint": (0.3, 0.9)}),
    "pucker": Expression(1.5, {}, {"mouthPucker": (0.3, 0.9), "mouthFunnel": (0.0, 0.2)}),
    "puffed_cheeks": Expression(0.7, {"mouthPress": (0.1, 0.5)}, {"cheekPuff": (0.3, 1.0)}),
    "tongue": Expression(0.5, {"mouthSmile": (0.0, 0.4)}, {"jawOpen": (0.3, 0.5), "tongueOut": (0.5, 1.0)}),
    "chew": Expression(
        0.8, {}, {"jawForward": (0.0, 0.6), "jawOpen": (0.0, 0.1)}, {"jaw": (0.3, 1.0), "mouth": (0.1, 0.6)}
    ),
    # The shapes of the mouth in speech.
    "speech_ah": Expression(4, {"mouthLowerDown": (0.0, 0.4)}, {"jawOpen": (0.12, 0.45)}),
    "speech_ee": Expression(
        3,
        {"mouthStretch": (0.2, 0.7), "mouthSmile": (0.1, 0.4), "mouthLowerDown": (0.2, 0.6)},
        {"jawOpen": (0.02, 0.15)},
    ),
    "speech_oo": Expression(2, {}, {"mouthPucker": (0.3, 0.7), "mouthFunnel": (0.1, 0.5), "jawOpen": (0.0, 0.12)}),
    "speech_sh": Expression(1.5, {"mouthUpperUp": (0.0, 0.3)}, {"mouthFunnel": (0.2, 0.6), "jawOpen": (0.0, 0.1)}),
    "speech_f": Expression(1.5, {"mouthUpperUp": (0.1, 0.4)}, {"mouthRollLower": (0.3, 0.8)}),
    "speech_m": Expression(
        1.5,
        {"mouthPress": (0.2, 0.6)},
        {"jawOpen": (0.08, 0.2), "mouthClose": (0.08, 0.2), "mouthRollUpper": (0.1, 0.5), "mouthRollLower": (0.1, 0.5)},
    ),
    "speech_l": Expression(1, {"mouthLowerDown": (0.1, 0.4)}, {"jawOpen": (0.15, 0.35), "tongueOut": (0.0, 0.3)}),
}  # fmt: skip

# Where an action alone breaks the mesh: the mouth shows that it has no throat.
LIMITS: dict[str, float] = {
    "eyeWideLeft": 0.5, "eyeWideRight": 0.5, "eyeSquintLeft": 0.8,
    "eyeSquintRight": 0.8, "jawOpen": 0.55, "mouthFunnel": 0.7, "mouthShrugUpper": 0.8,
}  # fmt: skip
RESIDUAL = 0.03  # standard deviation of what each action does besides
SIDES = ("Left", "Right")
ASYMMETRY = 0.12  # standard deviation of a side's share

# What the eyeLook actions at 1 turn the eyeballs by, and the gaze at which the lids follow fully, degrees.
TURNED_BY_ACTION = {"sideways": 14.3, "up": 9.5, "down": 10.9}
FULL_LID = {"sideways": 32.0, "up": 28.0, "down": 22.0}
GAZE_LIMITS = (24.0, 16.0)  # degrees sideways, up and down


def random_expression(
    rng: np.random.Generator, actions: Mapping[str, int], share: float
) -> tuple[str, NDArray[np.float32]]:
    """A random expression's name and its action weights [A]; `share` of the faces are not neutral."""
    weights = np.abs(rng.normal(size=len(actions)) * RESIDUAL).astype(np.float32)
    for action, number in actions.items():
        if action.startswith(("eyeLook", "tongue", "mouthClose", "jawOpen")):
            weights[number] = 0.0
    if rng.random() >= share:
        return "neutral", _possible(weights * 0.5, actions)
    names = list(EXPRESSIONS)
    chances = np.array([EXPRESSIONS[name].chance for name in names])
    name = names[int(rng.choice(len(names), p=chances / chances.sum()))]
    expression, strength = EXPRESSIONS[name], float(rng.uniform(0.7, 1.0))
    for base, limits in expression.both.items():
        amount = rng.uniform(*limits) * strength
        for side in SIDES:
            weights[actions[base + side]] += amount * max(1.0 + rng.normal() * ASYMMETRY, 0.0)
    for action, limits in expression.single.items():
        weights[actions[action]] += rng.uniform(*limits) * strength
    side = "Left" if rng.random() < 0.5 else "Right"
    for base, limits in expression.one_side.items():
        weights[actions[base + side]] += rng.uniform(*limits) * strength
    return name, _possible(weights, actions)


def named(name: str) -> dict[str, float]:
    """An expression of EXPRESSIONS by its name, in the middle of its ranges, both sides alike: weights of face actions.
    Raises KeyError.
    """
    expression = EXPRESSIONS[name]
    found = {action: sum(limits) / 2 for action, limits in expression.single.items()}
    found |= {f"{base}{side}": sum(limits) / 2 for base, limits in expression.both.items() for side in SIDES}
    return found | {f"{base}Left": sum(limits) / 2 for base, limits in expression.one_side.items()}


def parse(text: str) -> dict[str, float]:
    """Weights of face actions from a name of EXPRESSIONS, or from `action:weight,action:weight`. Raises ValueError."""
    if text in EXPRESSIONS:
        return named(text)
    found = {}
    for part in text.split(",") if text else ():
        action, _, weight = part.partition(":")
        try:
            found[action.strip()] = float(weight)
        except ValueError:
            raise ValueError(
                f"an expression is {', '.join(EXPRESSIONS)}, or face actions as jawOpen:0.3,mouthSmileLeft:0.5: "
                f"not {text}"
            ) from None
    return found


def weights_of(expression: Mapping[str, float], actions: Mapping[str, int]) -> NDArray[np.float32]:
    """Weights [A] of face actions by name, each brought to what the mesh can show. Raises ValueError."""
    weights = np.zeros(len(actions), np.float32)
    for name, weight in expression.items():
        if name not in actions:
            raise ValueError(f"there is no face action {name}; there are {', '.join(actions)}")
        if not 0 <= weight <= 1:
            raise ValueError(f"the weight of {name} is 0 to 1, not {weight:g}")
        weights[actions[name]] = weight
    return _possible(weights, actions)


def turn_gaze(
    weights: NDArray[np.float32], actions: Mapping[str, int], yaw: float, pitch: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Make the eyes look to `yaw` (positive: the person's left) and `pitch` (positive: down), degrees.

    Returns the action weights [A] with the lids following, and what is left for the eyeballs to turn, [2] radians: the
    eyeLook actions turn them too.
    """
    yaw, pitch = (float(np.clip(angle, -most, most)) for angle, most in zip((yaw, pitch), GAZE_LIMITS, strict=True))
    sideways = min(abs(yaw) / FULL_LID["sideways"], 1.0)
    vertical = "down" if pitch > 0 else "up"
    lowered = min(abs(pitch) / FULL_LID[vertical], 1.0)
    towards_left = ("eyeLookOutLeft", "eyeLookInRight") if yaw > 0 else ("eyeLookInLeft", "eyeLookOutRight")
    weights = weights.copy()
    weights[[actions[name] for name in towards_left]] = sideways
    weights[[actions[f"eyeLook{vertical.capitalize()}{side}"] for side in SIDES]] = lowered
    left_over = (
        yaw - np.sign(yaw) * sideways * TURNED_BY_ACTION["sideways"],
        pitch - np.sign(pitch) * lowered * TURNED_BY_ACTION[vertical],
    )
    return _possible(weights, actions), np.radians(left_over).astype(np.float32)


def _possible(weights: NDArray[np.float32], actions: Mapping[str, int]) -> NDArray[np.float32]:
    """Weights that the mesh can show: each within its limit, lids closed once, lips and tongue out of each other."""
    limits = np.array([LIMITS.get(name, 1.0) for name in actions], np.float32)
    weights = weights.clip(0.0, limits).astype(np.float32)

    def at(name: str) -> float:
        return float(weights[actions[name]])

    for side in SIDES:
        closed = 0.56 * at(f"eyeSquint{side}") + 0.48 * at(f"eyeLookDown{side}")
        room = max(1.0 - closed, 0.0)
        weights[actions[f"eyeBlink{side}"]] = min(at(f"eyeBlink{side}"), room)
        for wide in ("eyeWide", "mouthFrown"):
            other = {"eyeWide": "eyeBlink", "mouthFrown": "mouthSmile"}[wide]
            weights[actions[wide + side]] = max(at(wide + side) - at(other + side), 0.0)
    weights[actions["mouthClose"]] = min(at("mouthClose"), at("jawOpen"))
    weights[actions["tongueOut"]] = min(at("tongueOut"), 2.5 * max(at("jawOpen") - 0.05, 0.0))
    return weights
