"""Who is in which split, over all sets: a person who is held out anywhere trains nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from engine.words import a_few

from .base import NAMED, DatasetPhoto, PhotoSetError

HELD_OUT_MOST = ("test", "val", "train")


@dataclass(frozen=True)
class People:
    """The split of each person, and how many photos there are."""

    split: dict[str, str]
    photos: int

    def admits(self, photo: DatasetPhoto) -> bool:
        """Whether a photo's split is its person's; if not, the person is held out elsewhere."""
        return self.split[photo.person] == photo.split


def splits(photos: Iterable[DatasetPhoto], mixed_people: Literal["error", "leave_out"] = "error") -> People:
    """One pass over all photos. Somebody in two splits is an error that names them; with `leave_out` they count for the
    split that holds them out most, and their other photos are not admitted. Raises PhotoSetError.
    """
    split: dict[str, str] = {}
    mixed: dict[str, set[tuple[str, str]]] = {}
    place: dict[str, str] = {}
    count = 0
    for photo in photos:
        count += 1
        known = split.setdefault(photo.person, photo.split)
        place.setdefault(photo.person, photo.source)
        if known != photo.split:
            mixed.setdefault(photo.person, {(known, place[photo.person])}).add((photo.split, photo.source))
            split[photo.person] = min(known, photo.split, key=HELD_OUT_MOST.index)
    if mixed and mixed_people == "error":
        named = [
            f"{person} ({', '.join(f'{part} in {source}' for part, source in sorted(found))})"
            for person, found in sorted(mixed.items())
        ]
        raise PhotoSetError(
            f"people in more than one split: {a_few(named, NAMED, '; ')}. Nobody may be trained on and scored: give "
            "the sets one split, or set `mixed_people: leave_out` to leave their training photos out"
        )
    return People(split, count)
