"""Moves of a registered model's aliases, and the record of every move.

`production` changes by promotion and rollback alone, and each leaves a record, a tag on the version that was promoted
or left: who, when, why, where from, and against which figures. In a database a whole move is one transaction. MLflow's
server has none: there the record comes first and `production` moves by one call, so that what a killed process left
half done can be told from the records, which are followed rather than the alias `previous`.

This module needs neither Dagster nor MLflow: importing them takes longer than a rollback may.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchestration.promotion.books import Book, Change, book_of
from orchestration.promotion.moves import (
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
)

if TYPE_CHECKING:
    from orchestration.settings import Settings


def model_name(character: str) -> str:
    return f"likeness-{character}"


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
    def book(self) -> Book:
        return book_of(self.uri, self.name)

    def state(self) -> State:
        """Raises RegistryError when the registry cannot be reached."""
        with self.book.transaction() as (state, _):
            return state

    def promote(
        self,
        version: str,
        who: str,
        why: str,
        against: Mapping[str, Any] | None = None,
        forced: bool = False,
        judged_against: str | Literal["any"] | None = "any",
    ) -> Move | None:
        """Move `production` to this version; what was there becomes `previous`. None when it is there already.

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
                    f"{judged_against or 'none'}: promote it again"
                )
            if version == current:
                return None
            move = Move(PROMOTION, version, now(), who, why, current, version, against or {}, forced)
            changes = [Change.tag(version, move.tag, json.dumps(move.document()))]
            if REJECTED in state.tags[version]:
                changes.append(Change.tag(version, REJECTED, None))
            if current:
                changes.append(Change.alias(PREVIOUS, current))
            apply([*changes, Change.alias(PRODUCTION, version)])
        return move

    def rollback(self, who: str, why: str = "") -> Move:
        """Bring back the version that was in production before, and mark the one that is left as rejected.

        Raises RegistryError when there is none to go back to.
        """
        with self.book.transaction() as (state, apply):
            left, back = state.production, state.previous()
            if left is None or back is None:
                raise RegistryError(f"{self.name} has no previous version to go back to: see `likeness models`")
            move = Move(ROLLBACK, left, now(), who, why, left, back, {}, False)
            record = json.dumps(move.document())
            tags = {**state.tags, left: {**state.tags[left], move.tag: record, REJECTED: "rolled back"}}
            then = State({**state.aliases, PRODUCTION: back}, tags)
            changes = [
                Change.tag(left, move.tag, record),
                Change.alias(PRODUCTION, back),
                Change.tag(left, REJECTED, "rolled back"),
                Change.alias(PREVIOUS, then.previous()),
            ]
            if state.aliases.get(CANDIDATE) == left:
                changes.append(Change.alias(CANDIDATE, None))
            apply(changes)
        return move

    def set_alias(self, alias: str, version: str) -> None:
        """Raises RegistryError."""
        with self.book.transaction() as (_, apply):
            apply([Change.alias(alias, version)])
