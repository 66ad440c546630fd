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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from orchestration.settings import Settings

CANDIDATE, PRODUCTION, PREVIOUS, NEWEST = "candidate", "production", "previous", "newest"
REJECTED = "rejected"
"""Tag of a version that was rolled back: it is not promoted again by itself."""
PROMOTION, ROLLBACK = "promotion", "rollback"
DATABASES = ("sqlite", "postgresql")


class RegistryError(Exception):
    """There is no such model or version, or the registry cannot be used."""


def model_name(character: str) -> str:
    return f"likeness-{character}"


def user() -> str:
    """Who is at work: LIKENESS_USER, or the name that the operating system knows."""
    return os.environ.get("LIKENESS_USER") or getpass.getuser()


@dataclass(frozen=True)
class Move:
    """One promotion or rollback, as its record says."""

    kind: Literal["promotion", "rollback"]
    version: str
    """The version that was promoted, or left."""
    when: str
    who: str
    why: str
    before: str | None
    """In production until then."""
    after: str
    against: Mapping[str, Any]
    """Figures by score: candidate, production, difference, …"""
    forced: bool

    @classmethod
    def read(cls, version: str, tag: str, content: str) -> Move | None:
        """The move that a version's tag records; None for any other tag."""
        kind, _, when = tag.partition(".")
        if kind not in (PROMOTION, ROLLBACK) or not when:
            return None
        try:
            record = json.loads(content)
        except ValueError:
            return None
        if not isinstance(record, dict):
            return None
        before, after = (record.get("from"), version) if kind == PROMOTION else (version, str(record.get("to")))
        return cls(
            PROMOTION if kind == PROMOTION else ROLLBACK, version, record.get("when", when), record.get("who", ""),
            record.get("why", ""), before, after, record.get("against") or {}, bool(record.get("forced")),
        )  # fmt: skip

    def document(self) -> dict[str, Any]:
        """The record, as the tag holds it."""
        place = {"from": self.before} if self.kind == PROMOTION else {"to": self.after}
        base = {"who": self.who, "when": self.when, "why": self.why, **place}
        return base if self.kind == ROLLBACK else {**base, "against": dict(self.against), "forced": self.forced}

    @property
    def tag(self) -> str:
        return f"{self.kind}.{self.when}"


@dataclass(frozen=True)
class State:
    """The aliases and every version's tags at one moment."""

    aliases: Mapping[str, str]
    tags: Mapping[str, Mapping[str, str]]

    @property
    def production(self) -> str | None:
        return self.aliases.get(PRODUCTION)

    def moves(self) -> list[Move]:
        """Every move that came to its end, oldest first.

        One that began at what was in production and did not arrive was killed before it moved anything.
        """
        found = [
            move
            for version, tags in self.tags.items()
            for tag, content in tags.items()
            if (move := Move.read(version, tag, content))
        ]
        finished, current = [], self.production
        for move in sorted(found, key=lambda move: move.when, reverse=True):
            if move.after != current and move.before == current:
                continue
            finished.append(move)
            current = move.before
        return finished[::-1]

    def is_rejected(self, version: str) -> bool:
        """Whether its last move was a rollback away from it."""
        own = [move for move in self.moves() if move.version == version]
        return REJECTED in self.tags.get(version, {}) or bool(own and own[-1].kind == ROLLBACK)

    def was_rolled_back(self, version: str) -> bool:
        """Whether it ever was, even if somebody promoted it again by hand."""
        rolled_back = any(move.kind == ROLLBACK and move.version == version for move in self.moves())
        return rolled_back or self.is_rejected(version)

    def previous(self) -> str | None:
        """The version that a rollback goes to: in production before this one, and not rejected."""
        stack: list[str] = []
        for move in self.moves():
            if move.kind == PROMOTION:
                stack += [move.before] if move.before and stack[-1:] != [move.before] else []
                stack.append(move.version)
            else:
                while stack and stack[-1] != move.after:
                    stack.pop()
                stack = stack or [move.after]
        if stack[-1:] != [self.production]:  # moved by other hands than ours: the alias is all there is
            stack = [self.aliases.get(PREVIOUS, ""), self.production or ""]
        for version in reversed(stack[:-1]):
            if version in self.tags and version != self.production and not self.is_rejected(version):
                return version
        return None


@dataclass(frozen=True)
class Change:
    """One alias or tag that is set, or removed where `value` is None."""

    kind: Literal["alias", "tag"]
    name: str
    value: str | None
    version: str = ""
    """Whose tag."""

    @classmethod
    def alias(cls, name: str, version: str | None) -> Change:
        return cls("alias", name, version)

    @classmethod
    def tag(cls, version: str, name: str, value: str | None) -> Change:
        return cls("tag", name, value, version)


class Book(Protocol):
    """Where aliases and tags are kept."""

    def transaction(self) -> Any:
        """A context manager that gives (state, apply)."""
        ...


Apply = Callable[[Sequence[Change]], None]


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
        is_database = self.uri.partition(":")[0].partition("+")[0] in DATABASES
        return DatabaseBook(self.uri, self.name) if is_database else ServerBook(self.uri, self.name)

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


def now() -> str:
    """UTC to the microsecond: two moves never bear the same time."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class DatabaseBook:
    """MLflow's own tables in its own database.

    MLflow's client sets one alias or tag at a time; here a move is one transaction, and two moves wait for each
    other.
    """

    uri: str
    name: str

    @contextmanager
    def transaction(self) -> Iterator[tuple[State, Apply]]:
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._locked() as connection:
                state = self._read(connection) if connection is not None else State({}, {})

                def apply(changes: Sequence[Change]) -> None:
                    if connection is None:
                        raise RegistryError(f"{self.name} has no version yet: run `likeness run`")
                    for change in changes:
                        for statement, values in self._statements(change):
                            connection.execute(text(statement), values)

                yield state, apply
        except (SQLAlchemyError, ImportError) as error:
            cause = getattr(error, "orig", None) or error
            raise RegistryError(
                f"the registry {_without_password(self.uri)} cannot be used ({' '.join(str(cause).split())}): "
                "is it up, is LIKENESS_MLFLOW_URI right?"
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[Connection | None]:
        """A transaction that has the registered model to itself; None where MLflow has made no tables yet."""
        import sqlalchemy as sa

        is_sqlite = self.uri.startswith("sqlite")
        if is_sqlite and not Path(self.uri.removeprefix("sqlite:///")).is_file():
            yield None
            return
        engine = sa.create_engine(self.uri, poolclass=sa.NullPool)
        with engine.connect() as connection:
            if is_sqlite:
                # Its driver begins a transaction at the first change only, after we have read.
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                if not sa.inspect(connection).has_table("registered_model_aliases"):
                    yield None
                else:
                    if not is_sqlite:
                        lock = sa.text("SELECT name FROM registered_models WHERE name = :model FOR UPDATE")
                        connection.execute(lock, {"model": self.name})
                    yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK") if is_sqlite else connection.rollback()
                raise
            connection.exec_driver_sql("COMMIT") if is_sqlite else connection.commit()

    def _read(self, connection: Connection) -> State:
        import sqlalchemy as sa

        def rows(statement: str) -> list[Any]:
            return list(connection.execute(sa.text(statement), {"model": self.name}))

        tags: dict[str, dict[str, str]] = {
            str(version): {}
            for (version,) in rows(
                "SELECT version FROM model_versions WHERE name = :model AND current_stage <> 'Deleted_Internal'"
            )
        }
        for version, key, value in rows('SELECT version, "key", value FROM model_version_tags WHERE name = :model'):
            if str(version) in tags:
                tags[str(version)][key] = value or ""
        aliases = rows("SELECT alias, version FROM registered_model_aliases WHERE name = :model")
        return State({alias: str(version) for alias, version in aliases}, tags)

    def _statements(self, change: Change) -> Iterator[tuple[str, dict[str, Any]]]:
        if change.kind == "alias":
            values: dict[str, Any] = {"model": self.name, "alias": change.name}
            yield "DELETE FROM registered_model_aliases WHERE name = :model AND alias = :alias", values
            if change.value is not None:
                yield (
                    "INSERT INTO registered_model_aliases (name, alias, version) VALUES (:model, :alias, :version)",
                    values | {"version": int(change.value)},
                )
            return
        values = {"model": self.name, "version": int(change.version), "name": change.name}
        yield 'DELETE FROM model_version_tags WHERE name = :model AND version = :version AND "key" = :name', values
        if change.value is not None:
            yield (
                'INSERT INTO model_version_tags (name, version, "key", value) VALUES (:model, :version, :name, :value)',
                values | {"value": change.value},
            )


class Calls(Protocol):
    """What ServerBook asks of a server, one call at a time."""

    def tags(self, name: str) -> dict[str, dict[str, str]]: ...
    def aliases(self, name: str) -> dict[str, str]: ...
    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None: ...
    def delete_registered_model_alias(self, name: str, alias: str) -> None: ...
    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None: ...
    def delete_model_version_tag(self, name: str, version: str, key: str) -> None: ...


@dataclass(frozen=True)
class ServerBook:
    """The same by MLflow's server: one call after the other, in the order that is given."""

    uri: str
    name: str

    @contextmanager
    def transaction(self) -> Iterator[tuple[State, Apply]]:
        from orchestration.promotion.mlflow_rest import RestError

        calls = self.calls()
        try:
            tags = calls.tags(self.name)
            state = State(calls.aliases(self.name) if tags else {}, tags)

            def apply(changes: Sequence[Change]) -> None:
                self._apply(calls, state, changes)

            yield state, apply
        except RestError as error:
            raise unreachable(self.uri, error) from error

    def calls(self) -> Calls:
        from orchestration.promotion.mlflow_rest import RestClient

        return RestClient(self.uri)

    def _apply(self, calls: Calls, state: State, changes: Sequence[Change]) -> None:
        """Raises RegistryError, with the records taken back, when somebody else moved `production` meanwhile."""
        done: list[Change] = []
        for change in changes:
            if change.kind == "alias" and change.name == PRODUCTION:
                there = calls.aliases(self.name).get(PRODUCTION)
                if there != state.production:
                    for record in [change for change in done if change.kind == "tag" and change.value is not None]:
                        calls.delete_model_version_tag(self.name, record.version, record.name)
                    raise RegistryError(f"{self.name}: version {there} came into production meanwhile: try again")
            self._set(calls, change)
            done.append(change)

    def _set(self, calls: Calls, change: Change) -> None:
        if change.kind == "alias" and change.value is None:
            calls.delete_registered_model_alias(self.name, change.name)
        elif change.kind == "alias":
            calls.set_registered_model_alias(self.name, change.name, str(change.value))
        elif change.value is None:
            calls.delete_model_version_tag(self.name, change.version, change.name)
        else:
            calls.set_model_version_tag(self.name, change.version, change.name, change.value)


def impatient() -> None:
    """Let MLflow's own client give up on a server that is down within seconds, for whoever waits at a terminal."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


def unreachable(uri: str, error: Exception) -> RegistryError:
    """The error of a registry that does not answer, on one line."""
    said = " ".join(str(error).split())
    return RegistryError(
        f"the registry {_without_password(uri)} does not answer ({said[:160]}): is the MLflow server up, is "
        "LIKENESS_MLFLOW_URI right?"
    )


def _without_password(uri: str) -> str:
    head, separator, tail = uri.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if separator else uri
