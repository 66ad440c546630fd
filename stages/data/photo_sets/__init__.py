"""Real photo sets, each read in the layout that its authors publish; what they have in common is in base.py.

`AnyPhotoSet` is an entry of a profile, told apart by `kind`; `splits` makes sure that nobody who is held out trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

from .base import DatasetPhoto, LabelledPhoto, PhotoSet, PhotoSetError, VerificationPair
from .celeba import CelebASet
from .celeba_mask_hq import CelebAMaskHQSet
from .folder import FolderSet
from .helen import HelenSet
from .lapa import LapaSet
from .lfw import LfwSet
from .people import PeopleSet
from .splits import People, splits
from .verification_bin import VerificationBinSet
from .vggface2 import VggFace2Set

__all__ = [
    "AnyPhotoSet", "DatasetPhoto", "FolderSet", "LabelledPhoto", "People", "PhotoSet", "PhotoSetError",
    "VerificationPair", "check_together", "labelled_in", "pairs_of", "photos_of", "splits",
]  # fmt: skip

AnyPhotoSet = Annotated[
    FolderSet
    | PeopleSet
    | VggFace2Set
    | CelebASet
    | LfwSet
    | VerificationBinSet
    | HelenSet
    | LapaSet
    | CelebAMaskHQSet,
    Field(discriminator="kind"),
]


def check_together(sets: Sequence[PhotoSet]) -> None:
    """Raises ValueError when sets have the same name, lie in one another's way, or show the same people without saying
    so.
    """
    names = [one.name for one in sets]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two photo sets are called {twice[0]}: give each its own name")
    for own in (one for one in sets if isinstance(one, FolderSet)):
        for one in sets:
            if one is not own and PurePosixPath(own.path).is_relative_to(PurePosixPath(one.path)):
                raise ValueError(
                    f"photo set {own.name} lies in {one.path}, the place of {one.name}: its photos would count twice; "
                    f"move {one.name} into a folder of its own"
                )
    if any(isinstance(one, CelebASet) for one in sets):
        for one in sets:
            if isinstance(one, CelebAMaskHQSet) and one.celeba is None:
                raise ValueError(
                    f"photo set {one.name} shows people of CelebA, which is here too: "
                    "name the folder of CelebA's lists (`celeba: <path>`), so that it is known who they are"
                )


def photos_of(sets: Sequence[PhotoSet], source: Path) -> Iterator[DatasetPhoto]:
    """The photos of all sets, set by set. Raises PhotoSetError."""
    for one in sets:
        yield from one.selected(source, _places_of_others(one, sets, source))


def labelled_in(sets: Sequence[PhotoSet], source: Path) -> Iterator[LabelledPhoto]:
    """What people say of the photos of all sets. Raises PhotoSetError."""
    for one in sets:
        yield from one.labelled(source, _places_of_others(one, sets, source))


def _places_of_others(one: PhotoSet, sets: Sequence[PhotoSet], source: Path) -> set[Path]:
    return {source / place for other in sets if other is not one for place in other.places}


def pairs_of(sets: Sequence[PhotoSet], source: Path) -> Iterator[VerificationPair]:
    """The verification pairs of all sets. Raises PhotoSetError."""
    for one in sets:
        yield from one.selected_pairs(source)
