"""One request at a time has a key, and what came of it is known for a day."""

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from serving.idempotency import Claim, IdempotencyKeys, InProgress, KeyReused


def test_a_key_is_one_requests_at_a_time_and_stands_for_what_came_of_it(tmp_path: Path) -> None:
    here, elsewhere = IdempotencyKeys(tmp_path), IdempotencyKeys(tmp_path)

    async def requests() -> None:
        async with here.once("game", "a", b"photo") as claim:
            assert not claim.begun
            with pytest.raises(InProgress):
                async with elsewhere.once("game", "a", b"photo"):
                    pass
            async with elsewhere.once("another game", "a", b"photo") as other:
                assert other.id != claim.id
        async with elsewhere.once("game", "a", b"photo") as again:
            assert again.id == claim.id and again.made
        with pytest.raises(KeyReused):
            async with here.once("game", "a", b"another photo"):
                pass

    asyncio.run(requests())


def test_what_fails_is_made_anew_under_the_id_that_was_reserved_for_it(tmp_path: Path) -> None:
    keys = IdempotencyKeys(tmp_path)

    async def fails(request: bytes) -> Claim:
        with pytest.raises(ZeroDivisionError):
            async with keys.once("game", "a", request) as claim:
                raise ZeroDivisionError
        return claim

    async def requests() -> None:
        first, again, another = [await fails(request) for request in (b"photo", b"photo", b"another photo")]
        assert (again.id, again.begun, again.made) == (first.id, True, False), "it may have been made all the same"
        assert another.id != first.id and not another.begun, "a key is for another request after one that failed"

    asyncio.run(requests())


def test_a_key_that_a_version_before_kept_stands_for_its_character(tmp_path: Path) -> None:
    async def claimed() -> Claim:
        async with IdempotencyKeys(tmp_path).once("game", "a", b"photo") as claim:
            return claim

    asyncio.run(claimed())
    (path,) = tmp_path.glob("*.key")
    path.write_text(json.dumps({"id": "character", "request": json.loads(path.read_text())["request"]}))
    assert asyncio.run(claimed()) == Claim("character", begun=True, made=True)


def test_keys_are_forgotten_after_a_day_and_say_nothing_of_the_photo(tmp_path: Path) -> None:
    keys = IdempotencyKeys(tmp_path)

    async def request() -> str:
        async with keys.once("game", "a", b"photo") as claim:
            return claim.id

    first = asyncio.run(request())
    assert asyncio.run(request()) == first
    assert not any(b"photo" in path.read_bytes() for path in tmp_path.iterdir())
    keys.delete_expired()
    assert asyncio.run(request()) == first
    before = time.time() - 90_000
    for path in tmp_path.iterdir():
        os.utime(path, (before, before))
    keys.delete_expired()
    assert list(tmp_path.iterdir()) == [] and asyncio.run(request()) != first
