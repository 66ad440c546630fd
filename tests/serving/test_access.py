"""Who may do what: scopes and limits of keys, tokens of players, framing, and what the log says of it."""

import asyncio
import io
import json
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import ValidationError

from serving.access import Asking
from serving.app import build
from serving.character_store import Caller, CharacterStore, ErasedMeanwhile, Record
from serving.configuration import ServiceSettings
from serving.corrections import digest_of_player
from serving.creation import _keep_uncorrected, make  # pyright: ignore[reportPrivateUsage]
from serving.dependencies import AppState
from serving.job_store import Job
from serving.keys import Key, Keys
from serving.player_limits import PlayerLimits
from serving.player_tokens import PlayerTokens
from serving.problems import ProblemError
from serving.responses import shown
from serving.schemas import CharacterResponse
from serving.usage import OverLimit, Usage, used
from serving.workers.process import PredictRequest
from tests.serving import support
from tests.serving.api_client import HERE, SERVICE, problem
from tests.serving.support import Shelf
from tests.serving.test_corrections import row as correction

GAME = "https://game.example"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


@pytest.fixture
def app(tmp_path: Path, keys: Keys) -> FastAPI:
    """A service without a model, which is not started; it has one key at least."""
    keys.add("nobody")
    return build(SERVICE, Shelf({}, version=None), support.paths(tmp_path / "service"), keys)


@pytest.fixture
def asked(app: FastAPI) -> Callable[..., Any]:
    client = TestClient(app, HERE, raise_server_exceptions=False)
    return lambda key, method, path, **more: client.request(
        method, path, headers={"authorization": f"Bearer {key}"}, **more
    )


def test_a_key_does_what_it_was_made_for_and_no_more(asked: Callable[..., Any], keys: Keys) -> None:
    draws, helps = keys.add("draws", scopes=("draw",)), keys.add("helps", scopes=("players",))
    assert asked(draws, "GET", "/v1/random").status_code == 200
    for key, method, path in (
        (draws, "GET", "/v1/characters/x"),
        (draws, "POST", "/v1/characters"),
        (draws, "POST", "/v1/tokens"),
        (helps, "GET", "/v1/random"),
    ):
        answer = asked(key, method, path)
        assert (answer.status_code, problem(answer)) == (403, "not-allowed")


def test_a_players_token_is_for_the_players_characters_alone(
    app: FastAPI, asked: Callable[..., Any], keys: Keys
) -> None:
    game, another = keys.add("game"), keys.add("another")
    characters = app.state.serving.characters
    mine = characters.add({}, Caller("game", digest_of_player("me")))
    yours = characters.add({}, Caller("game", digest_of_player("you")))
    answer = asked(game, "POST", "/v1/tokens", json={"player": "me", "seconds": 60})
    assert answer.status_code == 201 and answer.headers["cache-control"] == "no-store"
    assert datetime.fromisoformat(answer.json()["expires"]) <= datetime.now(UTC) + timedelta(seconds=60)
    token = answer.json()["token"]
    assert asked(token, "GET", "/v1/random").status_code == 200
    assert problem(asked(token, "DELETE", f"/v1/characters/{yours.id}")) == "unknown-character"
    mine_all = "/v1/players/me/characters"
    for method, path in (("POST", "/v1/tokens"), ("GET", mine_all), ("DELETE", mine_all)):
        assert problem(asked(token, method, path)) == "not-allowed", "a player cannot speak for the game"
    photo = {"photo": ("me.png", support.astronaut(), "image/png")}
    assert problem(asked(token, "POST", "/v1/characters", files=photo, data={"player": "you"})) == "not-allowed"
    assert problem(asked(another, "DELETE", f"/v1/characters/{mine.id}")) == "unknown-character"
    assert asked(token, "DELETE", f"/v1/characters/{mine.id}").status_code == 204
    keys.remove("game")
    assert problem(asked(token, "GET", "/v1/random")) == "no-key", "it is worth no more than its key"


def test_a_token_ends_with_the_very_key_that_made_it(app: FastAPI, asked: Callable[..., Any], keys: Keys) -> None:
    leaked, tokens = keys.add("game"), app.state.serving.tokens

    def made(key: str) -> str:
        return asked(key, "POST", "/v1/tokens", json={"player": "me"}).json()["token"]

    def status(key: str) -> int:
        return asked(key, "GET", "/v1/random").status_code

    minted, before = made(leaked), tokens.make(Caller("game", "me"), timedelta(minutes=1))[0]
    for path in tokens.folder.glob("*.token"):  # one of a version that did not note the key
        kept = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in kept.items() if name != "key" or value}))
    key = keys.rotate("game", timedelta(days=1))
    assert status(minted) == status(made(key)) == 200, "the one before is good for a day"
    newer = made(key)
    keys.rotate("game", timedelta(0))
    assert (status(minted), status(newer), status(before)) == (401, 401, 200)


def test_a_player_is_listed_exported_and_erased(app: FastAPI, asked: Callable[..., Any], keys: Keys) -> None:
    game, state, name = keys.add("game"), app.state.serving, "steam/7 ü"
    me, you = (Caller("game", digest_of_player(player)) for player in (name, "you"))
    document = random_document(asked, game)
    mine = state.characters.add(document, me, b"GIF", "image/png")
    row = correction(id=mine.id, owner="game", player=me.player)
    state.corrections.add(row)
    state.corrections.add(correction(owner="game", player=you.player))
    token = asked(game, "POST", "/v1/tokens", json={"player": name}).json()["token"]
    state.characters.add(document, you)
    job = Job("x" * 22, "game", "2026-01-01T00:00:00+00:00", ["my.png", "your.png"], [me.player, you.player])
    job.results = [{"name": "my.png", "id": mine.id}]
    state.jobs.store.add(job, [])
    state.jobs.store.close(job.id)
    path = f"/v1/players/{quote(name, safe='')}"
    (listed,) = asked(game, "GET", f"{path}/characters").json()["characters"]
    assert listed["id"] == mine.id
    archive = zipfile.ZipFile(io.BytesIO(asked(game, "GET", f"{path}/export").content))
    files = {f"{mine.id}/{file}" for file in ("character.json", "corrections.json", "photo.png")}
    assert set(archive.namelist()) == files | {"jobs.json"}
    assert json.loads(archive.read("jobs.json"))[0]["photos"] == job.results
    assert json.loads(archive.read(f"{mine.id}/character.json"))["parameters"] == document["parameters"]
    assert asked(game, "DELETE", f"{path}/characters").json() == {"characters": 1, "corrections": 1, "tokens": 1}
    assert asked(game, "GET", f"{path}/characters").json() == {"characters": []}
    assert problem(asked(token, "GET", "/v1/random")) == "no-key"
    assert len(state.characters.of_player(you)) == len(state.corrections.of_player(you)) == 1
    assert state.corrections.withdrawn() == [row.id], "the pipeline is told"
    kept = state.jobs.store.path(job.id).read_text()
    assert "my.png" not in kept and me.player not in kept and "your.png" in kept


def test_a_photo_that_was_sent_before_its_player_was_erased_becomes_nothing(app: FastAPI, keys: Keys) -> None:
    state, me, begun = app.state.serving, Caller("game", digest_of_player("me")), datetime.now(UTC)
    keys.add("game")
    state.characters.erase_player(me)
    asking, row = Asking(me, begun=begun), correction(owner="game", player=me.player)
    with pytest.raises(ProblemError) as refused:
        asyncio.run(make(state, asking, PredictRequest(support.astronaut()), True))
    assert refused.value.kind == "erased", "no model was asked"
    with pytest.raises(ErasedMeanwhile):
        _keep_uncorrected(state, asking, row)
    assert not list(state.corrections.rows())


def test_a_player_is_erased_beside_damaged_files(app: FastAPI, asked: Callable[..., Any], keys: Keys) -> None:
    state, game = app.state.serving, keys.add("game")
    mine = state.characters.add({}, Caller("game", digest_of_player("me")))
    state.tokens.make(Caller("game"), timedelta(1))
    state.jobs.store.add(Job("x", "game", "", ["a"]), [])
    state.characters.path("y" * 22).parent.mkdir(parents=True)
    for path in (*state.tokens.folder.glob("*.token"), state.jobs.store.path("x"), state.characters.path("y" * 22)):
        path.write_bytes(b"{")
    assert asked(game, "DELETE", "/v1/players/me/characters").json()["characters"] == 1
    assert not state.characters.path(mine.id).exists()


def test_a_request_that_is_sent_again_after_a_crash_makes_no_second_character(
    app: FastAPI, asked: Callable[..., Any], keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    game, state = keys.add("game"), app.state.serving
    document = random_document(asked, game)

    async def stored(state: AppState, asking: Asking, *more: Any) -> CharacterResponse:
        record = state.characters.add(document, asking.of_player("me"), id=more[-1])
        if not crashed:
            crashed.append(record)
            raise ZeroDivisionError  # the process ends before it notes that the character was made
        return shown(state, record)

    crashed, me = list[Record](), Caller("game", digest_of_player("me"))
    monkeypatch.setattr("serving.routers.characters.make", stored)
    photo = {"photo": ("me.png", b"PNG", "image/png")}
    client = TestClient(app, HERE, raise_server_exceptions=False)
    headers = {"authorization": f"Bearer {game}", "idempotency-key": "a"}
    first, again, third = (client.post("/v1/characters", files=photo, headers=headers) for _ in range(3))
    (only,) = state.characters.of_player(me)
    assert first.status_code == 500 and again.status_code == third.status_code == 201
    assert again.json()["id"] == third.json()["id"] == only.id and again.headers["idempotency-replayed"] == "true"
    client.delete(f"/v1/characters/{only.id}", headers=headers)
    assert problem(client.post("/v1/characters", files=photo, headers=headers)) == "unknown-character"


def random_document(asked: Callable[..., Any], key: str) -> dict[str, Any]:
    """A character.json as if it came of a photo."""
    photo = {"sha256": "0", "faces": 1, "box": [0, 0, 1, 1], "yaw": 0, "pitch": 0, "warnings": []}
    origin = {"model": "likeness-embedded", "version": 1, "inputs": {}}
    return {**asked(key, "GET", "/v1/random").json(), "photo": photo, "provenance": origin}


def test_a_token_is_kept_as_a_digest_and_expires(tmp_path: Path) -> None:
    tokens, me = PlayerTokens(tmp_path), Caller("game", "me")
    token, _ = tokens.make(me, timedelta(minutes=1))
    found = tokens.find(token)
    assert found and found.caller == me and tokens.find(f"{token}x") is None and tokens.find("lkt_../../keys") is None
    assert not any(token[4:] in path.name + path.read_text() for path in tmp_path.iterdir())
    assert tokens.find(tokens.make(me, timedelta(0))[0]) is None
    assert tokens.delete_of(Caller("game", "you")) == 0 and tokens.delete_of(me) == 2 and tokens.find(token) is None


def test_a_limit_of_requests_a_minute_says_when_to_come_again(asked: Callable[..., Any], keys: Keys) -> None:
    key = keys.add("slow", per_minute=2)
    assert [asked(key, "GET", "/v1/random").status_code for _ in range(3)] == [200, 200, 429]
    refused = asked(key, "GET", "/v1/random")
    assert problem(refused) == "over-limit" and 1 <= int(refused.headers["retry-after"]) <= 30


def test_a_days_photos_are_counted_over_all_processes(tmp_path: Path) -> None:
    key = Key("game", "0" * 64, photos_per_day=3)

    async def both() -> None:
        here, there = Usage(tmp_path), Usage(tmp_path)
        here.request(key)
        with here.photos(key, 2):
            pass
        await here.flush()
        await there.flush()
        with pytest.raises(OverLimit, match="1 are left") as over, there.photos(key, 2):
            pass
        assert 0 < over.value.seconds <= 86_400
        with there.photos(key, 1):
            pass
        await there.flush()
        await here.flush()
        with pytest.raises(OverLimit, match="0 are left"), here.photos(key, 1):
            pass

    asyncio.run(both())
    today, last = used([tmp_path])["game"]
    assert (today.requests, today.photos) == (1, 3) and last is not None


def test_the_log_leads_to_no_player_and_no_character(tmp_path: Path, keys: Keys) -> None:
    key, file, name = keys.add("game"), tmp_path / "access.log", "anna@example.com"
    service = ServiceSettings(workers=1, access_log=str(file))
    requests = {
        ("GET", f"/v1/players/{name}/characters"): f"/v1/players/{digest_of_player(name)}/characters",
        ("GET", f"/v1/players/{name}/chars"): "/v1/players/*",
        ("PATCH", f"/v1/players/{name}/export"): f"/v1/players/{digest_of_player(name)}/export",
        ("GET", "/v1/codes/K7M2-QX9D"): "/v1/codes/*",
        ("GET", f"/v1/characters/{'x' * 22}.png"): "/v1/characters/*.png",
        ("GET", f"/v1/jobs/{'x' * 22}"): "/v1/jobs/*",
        ("GET", "/v1/random"): "/v1/random",
        ("GET", "/nowhere"): "/nowhere",
        ("GET", "/"): "/",
    }
    with TestClient(build(service, Shelf({}, None), support.paths(tmp_path), keys), HERE) as client:
        for method, path in requests:
            client.request(method, path, headers={"authorization": f"Bearer {key}"})
    assert [json.loads(line)["path"] for line in file.read_text().splitlines()] == list(requests.values())


def test_one_store_that_fails_keeps_no_other_from_being_swept(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: CharacterStore) -> int:
        raise OSError("this one alone")

    monkeypatch.setattr(CharacterStore, "delete_expired", fails)
    tokens = app.state.serving.tokens
    tokens.make(Caller("game", "me"), timedelta(1))
    (token,) = tokens.folder.iterdir()
    os.utime(token, (0, 0))
    with TestClient(app, HERE):
        asyncio.run(support.until(lambda: not token.exists(), 20))
    assert "characters that have expired cannot be deleted" in caplog.text


def client_of(folder: Path, keys: Keys, **limits: float) -> TestClient:
    """Of a service without a model, which is not started."""
    service = ServiceSettings(workers=1).model_copy(update=limits)
    return TestClient(build(service, Shelf({}, None), support.paths(folder), keys), HERE)


def test_a_player_has_limits_of_its_own_within_the_keys(tmp_path: Path, keys: Keys) -> None:
    game, client = {"authorization": f"Bearer {keys.add('game')}"}, client_of(tmp_path, keys, player_per_minute=2)
    tokens = (client.post("/v1/tokens", headers=game, json={"player": who}).json()["token"] for who in ("me", "you"))
    me, you = ({"authorization": f"Bearer {token}"} for token in tokens)
    assert [client.get("/v1/random", headers=me).status_code for _ in range(3)] == [200, 200, 429]
    assert (
        client.get("/v1/random", headers=you).status_code == client.get("/v1/random", headers=game).status_code == 200
    )


def test_a_players_photos_of_a_day_are_counted_where_they_were_read() -> None:
    limits, me = PlayerLimits(300, 3), Caller("game", "me")
    with suppress(KeyError), limits.photos(me, 3):
        raise KeyError("it was not read")
    for _ in range(3):
        with limits.photos(me, 1):
            pass
    with pytest.raises(OverLimit, match="3 photos") as over, limits.photos(me, 2):
        pass
    assert over.value.seconds == pytest.approx(2 * 28_800, abs=10)
    with limits.photos(Caller("game", "you"), 3):
        pass


def test_a_player_has_so_many_characters_and_no_more(tmp_path: Path, keys: Keys) -> None:
    game, client = keys.add("game"), client_of(tmp_path, keys, player_characters=1)
    state = client.app.state.serving  # pyright: ignore[reportAttributeAccessIssue]
    me = Caller("game", digest_of_player("me"))
    state.characters.add({}, me)
    token, _ = state.tokens.make(me, timedelta(minutes=1))
    for key, kind in ((token, "too-many-characters"), (game, "no-model")):
        photo = {"photo": ("me.png", support.astronaut(), "image/png")}
        headers = {"authorization": f"Bearer {key}"}
        assert problem(client.post("/v1/characters", headers=headers, files=photo)) == kind


def test_no_photo_is_kept_while_the_disk_is_nearly_full(tmp_path: Path, keys: Keys) -> None:
    headers = {"authorization": f"Bearer {keys.add('game')}"}
    client = client_of(tmp_path, keys, keep_photo_free_megabytes=1e12)
    for path, keep, kind in (
        ("/v1/characters", "true", "no-storage"),
        ("/v1/jobs", "true", "no-storage"),
        ("/v1/characters", "false", "no-model"),
    ):
        photo = {"photo": ("me.png", support.astronaut(), "image/png")}
        assert problem(client.post(path, headers=headers, files=photo, data={"keep_photo": keep})) == kind
    files = {"photo": ("me.png", support.astronaut(), "image/png")}
    batch = client.post("/v1/characters:batch", headers=headers, files=files, data={"keep_photo": "true"})
    assert batch.json()["results"][0]["problem"]["type"] == "/problems/no-storage"


def test_a_photo_that_nobody_read_is_not_counted(asked: Callable[..., Any], app: FastAPI, keys: Keys) -> None:
    key = keys.add("few", photos_per_day=1)
    for _ in range(2):
        photo = {"photo": ("me.png", support.astronaut(), "image/png")}
        assert problem(asked(key, "POST", "/v1/characters", files=photo)) == "no-model"
    asyncio.run(app.state.serving.usage.flush())
    assert used([app.state.serving.usage.folder])["few"][0].photos == 0


def test_the_page_is_framed_by_named_sites_alone(tmp_path: Path) -> None:
    for frames, expected in (((), "'none'"), ((GAME,), GAME)):
        service = ServiceSettings(workers=1, frames=frames)
        client = TestClient(build(service, Shelf({}, None), support.paths(tmp_path)), HERE)
        policy = {path: client.get(path).headers["content-security-policy"] for path in ("/", "/healthz")}
        assert policy["/"].endswith(f"frame-ancestors {expected}")
        assert policy["/healthz"].endswith("frame-ancestors 'none'")
        assert client.get("/v1/service").json()["frames"] == list(frames)
    for wrong in ("*", "https://*.example", "game.example", f"{GAME}/path", f"{GAME}; script-src *", "javascript:x"):
        with pytest.raises(ValidationError):
            ServiceSettings(frames=(wrong,))


def test_each_request_has_a_line_in_the_log_with_the_instance_of_its_problem(tmp_path: Path, keys: Keys) -> None:
    key, file = keys.add("game"), tmp_path / "logs" / "access.log"
    service = ServiceSettings(workers=1, access_log=str(file))
    app = build(service, Shelf({}, None), support.paths(tmp_path), keys)
    with TestClient(app, HERE) as client:
        refused = client.get("/v1/characters/none?secret=1", headers={"authorization": f"Bearer {key}"})
        client.get("/v1/random")
    known, unknown = map(json.loads, file.read_text().splitlines())
    assert known.items() >= {
        "instance": refused.json()["instance"], "method": "GET", "path": "/v1/characters/*",
        "route": "/v1/characters/{id:token}", "status": 404, "problem": "unknown-character", "key": "game",
    }.items()  # fmt: skip
    assert unknown["problem"] == "no-key" and "key" not in unknown
    assert "secret" not in file.read_text() and key not in file.read_text()
