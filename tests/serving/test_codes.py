"""Short codes: made, typed as people type, expired, deleted; and those who guess have to wait."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from engine.files import write_durable
from serving.app import build
from serving.character_store import Caller
from serving.corrections import digest_of_player
from serving.keys import Keys
from serving.short_codes import SYMBOLS, ShortCodes, normalized
from serving.token_bucket import TokenBuckets
from tests.serving import support
from tests.serving.api_client import HERE, SERVICE, problem
from tests.serving.support import Shelf
from tests.serving.test_access import random_document

DAY = timedelta(days=1)


def test_a_code_is_found_however_it_is_typed(tmp_path: Path) -> None:
    codes, never = ShortCodes(tmp_path), datetime.now(UTC) + timedelta(days=99)
    made = codes.make("character", DAY, never)
    assert len(made.code) == 8 and set(made.code) <= set(SYMBOLS) and str(made).replace("-", "") == made.code
    assert made.expires - datetime.now(UTC) <= DAY
    for typed in (str(made), str(made).lower(), f" {made.code[:2]} {made.code[2:]}", made.code.replace("0", "o")):
        assert codes.find(typed) == "character"
    assert normalized("oil0-0110") == "01100110" and normalized("K7M2-QX9U") == normalized("../../keys") == ""
    assert codes.make("character", DAY, never) == made, "one character has one code"
    later = codes.make("character", 3 * DAY, never)
    assert later != made and codes.find(made.code) is None and codes.find(later.code) == "character"
    codes.delete_of("character")
    assert codes.find(later.code) is None and not list(tmp_path.iterdir())


def test_a_code_ends_at_its_time_and_no_later_than_its_character(tmp_path: Path) -> None:
    codes, now = ShortCodes(tmp_path), datetime.now(UTC)
    assert codes.make("a", DAY, now + timedelta(hours=1)).expires <= now + timedelta(hours=1)
    assert codes.find(codes.make("b", DAY, now - timedelta(seconds=1)).code) is None


def test_a_code_that_is_handed_out_works_whatever_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, never = ShortCodes(tmp_path), datetime.now(UTC) + timedelta(days=99)
    for written in range(2):  # the disk fails after so many files

        def fails(path: Path, content: bytes, left: list[int] = [written]) -> None:  # noqa: B006
            if not left[0]:
                raise OSError
            left[0] -= 1
            write_durable(path, content)

        with monkeypatch.context() as patched, pytest.raises(OSError):
            patched.setattr("serving.short_codes.write_durable", fails)
            codes.make(f"character {written}", DAY, never)
        assert codes.find(codes.make(f"character {written}", DAY, never).code) == f"character {written}"
    left = codes.make("of a version before", DAY, never)
    (tmp_path / f"{left.code}.code").write_bytes(b"")
    assert codes.find(codes.make("of a version before", DAY, never).code) == "of a version before"


def test_a_bucket_is_empty_after_a_minutes_worth_and_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now, buckets = 0.0, TokenBuckets()
    monkeypatch.setattr("serving.token_bucket.time.monotonic", lambda: now)
    for _ in range(3):
        assert buckets.wait("a", 3) == 0
        buckets.spend("a", 3)
    assert (buckets.wait("a", 3), buckets.wait("b", 3)) == (20, 0)
    now = 15.0
    assert buckets.wait("a", 3) == pytest.approx(5)
    now = 20.0
    assert buckets.wait("a", 3) == pytest.approx(0, abs=1e-9)


def test_a_code_gives_its_character_to_who_may_see_it(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    game, another = keys.add("game"), keys.add("another")
    client = TestClient(build(SERVICE, Shelf({}, None), support.paths(tmp_path), keys), HERE)

    def asked(key: str, method: str, path: str, **more: object):
        return client.request(method, path, headers={"authorization": f"Bearer {key}"}, **more)  # pyright: ignore

    store = client.app.state.serving.characters  # pyright: ignore[reportAttributeAccessIssue]
    mine = store.add(random_document(asked, game), Caller("game", digest_of_player("me")))
    made = asked(game, "POST", f"/v1/characters/{mine.id}.code", json={"seconds": 600})
    assert made.status_code == 201 and made.headers["cache-control"] == "no-store"
    assert datetime.fromisoformat(made.json()["expires"]) <= datetime.now(UTC) + timedelta(seconds=600)
    here = made.headers["location"]
    found = asked(game, "GET", here.lower())
    assert found.json()["id"] == mine.id and found.headers["etag"] == mine.etag
    assert problem(asked(another, "GET", here)) == "unknown-code"
    assert problem(asked(another, "POST", f"/v1/characters/{mine.id}.code")) == "unknown-character"
    for seconds in (59, 604_801):
        assert problem(asked(game, "POST", f"/v1/characters/{mine.id}.code", json={"seconds": seconds})) == "invalid"
    tokens = [asked(game, "POST", "/v1/tokens", json={"player": player}).json()["token"] for player in ("me", "you")]
    assert [asked(token, "GET", here).status_code for token in tokens] == [200, 404]
    assert asked(game, "DELETE", f"/v1/characters/{mine.id}").status_code == 204
    assert problem(asked(game, "GET", here)) == "unknown-code"


def test_who_guesses_has_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.token_bucket.time", SimpleNamespace(monotonic=lambda: 0.0))
    client = TestClient(build(SERVICE, Shelf({}, None), support.paths(tmp_path)), HERE)
    answers = [client.get(f"/v1/codes/2222-222{number}") for number in range(11)]
    assert [answer.status_code for answer in answers] == [404] * 10 + [429]
    assert problem(answers[-1]) == "too-many-codes" and 1 <= int(answers[-1].headers["retry-after"]) <= 6
