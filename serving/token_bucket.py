"""How often somebody may do something in a minute: a token bucket for each, in this process alone."""

import time

MOST = 10_000
"""Buckets in memory; beyond, those that are full are forgotten."""


class TokenBuckets:
    """A minute's tokens may be spent at once, and then one after the other as they come."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float, int]] = {}

    def wait(self, name: str, per_minute: int) -> float:
        """Seconds until there is a token; 0: there is one."""
        return max(0.0, 1 - self._tokens(name, per_minute)) * 60 / per_minute

    def spend(self, name: str, per_minute: int) -> None:
        """Take a token."""
        if len(self._left) >= MOST:
            self._left = {known: self._left[known] for known in self._left if not self._is_full(known)}
        self._left[name] = self._tokens(name, per_minute) - 1, time.monotonic(), per_minute

    def _tokens(self, name: str, per_minute: int) -> float:
        now = time.monotonic()
        left, before, _ = self._left.get(name, (float(per_minute), now, per_minute))
        return min(float(per_minute), left + (now - before) * per_minute / 60)

    def _is_full(self, name: str) -> bool:
        per_minute = self._left[name][2]
        return self._tokens(name, per_minute) >= per_minute
