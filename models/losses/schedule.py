"""Which terms weigh how much, and when."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class LossWeights:
    """The factor of each term in the sum; 0 leaves a term out. Defaults: the papers' lambdas, without supervision."""

    identity: float = 0.01
    content: float = 1.0
    loop: float = 1.0
    decay: float = 0.0
    supervised: float = 0.0
    recognised: float = 0.0
    """The identity term by the identity imitator, which needs no drawing."""

    def __post_init__(self) -> None:
        negative = [f.name for f in fields(self) if getattr(self, f.name) < 0]
        if negative:
            raise ValueError(f"loss weights cannot be negative: {', '.join(negative)}")


@dataclass(frozen=True)
class Schedule:
    """When photos are drawn and compared, and how firmly choices are made.

    The papers' training (TPAMI 2022, section 3.5): every 4th step draws from all photos and leaves out the content
    term, whose outlines mean nothing for a face seen from the side; the other steps draw from frontal photos.
    """

    first: int = 0
    """The first step with photo terms; before it, only the supervised term runs."""
    every: int = 1
    """Photo terms run in one step of this many."""
    ramp: int = 0
    """Steps over which the photo terms' weights rise from 0 to their full value."""
    side_every: int = 4
    """Of the steps with photos, one in this many draws from all of them, without the content term; 0: all steps draw
    from all photos, and a frontal one always has the content term.
    """
    temperature: float = 1.0
    """Of the discrete groups' softmax at the first step."""
    temperature_end: float = 1.0
    """The same at the last step; between them it falls by a constant factor."""

    def __post_init__(self) -> None:
        if min(self.first, self.ramp, self.side_every) < 0 or self.every < 1:
            raise ValueError("first, ramp and side_every count steps from 0, every from 1")
        if not 0 < self.temperature_end <= self.temperature:
            raise ValueError(
                f"the temperature falls from {self.temperature}, so it cannot end at {self.temperature_end}"
            )

    def uses_photos(self, step: int) -> bool:
        """Whether photos take part in this step."""
        return step >= self.first and step % self.every == 0

    def turn(self, step: int) -> int:
        """How many steps with photos came before this one, counted from step 0."""
        return step // self.every

    def includes_side_views(self, step: int) -> bool:
        """Whether this step draws from all photos, not from the frontal ones alone."""
        return self.side_every == 0 or self.turn(step) % self.side_every == self.side_every - 1

    def has_content(self, step: int) -> bool:
        """Whether frontal photos of this step have the content term."""
        return self.side_every == 0 or not self.includes_side_views(step)

    def warmup(self, step: int) -> float:
        """Factor on the photo terms, in [0, 1]."""
        if not self.ramp:
            return 1.0
        return min(1.0, max(0.0, (step - self.first + 1) / self.ramp))

    def temperature_at(self, step: int, steps: int) -> float:
        """Temperature of the softmax at a step of `steps`."""
        done = min(step / max(steps - 1, 1), 1.0)
        return self.temperature * (self.temperature_end / self.temperature) ** done
