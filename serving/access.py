"""Who asks: the key that a request was sent with."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from serving import problems
from serving.dependencies import State
from serving.keys import KeyProblem

bearer = HTTPBearer(auto_error=False, description="Where the service was started with keys: `likeness key add NAME`.")


async def owner_of(
    state: State,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> str:
    """Whose key was sent; everybody is one where no keys are asked for. Raises ProblemError."""
    if state.keys is None:
        return ""
    try:
        owner = state.keys.owner(credentials.credentials) if credentials else None
    except KeyProblem as error:
        raise problems.no_storage() from error
    if owner is None:
        raise problems.no_key()
    return owner


Owner = Annotated[str, Depends(owner_of)]
"""A route's parameter of this type asks for a key."""
