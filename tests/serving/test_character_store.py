"""Characters that were made, until they expire."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from serving.character_store import CharacterStore, UnknownCharacter

DAY = timedelta(days=1)


def test_a_character_is_its_owners_alone(tmp_path: Path) -> None:
    characters = CharacterStore(tmp_path, DAY)
    made = characters.add({"format": 1}, "ann")
    assert CharacterStore(tmp_path, DAY).get(made.id, "ann") == made
    for id, owner in ((made.id, "bob"), (made.id[:-1] + "~", "ann"), ("../../etc/passwd", "ann"), ("x" * 22, "ann")):
        with pytest.raises(UnknownCharacter):
            characters.get(id, owner)


def test_a_change_keeps_when_it_was_made_and_when_it_goes(tmp_path: Path) -> None:
    characters = CharacterStore(tmp_path, DAY)
    made = characters.add({"format": 1}, "")
    changed = characters.change(made.id, "", lambda document: {**document, "edited": ["sex"]})
    assert characters.get(made.id, "") == changed
    assert changed.document == {"format": 1, "edited": ["sex"]}
    assert (changed.created, changed.expires) == (made.created, made.expires)


def test_deleting_erases_the_photo_too(tmp_path: Path) -> None:
    characters = CharacterStore(tmp_path, DAY)
    made = characters.add({}, "", b"photo", "image/png")
    assert characters.photo(made.id, "") == (b"photo", "image/png")
    characters.delete(made.id, "")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    with pytest.raises(UnknownCharacter):
        characters.delete(made.id, "")


@pytest.mark.slow
def test_what_has_expired_is_not_found_and_swept_away_with_its_photo(tmp_path: Path) -> None:
    characters = CharacterStore(tmp_path, timedelta(seconds=1))
    made = characters.add({}, "", b"photo", "image/png")
    characters.change(made.id, "", lambda document: {"edited": ["sex"]})
    young = CharacterStore(tmp_path, DAY).add({}, "")
    assert CharacterStore(tmp_path, DAY).delete_expired() == 0
    for path in tmp_path.rglob(f"{made.id}.photo"):
        os.utime(path, (0, 0))
    time.sleep(2.1)
    with pytest.raises(UnknownCharacter):
        characters.get(made.id, "")
    os.utime(next(tmp_path.rglob(f"{young.id}.json")))
    assert characters.delete_expired() == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{young.id}.json"]
