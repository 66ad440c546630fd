"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """The state of one thing; a warning does not keep anything from working."""

    name: str
    level: Level
    detail: str
    remedy: str = ""
    """What to do where it is not ok."""

    @property
    def ok(self) -> bool:
        return self.level != "error"

    @classmethod
    def good(cls, name: str, detail: str) -> Self:
        return cls(name, "ok", detail)

    @classmethod
    def odd(cls, name: str, detail: str, remedy: str) -> Self:
        return cls(name, "warning", detail, remedy)

    @classmethod
    def bad(cls, name: str, detail: str, remedy: str) -> Self:
        return cls(name, "error", detail, remedy)

    @classmethod
    def of(cls, name: str, ok: bool, detail: str, remedy: str) -> Self:
        return cls.good(name, detail) if ok else cls.bad(name, detail, remedy)

    def summary(self) -> dict[str, str | bool]:
        return {
            "name": self.name,
            "ok": self.ok,
            "level": self.level,
            "detail": self.detail,
            "remedy": self.remedy,
        }
