"""One request at a time has a key, and what came of it is known for a day."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from serving.idempotency import IdempotencyKeys, InProgress, KeyReused


def test_a_key_is_one_requests_at_a_time_and_stands_for_what_came_of_it(tmp_path: Path) -> None:
    here, elsewhere = IdempotencyKeys(tmp_path), IdempotencyKeys(tmp_path)

    async def requests() -> None:
        with pytest.raises(ZeroDivisionError):
            async with here.once("game", "a", b"photo") as claim:
                claim.id = str(1 / 0)
        async with here.once("game", "a", b"photo") as claim:
            assert claim.id == "", "what failed is made anew"
            with pytest.raises(InProgress):
                async with elsewhere.once("game", "a", b"photo"):
                    pass
            async with elsewhere.once("another game", "a", b"photo") as other:
                assert other.id == ""
            claim.id = "character"
        async with elsewhere.once("game", "a", b"photo") as again:
            assert again.id == "character"
        with pytest.raises(KeyReused):
            async with here.once("game", "a", b"another photo"):
                pass

    asyncio.run(requests())


def test_keys_are_forgotten_after_a_day_and_say_nothing_of_the_photo(tmp_path: Path) -> None:
    keys = IdempotencyKeys(tmp_path)

    async def request() -> str:
        async with keys.once("game", "a", b"photo") as claim:
            known, claim.id = claim.id, "character"
        return known

    assert asyncio.run(request()) == "" and asyncio.run(request()) == "character"
    assert not any(b"photo" in path.read_bytes() for path in tmp_path.iterdir())
    keys.delete_expired()
    assert asyncio.run(request()) == "character"
    before = time.time() - 90_000
    for path in tmp_path.iterdir():
        os.utime(path, (before, before))
    keys.delete_expired()
    assert list(tmp_path.iterdir()) == [] and asyncio.run(request()) == ""
