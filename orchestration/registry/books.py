"""Where aliases and tags of a registered model are kept: MLflow's own database, or its server.

This module needs neither Dagster nor MLflow: importing them takes longer than a rollback may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from orchestration.registry.promotion_events import PRODUCTION, RegistryError, State, overtaken

if TYPE_CHECKING:
    from sqlalchemy import Connection

DATABASES = ("sqlite", "postgresql")


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

    def state(self) -> State:
        """Raises RegistryError."""
        ...

    def transaction(self) -> Any:
        """A context manager that gives (state, apply)."""
        ...


Apply = Callable[[Sequence[Change]], None]


def book_of(uri: str, name: str) -> Book:
    """The book of a model in MLflow's registry: a database, or a server."""
    is_database = uri.partition(":")[0].partition("+")[0] in DATABASES
    return DatabaseBook(uri, name) if is_database else ServerBook(uri, name)


@dataclass(frozen=True)
class DatabaseBook:
    """MLflow's own tables in its own database.

    MLflow's client sets one alias or tag at a time; here a move is one transaction, and two moves wait for each
    other.
    """

    uri: str
    name: str

    def state(self) -> State:
        with self._opened(lock=False) as (state, _):
            return state

    def transaction(self) -> AbstractContextManager[tuple[State, Apply]]:
        return self._opened(lock=True)

    @contextmanager
    def _opened(self, lock: bool) -> Iterator[tuple[State, Apply]]:
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._connected(lock) as connection:
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
    def _connected(self, lock: bool) -> Iterator[Connection | None]:
        """A transaction, with `lock` one that has the registered model to itself; None where MLflow has made no tables
        yet.
        """
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
                connection.exec_driver_sql("BEGIN IMMEDIATE" if lock else "BEGIN")
            try:
                if not sa.inspect(connection).has_table("registered_model_aliases"):
                    yield None
                else:
                    if lock and not is_sqlite:
                        row = sa.text("SELECT name FROM registered_models WHERE name = :model FOR UPDATE")
                        connection.execute(row, {"model": self.name})
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

    def state(self) -> State:
        with self.transaction() as (state, _):
            return state

    @contextmanager
    def transaction(self) -> Iterator[tuple[State, Apply]]:
        from orchestration.registry.mlflow_rest import RestError

        calls = self.calls()
        try:
            state = self._read(calls)

            def apply(changes: Sequence[Change]) -> None:
                self._apply(calls, state, changes)

            yield state, apply
        except RestError as error:
            raise unreachable(self.uri, error) from error

    def _read(self, calls: Calls) -> State:
        tags = calls.tags(self.name)
        return State(calls.aliases(self.name) if tags else {}, tags)

    def calls(self) -> Calls:
        from orchestration.registry.mlflow_rest import RestClient

        return RestClient(self.uri)

    def _apply(self, calls: Calls, state: State, changes: Sequence[Change]) -> None:
        """Raises RegistryError, with the records taken back, when somebody else moved `production` meanwhile."""
        done: list[Change] = []
        for change in changes:
            if change.kind == "alias" and change.name == PRODUCTION:
                there = calls.aliases(self.name).get(PRODUCTION)
                if there != state.production:
                    for record in done:  # it is the first of the changes
                        calls.delete_model_version_tag(self.name, record.version, record.name)
                    raise RegistryError(f"{overtaken(self.name, self._read(calls))}; nothing was moved: try again")
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
