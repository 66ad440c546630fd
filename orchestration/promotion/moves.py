"""What can happen to a registered model's aliases, and what the record of each move says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

CANDIDATE, PRODUCTION, PREVIOUS, NEWEST = "candidate", "production", "previous", "newest"
REJECTED = "rejected"
"""Tag of a version that was rolled back: it is not promoted again by itself."""
PROMOTION, ROLLBACK = "promotion", "rollback"


class RegistryError(Exception):
    """There is no such model or version, or the registry cannot be used."""


class UnknownVersion(RegistryError):
    """The registry answers, and has no such version or alias."""


def now() -> str:
    """UTC to the microsecond: two moves never bear the same time."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


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
