"""A character document as a picture: by the engine, or by a registered model's imitator where there is no engine."""

from __future__ import annotations

from typing import Any

from engine.errors import LikenessError
from orchestration.config.settings import Settings


class CreationError(LikenessError):
    """The photos or the character cannot be worked on at all."""


def draw(settings: Settings, document: dict[str, Any], size: int, model: Any) -> tuple[Any, str]:
    """The engine's own picture of a character document, RGB uint8 `size` pixels high, or the imitator's of a registered
    model, marked; and which of them drew it. Raises CharacterError or engine.schema.SchemaError.
    """
    from models.images import resize
    from stages.data.pictures import IMITATOR_MARK, marked

    engine, schema, x = drawable(settings, document)
    if engine is not None:
        return engine.picture(*schema.choose(x[None]), size), "engine"
    return marked(resize(imitated(schema.name, model, x), size), IMITATOR_MARK), "imitator"


def reference_picture(settings: Settings, document: dict[str, Any], size: int, model: Any) -> tuple[Any, str]:
    """The same in the reference frame, as an aligned photo [size,size,3] is, and unmarked: for comparison with one."""
    engine, schema, x = drawable(settings, document)
    if engine is not None:
        return engine.draw(*schema.choose(x[None]), size).image[0], "engine"
    return imitated(schema.name, model, x), "imitator"


def drawable(settings: Settings, document: dict[str, Any]) -> tuple[Any, Any, Any]:
    """A document's engine, or None, its schema and its parameters [width]."""
    from engine.character import Character
    from stages.data.rendering import engine_of

    folder = settings.characters / document["character"]
    schema = Character.load(folder).schema
    x = schema.from_document(document["parameters"], document["discrete"])
    return engine_of(folder, settings.data / "embedded", "cpu"), schema, x


def imitated(character: str, model: Any, x: Any) -> Any:
    picture = model.draw(x) if model is not None else None
    if picture is None:
        raise CreationError(
            f"{character} has only exported pairs, and this model has no imitator for it: "
            f"run `likeness run --character {character}`"
        )
    return picture
