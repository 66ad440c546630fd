"""A clock that stands still, for what would be another at midnight."""

from datetime import UTC, date, datetime, time, tzinfo

import pytest


def stop_clock(monkeypatch: pytest.MonkeyPatch, day: date, *modules: str) -> None:
    """`datetime.now` of these modules says noon of a day, UTC."""
    noon = datetime.combine(day, time(12), UTC)

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # pyright: ignore[reportIncompatibleMethodOverride]
            return noon.astimezone(tz)

    for module in modules:
        monkeypatch.setattr(f"{module}.datetime", Stopped)
