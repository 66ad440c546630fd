"""`/v1/random`, `/v1/presets`: characters to begin with, without a photo."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Query

from engine.character_json import FORMAT
from serving import problems
from serving.access import asks_for
from serving.dependencies import AppState, State
from serving.presets import described, random_near
from serving.schemas import MOST_SEEDS, CharacterValues, Presets, RandomCharacter, RandomQuery
from serving.values import document_of

router = APIRouter(
    prefix="/v1", tags=["render"], responses=problems.responses(401, 403), dependencies=[asks_for("draw")]
)


@router.get("/random", response_model_exclude_none=True, responses=problems.responses(422))
async def random_character(
    state: State,
    seed: Annotated[int | None, Query(ge=0, lt=MOST_SEEDS, description="The same seed gives the same one.")] = None,
    preset: Annotated[str | None, Query(description="A name of `/v1/presets`: somebody like that.")] = None,
) -> RandomCharacter:
    """A random person, as likely as in a crowd: something to begin with without a photo. Nothing is kept."""
    return _random(state, RandomQuery(seed=seed, preset=preset))


@router.post("/random", response_model_exclude_none=True, responses=problems.responses(400, 422))
async def random_character_with(state: State, decided: RandomQuery) -> RandomCharacter:
    """The same where some is decided: these sliders and choices are as they are sent, the rest is drawn anew, as it is
    in people who are about so."""
    return _random(state, decided)


@router.get("/presets")
async def list_presets(state: State) -> Presets:
    """Characters and looks to begin with: those that make sense for this character creator."""
    return Presets.model_validate({"presets": described(list(state.presets.values()))})


def _random(state: AppState, decided: RandomQuery) -> RandomCharacter:
    """Raises ProblemError."""
    schema, seed = state.schema, secrets.randbelow(MOST_SEEDS) if decided.seed is None else decided.seed
    parameters, discrete = decided.parameters, decided.discrete
    if decided.preset is not None:
        preset = state.presets.get(decided.preset)
        if preset is None:
            raise problems.bad_values(f"there is no preset {decided.preset}: there are {', '.join(state.presets)}")
        parameters, discrete = {**preset.parameters, **parameters}, {**preset.discrete, **discrete}
    document_of(state, CharacterValues(parameters=parameters, discrete={**discrete}))  # that they fit
    x = random_near(schema, seed, parameters, discrete)
    return RandomCharacter(
        format=FORMAT, character=schema.name, schema_md5=state.schema_md5, seed=seed, **schema.to_document(x)
    )
