"""`--refine`: an encoder's answer made more like its photo, by what a registered model offers for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from orchestration.apps.character_pictures import CreationError, reference_picture
from orchestration.config.progress import Progress
from orchestration.config.settings import Settings

STEPS_BEFORE = 20
"""Gradient steps of a version that has no number of its own."""


@dataclass(frozen=True)
class Method:
    """How to search on from the encoder's answer."""

    by: Literal["gradient", "engine"]
    steps: int | None = None
    """Of the gradient; None: as the model was registered with."""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """`gradient`, `engine`, or a number of gradient steps; None for nothing or 0 steps. Raises CreationError."""
        if text in ("", "0"):
            return None
        if text == "gradient" or text == "engine":
            return cls(text)
        if text.isdecimal() and int(text) <= 1000:
            return cls("gradient", int(text))
        raise CreationError(f"--refine takes `gradient`, `engine`, or a number of steps up to 1000, not {text!r}")


def require_engine(settings: Settings, character: str, method: Method) -> None:
    """Raises CreationError where the engine is asked for and there are only pairs."""
    from engine.character import Character

    if method.by == "engine" and not Character.load(settings.characters / character).has_engine:
        raise CreationError(f"{character} has only exported pairs, so no engine can draw it: use --refine gradient")


def missing(model: Any, method: Method) -> str:
    """The option that came after the model was registered; empty where it can refine like this."""
    if not hasattr(model, "refine"):
        return "--refine"
    return "--refine engine" if method.by == "engine" and not _has_identity_imitator(model) else ""


def refined(
    method: Method, settings: Settings, document: dict[str, Any], model: Any, found: Any, progress: Progress
) -> dict[str, Any]:
    """Search on; the document keeps the better answer. Gives what character.json says of it under `refinement`."""

    from models.refinement import RENDER_SIZE

    def draw(x: Any) -> Any:
        return reference_picture(settings, document | model.schema.to_document(x), RENDER_SIZE, model)[0]

    new = _has_identity_imitator(model)
    steps = method.steps if new or method.steps else STEPS_BEFORE
    more = {"draw": draw} if method.by == "engine" else {}
    x = model.refine(found.aligned, found.x, steps, lambda step, of: progress.step("search", step, of), **more)
    outcome = keep_better(settings, document, model.schema.to_document(x), found.aligned, model)
    return {"by": method.by, **({} if steps is None else {"steps": steps}), **outcome}


def _has_identity_imitator(model: Any) -> bool:
    return hasattr(type(model), "refinement")


def keep_better(
    settings: Settings, document: dict[str, Any], refined: dict[str, Any], aligned: Any, model: Any
) -> dict[str, Any]:
    """Put the parameters `refined` into the document if what the engine draws of them is more like the aligned photo.

    By the weighted sum of identity and content term; gives both terms [of the document's, of the refined], whichever is
    kept.
    """
    answers = [document, document | refined]
    pictures, by = zip(*(reference_picture(settings, one, len(aligned), model) for one in answers), strict=True)
    before, after = model.compare(aligned, pictures)
    better = after["loss"] < before["loss"]
    if better:
        document.update(refined)
    return {
        "kept": "refined" if better else "encoder",
        "drawn_by": by[0],
        **{term: [round(before[term], 5), round(after[term], 5)] for term in ("identity", "content")},
    }


def told(refinement: dict[str, Any]) -> str:
    """A line about `refinement` for the terminal."""
    terms = (f"{term} {refinement[term][0]:.3f} -> {refinement[term][1]:.3f}" for term in ("identity", "content"))
    steps = f", {refinement['steps']} steps" if "steps" in refinement else ""
    return f"search by {refinement['by']}{steps}: {', '.join(terms)}; kept: {refinement['kept']}"
