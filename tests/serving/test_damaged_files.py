"""A file that a disk has damaged is as good as gone, and no other has to suffer for it."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.files import write_durable
from serving.character_store import Caller, CharacterStore
from serving.idempotency import IdempotencyKeys
from serving.player_tokens import PlayerTokens
from serving.short_codes import ShortCodes

DAMAGED = [b"", b'{"id": "half', b"\xff\0", b"[]", b"7", b"{}"]


def test_a_durable_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    had_its_name: list[bool] = []
    monkeypatch.setattr("engine.files.os.fsync", lambda _: had_its_name.append((tmp_path / "a").exists()))
    write_durable(tmp_path / "a", b"1")
    assert had_its_name == [False, True], "the file, then its folder"


@pytest.mark.parametrize("content", DAMAGED)
def test_what_is_damaged_is_gone(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    characters, tokens, codes = CharacterStore(tmp_path, timedelta(1)), PlayerTokens(tmp_path), ShortCodes(tmp_path)
    mine = Caller("game", "me")
    damaged, whole = (characters.add({}, mine) for _ in range(2))
    token, _ = tokens.make(mine, timedelta(1))
    other, _ = tokens.make(mine, timedelta(1))
    code = codes.make("character", timedelta(1), datetime.max.replace(tzinfo=UTC))
    (path,) = (path for path in tmp_path.glob("*.token") if tokens.find(token) and path == tokens._path(token))  # pyright: ignore
    for file in (characters.path(damaged.id), path, *tmp_path.glob("*.code"), *tmp_path.glob("*.id")):
        file.write_bytes(content)
    assert characters.of_player(mine) == [whole] and str(characters.path(damaged.id)) in caplog.text
    assert tokens.find(token) is None and tokens.find(other) and tokens.delete_of(mine) == 1
    assert codes.find(code.code) is None
    assert codes.find(codes.make("character", timedelta(1), datetime.max.replace(tzinfo=UTC)).code) == "character"


def test_a_damaged_idempotency_key_stands_for_nothing(tmp_path: Path) -> None:
    async def claimed() -> str:
        async with IdempotencyKeys(tmp_path).once("game", "a", b"photo") as claim:
            return claim.id

    first = asyncio.run(claimed())
    assert asyncio.run(claimed()) == first
    (path,) = tmp_path.glob("*.key")
    path.write_bytes(b"{")
    assert asyncio.run(claimed()) != first
