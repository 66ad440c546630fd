"""What can happen to a registered model's aliases, and what the record of each move says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from engine.errors import LikenessError

CANDIDATE, PRODUCTION, PREVIOUS, NEWEST = "candidate", "production", "previous", "newest"
REJECTED = "rejected"
"""Tag of a version that was rolled back: it is not promoted again by itself."""
PROMOTION, ROLLBACK, OUTSIDE = "promotion", "rollback", "outside"
APPROVAL = "approval"
"""approval.<time>" is a tag of a version that waits for more people to approve of it."""


class RegistryError(LikenessError):
    """There is no such model or version, or the registry cannot be used."""


class UnknownVersion(RegistryError):
    """The registry answers, and has no such version or alias."""


TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
"""UTC to the microsecond: two moves never bear the same time."""


def now() -> str:
    """This moment, as records say it."""
    return datetime.now(UTC).strftime(TIME)


def at(seconds: float) -> str:
    """A moment, given in seconds since 1970, as records say it."""
    return datetime.fromtimestamp(seconds, UTC).strftime(TIME)


def seconds_since(when: str) -> float:
    """How long ago a record was written; of a time that cannot be read, for ever."""
    try:
        return (datetime.now(UTC) - datetime.strptime(when, TIME).replace(tzinfo=UTC)).total_seconds()
    except ValueError:
        return float("inf")


@dataclass(frozen=True)
class PromotionEvent:
    """One promotion or rollback, as its record says, or what was done without us, in MLflow itself."""

    kind: Literal["promotion", "rollback", "outside"]
    version: str
    """The version that was promoted, or left."""
    when: str
    """Empty where nobody noted it."""
    who: str
    why: str
    before: str | None
    """In production until then."""
    after: str | None
    against: Mapping[str, Any]
    """Figures by score: candidate, production, difference, …"""
    forced: bool
    approved: tuple[str, ...] = ()
    """Everybody who approved of it, where more than one had to."""
    pending: bool = False
    """Written down, and perhaps not done: a server moves an alias by a call of its own."""

    @classmethod
    def read(cls, version: str, tag: str, content: str) -> PromotionEvent | None:
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
            tuple(record.get("approved") or ()), bool(record.get("pending")),
        )  # fmt: skip

    @classmethod
    def outside(cls, last: PromotionEvent | None, after: str | None) -> PromotionEvent:
        """What must have happened after the last move that we know, for `production` to be where it is."""
        why = f"in MLflow itself, some time after {last}" if last else "in MLflow itself"
        before = last.after if last else None
        return cls(OUTSIDE, after or before or "", "", "", why, before, after, {}, False)

    def document(self) -> dict[str, Any]:
        """The record, as the tag holds it."""
        place = {"to": self.after} if self.kind == ROLLBACK else {"from": self.before}
        base = {"who": self.who, "when": self.when, "why": self.why, **place}
        base |= {"approved": list(self.approved)} if self.approved else {}
        base |= {"pending": True} if self.pending else {}
        return base if self.kind == ROLLBACK else {**base, "against": dict(self.against), "forced": self.forced}

    @property
    def tag(self) -> str:
        """The name of the tag that holds the record: `promotion.<time>`."""
        return f"{self.kind}.{self.when}"

    def __str__(self) -> str:
        if self.kind == OUTSIDE:
            done = f"was set to version {self.after}" if self.after else "was taken away"
            return f"production {done} {self.why}"
        verb = f"rolled back from version {self.version} to {self.after}"
        verb = f"promoted version {self.version}" if self.kind == PROMOTION else verb
        return f"{self.who} {verb} on {self.when[:19].replace('T', ' ')} UTC" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True)
class Approval:
    """A person's yes to a version, which waits for another's."""

    version: str
    who: str
    when: str
    why: str
    production: str | None
    """The version in production then: once another is there, it counts no more."""

    @classmethod
    def read(cls, version: str, tag: str, content: str) -> Approval | None:
        """The approval that a version's tag records; None for any other tag."""
        if not tag.startswith(f"{APPROVAL}."):
            return None
        try:
            record = json.loads(content)
            return cls(version, record["who"], record["when"], record["why"], record["production"])
        except (ValueError, KeyError, TypeError):
            return None

    def document(self) -> dict[str, Any]:
        """The record, as the tag holds it."""
        return {"who": self.who, "when": self.when, "why": self.why, "production": self.production}

    @property
    def tag(self) -> str:
        """The name of the tag that holds the record."""
        return f"{APPROVAL}.{self.when}"


@dataclass(frozen=True)
class AliasState:
    """The aliases and every version's tags at one moment."""

    aliases: Mapping[str, str]
    tags: Mapping[str, Mapping[str, str]]

    @property
    def production(self) -> str | None:
        """The version in production, None where there is none."""
        return self.aliases.get(PRODUCTION)

    def history(self) -> list[PromotionEvent]:
        """Every move that came to its end, oldest first, and between them those that somebody made without us."""
        recorded = [
            move
            for version, tags in self.tags.items()
            for tag, content in tags.items()
            if (move := PromotionEvent.read(version, tag, content))
        ]
        found, current, newest = [], self.production, True
        for move in sorted(recorded, key=lambda move: move.when, reverse=True):
            if move.pending and move.after != current:
                continue  # killed before it moved anything
            # A version that was deleted took its records along: what is missing between two others says nothing.
            if move.after != current and (newest or {current, move.after} <= set(self.tags)):
                found.append(PromotionEvent.outside(move, current))
            found.append(move)
            current, newest = move.before, False
        if newest and current:
            found.append(PromotionEvent.outside(None, current))
        return found[::-1]

    def events(self) -> list[PromotionEvent]:
        """Those of which there is a record, oldest first."""
        return [move for move in self.history() if move.kind != OUTSIDE]

    def approvals(self, version: str) -> list[Approval]:
        """Those of a version that count: given since production moved last, each person's first."""
        last = max((move.when for move in self.events()), default="")
        read = (Approval.read(version, tag, content) for tag, content in sorted(self.tags.get(version, {}).items()))
        found: dict[str, Approval] = {}
        for each in read:
            if each and each.when > last and each.production == self.production:
                found.setdefault(each.who, each)
        return list(found.values())

    def moved_outside(self) -> PromotionEvent | None:
        """How `production` came to be where it is, if that was not by a promotion or a rollback."""
        last = next(reversed(self.history()), None)
        return last if last and last.kind == OUTSIDE else None

    def production_at(self, when: str) -> str | None:
        """What was in production at that time, by the records."""
        later = [move for move in self.events() if move.when > when]
        return later[0].before if later else self.production

    def is_rejected(self, version: str) -> bool:
        """Whether its last move was a rollback away from it."""
        own = [move for move in self.events() if move.version == version]
        return REJECTED in self.tags.get(version, {}) or bool(own and own[-1].kind == ROLLBACK)

    def was_rolled_back(self, version: str) -> bool:
        """Whether it ever was, even if somebody promoted it again by hand."""
        rolled_back = any(move.kind == ROLLBACK and move.version == version for move in self.events())
        return rolled_back or self.is_rejected(version)

    def previous(self) -> str | None:
        """The version that a rollback goes to: in production before this one, and not rejected."""
        stack: list[str] = []
        for move in self.history():
            if move.kind == ROLLBACK:
                while stack and stack[-1] != move.after:
                    stack.pop()
                stack = stack or [move.after or ""]
            else:
                stack += [move.before] if move.before and stack[-1:] != [move.before] else []
                stack += [move.after] if move.after else []
        alias = self.aliases.get(PREVIOUS)
        if (outside := self.moved_outside()) and alias not in (None, self.production, self._own_previous(outside)):
            stack = [alias, self.production or ""]  # whoever moved the one moved the other, too
        for version in reversed(stack[:-1] if self.production else stack):
            if version in self.tags and version != self.production and not self.is_rejected(version):
                return version
        return None

    def _own_previous(self, outside: PromotionEvent) -> str | None:
        """What `previous` was before other hands than ours moved `production`."""
        if outside.before is None:
            return None
        return replace(self, aliases={**self.aliases, PRODUCTION: outside.before}).previous()


def overtaken(name: str, state: AliasState) -> str:
    """Which version is in production, and who brought it there."""
    last = next(reversed(state.history()), None)
    now = f"{name}: version {state.production} is" if state.production else f"{name}: nothing is"
    return f"{now} in production" + (f" by now, {last}" if last else "")
