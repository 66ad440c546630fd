"""What a check of `likeness doctor` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Diagnosis:
    """The state of one thing; a warning does not keep anything from working."""

    name: str
    level: Level
    detail: str
    remedy: str = ""
    """What to do where it is not ok."""

    @property
    def is_ok(self) -> bool:
        """Whether nothing is kept from working."""
        return self.level != "error"

    @classmethod
    def ok(cls, name: str, detail: str) -> Self:
        """All is well."""
        return cls(name, "ok", detail)

    @classmethod
    def warning(cls, name: str, detail: str, remedy: str) -> Self:
        """Something works, but not as it should."""
        return cls(name, "warning", detail, remedy)

    @classmethod
    def error(cls, name: str, detail: str, remedy: str) -> Self:
        """Something does not work."""
        return cls(name, "error", detail, remedy)

    @classmethod
    def of(cls, name: str, ok: bool, detail: str, remedy: str) -> Self:
        """All is well, or an error with its remedy."""
        return cls.ok(name, detail) if ok else cls.error(name, detail, remedy)

    def summary(self) -> dict[str, str | bool]:
        """What `likeness doctor --json` prints of it."""
        return {"name": self.name, "ok": self.is_ok, **vars(self)}
