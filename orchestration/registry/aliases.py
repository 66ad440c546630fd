"""Moves of a registered model's aliases, and the record of every move.

`production` changes by promotion and rollback alone, and each leaves a record, a tag on the version that was promoted
or left: who, when, why, where from, and against which figures. In a database a whole move is one transaction. MLflow's
server has none: there the record comes first, marked as pending, and `production` moves by one call, so that what a
killed process left half done can be told from the records, which are followed rather than the alias `previous`.

This module needs neither Dagster nor MLflow: importing them takes longer than a rollback may.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from orchestration.registry.advice import command
from orchestration.registry.books import Book, Change, book_of
from orchestration.registry.promotion_events import (
    CANDIDATE,
    PREVIOUS,
    PRODUCTION,
    PROMOTION,
    REJECTED,
    ROLLBACK,
    Move,
    RegistryError,
    State,
    now,
    overtaken,
    seconds_since,
)

if TYPE_CHECKING:
    from orchestration.config.settings import Settings


MODEL = "likeness-"
SAME_ROLLBACK, SAME_HAND = 600.0, 10.0
"""Seconds after somebody's rollback in which another's, or the same person's, is taken for the same wish."""


def model_name(character: str) -> str:
    return f"{MODEL}{character}"


def user() -> str:
    """Who is at work: LIKENESS_USER, or the name that the operating system knows."""
    return os.environ.get("LIKENESS_USER") or getpass.getuser()


def impatient() -> None:
    """Let MLflow's own client give up on a server that is down within seconds, for whoever waits at a terminal."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


@dataclass(frozen=True)
class Ledger:
    """Reads and moves the aliases of one character's model."""

    uri: str
    """MLflow's registry: a server or a database."""
    name: str

    @classmethod
    def of(cls, settings: Settings, character: str) -> Ledger:
        return cls(settings.tracking_uri, model_name(character))

    @property
    def character(self) -> str:
        return self.name.removeprefix(MODEL)

    @property
    def book(self) -> Book:
        return book_of(self.uri, self.name)

    def state(self) -> State:
        """Raises RegistryError when the registry cannot be reached."""
        return self.book.state()

    def promote(
        self,
        version: str,
        who: str,
        why: str,
        against: Mapping[str, Any] | None = None,
        forced: bool = False,
        judged_against: str | Literal["any"] | None = "any",
    ) -> Move | None:
        """Move `production` to this version; what was there becomes `previous`. None when it is there already, unless
        by other hands than ours: then that is recorded as a promotion.

        `judged_against`: the version in production that it was compared with; when another one is there by now, nothing
        moves. Raises RegistryError.
        """
        with self.book.transaction() as (state, apply):
            if version not in state.tags:
                raise RegistryError(f"{self.name} has no version {version}: pick one that `likeness models` shows")
            current = state.production
            if judged_against not in ("any", current):
                raise RegistryError(
                    f"{self.name}: version {current} came into production meanwhile, {version} was judged against "
                    f"{judged_against or 'none'}: promote it again; {next(reversed(state.history()), '')}"
                )
            outside = state.moved_outside()
            if version == current and outside is None:
                return None
            before = outside.before if outside and version == current else current
            move = Move(PROMOTION, version, now(), who, why, before, version, against or {}, forced)
            changes = moved(move, version)
            if REJECTED in state.tags[version]:
                changes.append(Change.tag(version, REJECTED, None))
            if before in state.tags:
                changes.append(Change.alias(PREVIOUS, before))
            apply(changes)
        return move

    def rollback(self, who: str, why: str = "", leave: str = "", asked: str = "") -> Move:
        """Bring back the version that was in production before, and mark the one that is left as rejected.

        `leave`: the version that must be in production, or nothing moves. Without it `asked`, when the command was
        given, tells which one was meant: two people who roll back at once mean the same version. Raises RegistryError,
        also when there is none to go back to.
        """
        with self.book.transaction() as (state, apply):
            left, back = state.production, state.previous()
            self._require_meant(state, who, leave, asked)
            if left is None or back is None:
                why_not = "has no previous version to go back to" if left else "has no version in production to leave"
                raise RegistryError(f"{self.name} {why_not}: see {command('models', self.character)}")
            move = Move(ROLLBACK, left, now(), who, why, left, back, {}, False)
            tags = {**state.tags, left: {**state.tags[left], move.tag: _record(move), REJECTED: "rolled back"}}
            then = State({**state.aliases, PRODUCTION: back}, tags)
            changes = [
                *moved(move, back),
                Change.tag(left, REJECTED, "rolled back"),
                Change.alias(PREVIOUS, then.previous()),
            ]
            if state.aliases.get(CANDIDATE) == left:
                changes.append(Change.alias(CANDIDATE, None))
            apply(changes)
        return move

    def _require_meant(self, state: State, who: str, leave: str, asked: str) -> None:
        """Raises RegistryError where the version in production is not, or may not be, the one that is to be left."""
        current, last = state.production, next(reversed(state.moves()), None)
        again = f"{command(f'rollback --from {current}', self.character)} if that one is to be left"
        if leave and leave != current:
            raise RegistryError(f"{overtaken(self.name, state)}, not {leave}; nothing was moved: {again}")
        if leave or not asked or last is None or state.moved_outside():
            return
        patience = SAME_HAND if last.who == who else SAME_ROLLBACK
        at_once = last.kind == ROLLBACK and seconds_since(last.when) < patience
        if at_once or state.production_at(asked) != current:
            raise RegistryError(f"{overtaken(self.name, state)}; nothing was moved: {again}")

    def set_alias(self, alias: str, version: str) -> None:
        """Raises RegistryError."""
        with self.book.transaction() as (_, apply):
            apply([Change.alias(alias, version)])


def moved(move: Move, to: str) -> list[Change]:
    """The record of a move around the move itself."""
    return [
        Change.tag(move.version, move.tag, _record(replace(move, pending=True))),
        Change.alias(PRODUCTION, to),
        Change.tag(move.version, move.tag, _record(move)),
    ]


def _record(move: Move) -> str:
    return json.dumps(move.document())
