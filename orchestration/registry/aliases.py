"""Moves of a registered model's aliases, and the record of every move.

`production` changes by promotion and rollback alone, and each leaves a record, a tag on the version that was promoted
or left: who, when, why, where from, and against which figures. MLflow sets one alias or tag at a time, so the record
comes first, marked as pending, and `production` moves by one call: what a killed process left half done can be told
from the records, which are followed rather than the alias `previous`.

On one machine two moves wait for each other. Where several machines share a server, each looks right before and right
after its own move whether `production` is where it should be, and takes its record back where it is not.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestration.config.files import Timeout, lock
from orchestration.registry import audit
from orchestration.registry.promotion_events import (
    APPROVAL,
    CANDIDATE,
    PREVIOUS,
    PRODUCTION,
    PROMOTION,
    REJECTED,
    ROLLBACK,
    AliasState,
    Approval,
    PromotionEvent,
    RegistryError,
    now,
    overtaken,
    seconds_since,
)
from orchestration.registry.remedies import command
from orchestration.storage import mlflow_answers
from orchestration.storage.mlflow_client import import_mlflow, is_absent, open_client, require_server
from orchestration.storage.mlflow_files import is_unmade

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from orchestration.config.settings import Settings


MODEL = "likeness-"
SAME_ROLLBACK, SAME_PERSON = 600.0, 10.0
"""Seconds after somebody's rollback in which another's, or the same person's, is taken for the same wish."""
LOCKED_FOR = 180.0
"""Seconds to wait for another process that moves the same model's aliases."""
MOST_VERSIONS = 10_000


def model_name(character: str) -> str:
    """The registered model of a character."""
    return f"{MODEL}{character}"


def user() -> str:
    """Who is at work: LIKENESS_USER, or the name that the operating system knows."""
    return os.environ.get("LIKENESS_USER") or getpass.getuser()


@contextmanager
def registry_errors(uri: str) -> Iterator[None]:
    """Raises RegistryError, on one line, where MLflow or its database does not answer or says no."""
    import_mlflow()
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    from orchestration.storage.postgres import DatabaseError

    try:
        require_server(uri)
        yield
    except (MlflowException, SQLAlchemyError, DatabaseError, ImportError) as error:
        cause = getattr(error, "orig", None) or error.__cause__ or error
        is_silent = isinstance(error.__context__, RequestException)
        said = type(error.__context__).__name__ if is_silent else " ".join(str(cause).split())[:160]
        server = f"does not answer ({said}): is the MLflow server up"
        what = server if uri.startswith("http") else f"cannot be used ({said}): is it up"
        raise RegistryError(f"the registry {_without_password(uri)} {what}, is LIKENESS_MLFLOW_URI right?") from error


def _without_password(uri: str) -> str:
    head, separator, tail = uri.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if separator else uri


@dataclass(frozen=True)
class AliasStore:
    """Reads and moves the aliases of one character's model."""

    uri: str
    """MLflow's registry: a server or a database."""
    name: str
    home: Path
    """The project's home folder, where the lock of the model lies."""

    @classmethod
    def of(cls, settings: Settings, character: str) -> AliasStore:
        """Of this project's registry."""
        return cls(settings.tracking_uri, model_name(character), settings.home)

    @property
    def character(self) -> str:
        """The character of this model."""
        return self.name.removeprefix(MODEL)

    def state(self) -> AliasState:
        """Raises RegistryError when the registry cannot be reached."""
        if is_unmade(self.uri):
            return AliasState({}, {})

        def read() -> dict[str, Any]:
            with registry_errors(self.uri):
                return asdict(self._read(open_client(self.uri)))

        return AliasState(**mlflow_answers.ask(self.uri, self.home, f"aliases of {self.name}", read))

    def promote(
        self,
        version: str,
        who: str,
        why: str,
        against: Mapping[str, Any] | None = None,
        forced: bool = False,
        judged_against: str | Literal["any"] | None = "any",
        approved: Sequence[str] = (),
    ) -> PromotionEvent | None:
        """Move `production` to this version; what was there becomes `previous`. None when it is there already, unless
        by other hands than ours: then that is recorded as a promotion.

        `judged_against`: the version in production that it was compared with; when another one is there by now, nothing
        moves. `approved`: everybody who approved of it, where more than one had to. Raises RegistryError.
        """
        with self._locked() as (client, state):
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
            event = PromotionEvent(
                PROMOTION, version, now(), who, why, before, version, against or {}, forced, tuple(approved)
            )
            self._move(client, state, event)
            if REJECTED in state.tags[version]:
                client.delete_model_version_tag(self.name, version, REJECTED)
            if before is not None and before in state.tags:
                client.set_registered_model_alias(self.name, PREVIOUS, before)
        return event

    def approve(self, version: str, who: str, why: str) -> list[Approval]:
        """Record that a person approves of a version; all who do by now. Raises RegistryError where that one did."""
        with self._locked() as (client, state):
            for given in state.approvals(version):
                if given.who == who:
                    raise RegistryError(
                        f"{who} approved of version {version} on {given.when[:19].replace('T', ' ')} UTC: another "
                        "person must call this command"
                    )
            approval = Approval(version, who, now(), why, state.production)
            client.set_model_version_tag(self.name, version, approval.tag, json.dumps(approval.document()))
            audit.append(self.home, APPROVAL, who, {"model": self.name, "version": version, "why": why}, approval.when)
            return [*state.approvals(version), approval]

    def rollback(self, who: str, why: str = "", leave: str = "", asked: str = "") -> PromotionEvent:
        """Bring back the version that was in production before, and mark the one that is left as rejected.

        `leave`: the version that must be in production, or nothing moves. Without it `asked`, when the command was
        given, tells which one was meant: two people who roll back at once mean the same version. Raises RegistryError,
        also when there is none to go back to.
        """
        with self._locked() as (client, state):
            left, back = state.production, state.previous()
            self._require_meant(state, who, leave, asked)
            if left is None or back is None:
                why_not = "has no previous version to go back to" if left else "has no version in production to leave"
                raise RegistryError(f"{self.name} {why_not}: see {command('models', self.character)}")
            event = PromotionEvent(ROLLBACK, left, now(), who, why, left, back, {}, False)
            self._move(client, state, event)
            client.set_model_version_tag(self.name, left, REJECTED, "rolled back")
            if previous := self._read(client).previous():
                client.set_registered_model_alias(self.name, PREVIOUS, previous)
            else:
                client.delete_registered_model_alias(self.name, PREVIOUS)
            if state.aliases.get(CANDIDATE) == left:
                client.delete_registered_model_alias(self.name, CANDIDATE)
        return event

    def _require_meant(self, state: AliasState, who: str, leave: str, asked: str) -> None:
        """Raises RegistryError where the version in production is not, or may not be, the one that is to be left."""
        current, last = state.production, next(reversed(state.events()), None)
        again = f"{command(f'rollback --from {current}', self.character)} if that one is to be left"
        if leave and leave != current:
            raise RegistryError(f"{overtaken(self.name, state)}, not {leave}; nothing was moved: {again}")
        if leave or not asked or last is None or state.moved_outside():
            return
        patience = SAME_PERSON if last.who == who else SAME_ROLLBACK
        at_once = last.kind == ROLLBACK and seconds_since(last.when) < patience
        if at_once or state.production_at(asked) != current:
            raise RegistryError(f"{overtaken(self.name, state)}; nothing was moved: {again}")

    def set_alias(self, alias: str, version: str) -> None:
        """Let another alias than `production` name this version. Raises RegistryError."""
        with self._locked() as (client, _):
            client.set_registered_model_alias(self.name, alias, version)

    @contextmanager
    def _locked(self) -> Iterator[tuple[MlflowClient, AliasState]]:
        """MLflow's client and what it says, while no other process of this home moves these aliases.

        Raises RegistryError.
        """
        try:
            with lock(self.home / "locks" / f"{self.name}.lock", LOCKED_FOR), registry_errors(self.uri):
                client = open_client(self.uri)
                yield client, self._read(client)
        except Timeout as error:
            raise RegistryError(f"{self.name} is being moved by another process, for minutes: try again") from error

    def _read(self, client: MlflowClient) -> AliasState:
        from mlflow.exceptions import MlflowException

        versions = client.search_model_versions(f"name='{self.name}'", max_results=MOST_VERSIONS)
        tags = {str(version.version): dict(version.tags) for version in versions}
        try:
            aliases = client.get_registered_model(self.name).aliases
        except MlflowException as error:
            if not is_absent(error):
                raise
            aliases = {}
        return AliasState({alias: str(version) for alias, version in aliases.items()}, tags)

    def _move(self, client: MlflowClient, state: AliasState, event: PromotionEvent) -> None:
        """`production` moves from where it was read to where the event says, between two writings of its record.

        Raises RegistryError, with the record taken back, when another machine moved it meanwhile.
        """
        self._record(client, replace(event, pending=True))
        self._require_unmoved(client, event, state, at=state.production)
        client.set_registered_model_alias(self.name, PRODUCTION, str(event.after))
        self._require_unmoved(client, event, state, at=event.after)
        self._record(client, event)
        details = {name: value for name, value in event.document().items() if name not in ("who", "when")}
        audit.append(
            self.home, event.kind, event.who, {"model": self.name, "version": event.version, **details}, event.when
        )

    def _record(self, client: MlflowClient, event: PromotionEvent) -> None:
        client.set_model_version_tag(self.name, event.version, event.tag, json.dumps(event.document()))

    def _require_unmoved(self, client: MlflowClient, event: PromotionEvent, before: AliasState, at: str | None) -> None:
        found = self._read(client)
        known = {(known.version, known.tag) for known in (*before.events(), event)}
        others = [other for other in found.events() if not other.pending and (other.version, other.tag) not in known]
        if found.production == at and not others:
            return
        if others and found.production == event.after != others[-1].after:
            # It was done between our look and our move, and its mover was told so.
            client.set_registered_model_alias(self.name, PRODUCTION, str(others[-1].after))
        client.delete_model_version_tag(self.name, event.version, event.tag)
        raise RegistryError(f"{overtaken(self.name, self._read(client))}; nothing was moved: try again")
