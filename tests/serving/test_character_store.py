"""Characters that were made, until they expire."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from serving.character_store import Caller, ChangedSince, CharacterStore, ErasedMeanwhile, Record, UnknownCharacter

DAY = timedelta(days=1)
ANN, BOB, NOBODY = Caller("ann"), Caller("bob"), Caller("")


def files(folder: Path) -> list[Path]:
    """All that is kept; locks hold nothing."""
    return [path for path in folder.rglob("*") if path.is_file() and path.parent.name != ".locks"]


def test_a_character_is_its_owners_alone(tmp_path: Path) -> None:
    characters = CharacterStore(tmp_path, DAY)
    made = characters.add({"format": 1}, ANN)
    assert CharacterStore(tmp_path, DAY).get(made.id, ANN) == made
    for id, owner in ((made.id, BOB), (made.id[:-1] + "~", ANN), ("../../etc/passwd", ANN), ("x" * 22, ANN)):
        with pytest.raises(UnknownCharacter):
            characters.get(id, owner)


def test_a_players_characters_are_found_by_the_player_and_seen_by_nobody_else_of_the_game(tmp_path: Path) -> None:
    characters, mine, yours = CharacterStore(tmp_path, DAY), Caller("game", "me"), Caller("game", "you")
    made = [characters.add({"n": n}, mine) for n in range(2)]
    for other in (yours, Caller("game"), Caller("another game", "me")):
        characters.add({}, other)
    assert {record.id for record in characters.of_player(mine)} == {record.id for record in made}
    assert characters.get(made[0].id, Caller("game")).player == "me", "the key's owner sees all of its players'"
    for other in (yours, Caller("another game"), Caller("another game", "me")):
        with pytest.raises(UnknownCharacter):
            characters.get(made[0].id, other)
    characters.delete(made[0].id, mine)
    assert [record.id for record in characters.of_player(mine)] == [made[1].id]


def test_a_change_keeps_when_it_was_made_and_when_it_goes(tmp_path: Path) -> None:
    characters = CharacterStore(tmp_path, DAY)
    made = characters.add({"format": 1}, NOBODY)
    changed = characters.change(made.id, NOBODY, lambda document: {**document, "edited": ["sex"]})
    assert characters.get(made.id, NOBODY) == changed
    assert changed.document == {"format": 1, "edited": ["sex"]}
    assert (changed.created, changed.expires) == (made.created, made.expires)


def test_changes_at_once_are_all_kept_and_nobody_deletes_meanwhile(tmp_path: Path) -> None:
    made = CharacterStore(tmp_path, DAY).add({}, NOBODY)

    def change(name: int) -> str:
        def slowly(document: dict[str, Any]) -> dict[str, Any]:
            time.sleep(0.01)
            return {**document, str(name): name}

        # A store each, as every process of a service has its own.
        return CharacterStore(tmp_path, DAY).change(made.id, NOBODY, slowly).etag

    with ThreadPoolExecutor(12) as pool:
        tags = set(pool.map(change, range(24)))
    assert CharacterStore(tmp_path, DAY).get(made.id, NOBODY).document == {str(name): name for name in range(24)}
    assert len(tags | {made.etag}) == 25, "each change has another entity tag"

    def deleted_meanwhile(document: dict[str, Any]) -> dict[str, Any]:
        with pytest.raises(Timeout):
            FileLock(tmp_path / ".locks" / made.id[:2], 0.01).acquire()
        return document

    CharacterStore(tmp_path, DAY).change(made.id, NOBODY, deleted_meanwhile)


def test_a_change_of_what_has_changed_since_is_refused(tmp_path: Path) -> None:
    characters = CharacterStore(tmp_path, DAY)
    made = characters.add({}, NOBODY)
    changed = characters.change(made.id, NOBODY, lambda document: {"a": 1}, lambda etag: etag == made.etag)
    with pytest.raises(ChangedSince):
        characters.change(made.id, NOBODY, lambda document: {"a": 2}, lambda etag: etag == made.etag)
    assert characters.get(made.id, NOBODY) == changed


def test_deleting_erases_the_photo_too(tmp_path: Path) -> None:
    characters = CharacterStore(tmp_path, DAY)
    made = characters.add({}, NOBODY, b"photo", "image/png")
    assert characters.photo(made.id, NOBODY) == (b"photo", "image/png")
    characters.delete(made.id, NOBODY)
    assert not files(tmp_path)
    with pytest.raises(UnknownCharacter):
        characters.delete(made.id, NOBODY)


def test_a_players_characters_are_listed_as_they_were_made_however_fast(tmp_path: Path) -> None:
    characters, mine = CharacterStore(tmp_path, DAY), Caller("game", "me")
    made = [characters.add({}, mine).id for _ in range(8)]
    assert [record.id for record in characters.of_player(mine)] == made


def test_what_began_before_a_player_was_erased_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere, me = CharacterStore(tmp_path, DAY), CharacterStore(tmp_path, DAY), Caller("game", "me")
    made, begun = here.add({}, me), datetime.now(UTC)
    assert elsewhere.erase_player(me) == [made.id]
    with pytest.raises(ErasedMeanwhile):
        here.add({}, me, b"photo", "image/png", begun=begun)
    write = CharacterStore._write  # pyright: ignore[reportPrivateUsage]

    def erased_meanwhile(store: CharacterStore, record: Record) -> None:
        assert elsewhere.erase_player(me) == []
        write(store, record)

    with monkeypatch.context() as patched, pytest.raises(ErasedMeanwhile):
        patched.setattr(CharacterStore, "_write", erased_meanwhile)
        here.add({}, me, b"photo", "image/png", begun=datetime.now(UTC))
    assert {path.suffix for path in files(tmp_path)} == {".erased"} and here.of_player(me) == []
    for caller, when in ((Caller("game", "you"), begun), (me, datetime.now(UTC))):
        here.get(here.add({}, caller, begun=when).id, caller)


def test_what_has_expired_goes_as_was_promised_whatever_is_set_today(tmp_path: Path) -> None:
    mine, photo = Caller("game", "me"), (b"photo", "image/png")
    made = CharacterStore(tmp_path, -DAY).add({}, mine, *photo)
    kept = CharacterStore(tmp_path, DAY).add({}, mine, *photo)
    CharacterStore(tmp_path, timedelta(0)).change(kept.id, mine, lambda document: {"edited": ["sex"]})
    today = CharacterStore(tmp_path, timedelta(0))
    with pytest.raises(UnknownCharacter):
        today.get(made.id, mine)
    assert CharacterStore(tmp_path, 365 * DAY).delete_expired() == 1 and today.delete_expired() == 0
    assert sorted(path.name for path in files(tmp_path)) == sorted([kept.id, f"{kept.id}.json", f"{kept.id}.photo"])
    today.delete(kept.id, mine)
    for path in (tmp_path / ".players").iterdir():  # a folder goes when nothing was in it for a while
        os.utime(path, (0, 0))
    today.delete_expired()
    assert not files(tmp_path) and not any((tmp_path / ".players").iterdir())


def test_files_of_versions_before_get_their_time_and_orphans_go(tmp_path: Path) -> None:
    characters, mine, before = CharacterStore(tmp_path, DAY), Caller("game", "me"), time.time() - 7200
    kept, orphan = (characters.add({}, mine, b"photo", "image/png") for _ in range(2))
    characters.path(orphan.id).unlink()
    for path in files(tmp_path):
        os.utime(path, (before, before))  # when it was made
    assert characters.delete_expired() == 0
    assert {path.stem for path in files(tmp_path)} == {kept.id}
    assert {path.stat().st_mtime for path in files(tmp_path)} == {kept.expires.timestamp()}


def test_what_cannot_be_deleted_keeps_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    characters = CharacterStore(tmp_path, -DAY)
    made = [characters.add({}, NOBODY) for _ in range(3)]
    stuck, unlink = characters.path(made[1].id), Path.unlink

    def fails(path: Path, missing_ok: bool = False) -> None:
        if path == stuck:
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", fails)
    assert characters.delete_expired() == 2 and files(tmp_path) == [stuck] and str(stuck) in caplog.text


def test_expired_characters_are_erased_with_their_player(tmp_path: Path) -> None:
    mine = Caller("game", "me")
    made = CharacterStore(tmp_path, -DAY).add({}, mine, b"photo", "image/png")
    assert CharacterStore(tmp_path, DAY).erase_player(mine) == [made.id]
    assert [path.suffix for path in files(tmp_path)] == [".erased"]
