"""How often somebody may do something in a minute, or another time: a token bucket for each, in this process alone."""

import time

MOST = 10_000
"""Buckets in memory; beyond, those that are full are forgotten."""


class TokenBuckets:
    """A minute's tokens may be spent at once, and then one after the other as they come.

    `period`: seconds, where it is not a minute's.
    """

    def __init__(self, period: float = 60.0) -> None:
        self.period = period
        self._left: dict[str, tuple[float, float, int]] = {}
        self._most = MOST

    def wait(self, name: str, most: int, count: int = 1) -> float:
        """Seconds until there are so many tokens, of `most` that come in a period; 0: there are."""
        return max(0.0, count - self._tokens(name, most)) * self.period / most

    def spend(self, name: str, most: int, count: int = 1) -> None:
        """Take tokens; less than none gives them back."""
        if len(self._left) >= self._most:
            self._left = {known: self._left[known] for known in self._left if not self._is_full(known)}
            # Twice what is left: of many who come within a period not each one has to look through all.
            self._most = max(MOST, 2 * len(self._left))
        self._left[name] = self._tokens(name, most) - count, time.monotonic(), most

    def _tokens(self, name: str, most: int) -> float:
        now = time.monotonic()
        left, before, _ = self._left.get(name, (float(most), now, most))
        return min(float(most), left + (now - before) * most / self.period)

    def _is_full(self, name: str) -> bool:
        most = self._left[name][2]
        return self._tokens(name, most) >= most
