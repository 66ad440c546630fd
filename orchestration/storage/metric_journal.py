"""What a tracked run has logged so far, in a file beside its checkpoints: who goes on from these goes on with it too.

MLflow takes metrics in batches, so a killed process leaves out the last ones; what the training then logs again since
its last checkpoint would stand there twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Point(NamedTuple):
    """One value of a metric; `time` in milliseconds."""

    key: str
    value: float
    time: int
    step: int


@dataclass
class Journal:
    """The newest MLflow run of a file, and every point that was logged to any."""

    path: Path
    run_id: str = ""
    points: list[Point] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Journal:
        """An empty one where there is no file; the half line that a killed process left is passed over."""
        journal = cls(path)
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                content = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(content, str):
                journal.run_id = content
            else:
                journal.points += [Point(*point) for point in content]
        return journal

    def begin(self, run_id: str) -> None:
        """From now on the run is this one."""
        self.run_id = run_id
        self._write(run_id)

    def add(self, points: Iterable[Point]) -> None:
        """Write down what is logged now."""
        self._write(list(points))

    def _write(self, content: object) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The end of the line comes first: the last line may be a half one.
        with self.path.open("a") as file:
            file.write(f"\n{json.dumps(content)}")
