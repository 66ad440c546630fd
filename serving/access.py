"""Who asks, and for what: the key that a request was sent with, or the token of one player."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from serving import problems
from serving.character_store import Caller
from serving.corrections import digest_of_player
from serving.dependencies import AppState, State
from serving.keys import Key, KeyProblem, Scope
from serving.player_tokens import PREFIX
from serving.usage import OverLimit

FOR_PLAYERS = ("create", "characters", "draw")
"""What a player's token is for, as far as its key is."""
bearer = HTTPBearer(
    auto_error=False,
    description="Where the service was started with keys: `likeness key add NAME`. Or a player's token: `/v1/tokens`.",
)


@dataclass(frozen=True)
class Asking:
    """One request's caller, and the key that lets it in; without a key where none is asked for."""

    caller: Caller
    key: Key | None = None
    by_token: bool = False
    """Whether a player asks, who has limits within the key's."""
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When the request began: what of a player was erased since then is not made anew."""

    def of_player(self, player: str) -> Caller:
        """The caller for what belongs to this player, by the game's own name for it. Raises ProblemError where a
        token is another player's."""
        digest = digest_of_player(player)
        if self.caller.player and digest not in ("", self.caller.player):
            raise problems.not_allowed("the token is another player's: leave `player` out, or ask for its own token")
        return self.caller if not digest else replace(self.caller, player=digest)


async def authorize(state: AppState, request: Request, scopes: Collection[Scope]) -> Asking:
    """Whose key or token was sent, which has to be for all of this; everybody is one where no keys are asked for.
    Raises ProblemError."""
    if not hasattr(request.state, "asking"):
        request.state.asking = await _identify(state, request)
    asking: Asking = request.state.asking
    for scope in scopes:
        if (asking.key and not asking.key.may(scope)) or (asking.caller.player and scope not in FOR_PLAYERS):
            what = "A player's token" if asking.caller.player else "The key"
            raise problems.not_allowed(f"{what} is not for this: it would have to be for `{scope}`")
    return asking


async def _identify(state: AppState, request: Request) -> Asking:
    """Who asks; the request is counted. Raises ProblemError."""
    credentials = await bearer(request)
    sent = credentials.credentials if credentials else ""
    try:
        asking = await _of_token(state, sent) if sent.startswith(PREFIX) else _of_key(state, sent)
    except (KeyProblem, OSError) as error:
        problems.log.error("keys cannot be read: %s", error)
        raise problems.no_storage() from error
    if asking is None:
        raise problems.no_key()
    asking = replace(asking, begun=request.state.begun)
    request.state.key, request.state.player = asking.caller.owner, asking.caller.player
    try:
        if asking.by_token:
            state.player_limits.request(asking.caller)
        if asking.key:
            state.usage.request(asking.key)
    except OverLimit as error:
        raise problems.over_limit(error) from error
    return asking


def _of_key(state: AppState, sent: str) -> Asking | None:
    """Raises KeyProblem."""
    if state.keys is None:
        return Asking(Caller(""))
    key = state.keys.find(sent) if sent else None
    return None if key is None else Asking(Caller(key.name), key)


async def _of_token(state: AppState, sent: str) -> Asking | None:
    """Raises KeyProblem, OSError."""
    token = await asyncio.to_thread(state.tokens.find, sent)
    if token is None:
        return None
    # A token is worth no more than its key: not where that was taken away, nor for what that is not for. Nor does it
    # outlive the very key that made it, which may have leaked, where its owner has another one since.
    if token.key and (state.keys is None or not state.keys.has(token.key)):
        return None
    asking = asking_of(state, token.caller)
    return asking and replace(asking, by_token=True)


def asking_of(state: AppState, caller: Caller, begun: datetime | None = None) -> Asking | None:
    """What is asked on behalf of somebody who is not there, since `begun`; None where the key is not any more. Raises
    KeyProblem."""
    begun = begun or datetime.now(UTC)
    if state.keys is None:
        return Asking(caller, begun=begun) if caller.owner == "" else None
    key = state.keys.named(caller.owner)
    return None if key is None else Asking(caller, key, begun=begun)


@contextmanager
def counted_photos(state: AppState, asking: Asking, count: int) -> Iterator[None]:
    """Count the photos that the block reads; none where it fails. Raises ProblemError."""
    try:
        with ExitStack() as counting:
            if asking.by_token:
                counting.enter_context(state.player_limits.photos(asking.caller, count))
            if asking.key:
                counting.enter_context(state.usage.photos(asking.key, count))
            yield
    except OverLimit as error:
        raise problems.over_limit(error) from error


async def _authorized(
    scopes: SecurityScopes,
    state: State,
    request: Request,
    _: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Asking:
    return await authorize(state, request, cast("list[Scope]", scopes.scopes))


def asks_for(scope: Scope) -> Any:
    """A dependency that asks for a key for this."""
    return Security(_authorized, scopes=[scope])


Creator = Annotated[Asking, asks_for("create")]
"""A route's parameter of this type asks for a key that may make characters of photos; those below, for other things."""
Reader = Annotated[Asking, asks_for("characters")]
Host = Annotated[Asking, asks_for("players")]
