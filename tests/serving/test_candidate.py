"""A version beside the one in production: in its shadow it answers nobody, as a canary some of the players."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import psutil
import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from models.images import encode_png
from serving import dependencies
from serving.app import build
from serving.candidate import Canary, Shadow, place_of
from serving.comparisons import ComparisonLog
from serving.configuration import ServiceSettings
from serving.corrections import digest_of_player
from serving.metrics import CanaryMetrics, ShadowMetrics
from serving.workers.model_manager import ModelManager, ServedPrediction
from serving.workers.process import READ, PredictRequest, PredictResult
from tests.serving import support
from tests.serving.api_client import HERE, post, problem
from tests.serving.support import OBAMA, Shelf, astronaut

SETTINGS: dict[str, Any] = {"workers": 1, "timeout": 600, "follow": 0.2, "shadow": "candidate"}
PLAYERS = [f"player {number}" for number in range(12)]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release that answers otherwise."""
    folder = tmp_path_factory.mktemp("other")
    return support.save(folder, support.otherwise(folder / "networks"))


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tests run side by side, what stands back for all others waits for minutes."""
    monkeypatch.setattr(dependencies, "STANDS_BACK", 1)


@contextmanager
def serving(saved: Path, candidate: Shelf, home: Path, **settings: Any) -> Iterator[TestClient]:
    """A service whose version 1 is in production, once the candidate has been loaded, or tried."""
    service = ServiceSettings(**{**SETTINGS, **settings})
    app = build(service, Shelf({1: saved}), support.paths(home), candidate=candidate)
    with TestClient(app, HERE, raise_server_exceptions=False) as client:
        roles = [role for role in ("shadow", "canary") if getattr(service, role)]
        while not (
            client.get("/readyz").status_code == 200
            and all(
                count(client, f'{role}_release{{model="likeness-embedded",version="{candidate.version}"}}')
                or count(client, f"{role}_release_failures_total")
                for role in roles
            )
        ):
            time.sleep(0.1)
        yield client


def count(client: TestClient, name: str) -> float:
    """What /metrics says under a name; 0 where it says nothing."""
    lines = client.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"likeness_{name} ")), 0.0)


def until(client: TestClient, name: str, value: float = 1.0) -> None:
    deadline = time.monotonic() + 240
    while count(client, name) < value:
        assert time.monotonic() < deadline, client.get("/metrics").text
        time.sleep(0.05)


def version_of(client: TestClient, player: str, photo: bytes) -> int:
    answer = post(client, photo, player=player)
    assert answer.status_code == 201, answer.text
    return answer.json()["provenance"]["version"]


def rows(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in home.glob("comparisons/*.jsonl") for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_shadow_answers_nobody_and_leaves_numbers_alone(saved: Path, other: Path, tmp_path: Path) -> None:
    with serving(saved, Shelf({2: other}, version=2), tmp_path, shadow_seconds=600.0) as client:
        worker = client.app.state.serving.shadow.models.pool.workers[0].pid  # pyright: ignore[reportAttributeAccessIssue]
        assert psutil.Process(worker).nice() == min(19, psutil.Process().nice() + 1)
        assert version_of(client, "", OBAMA.read_bytes()) == 1
        until(client, 'shadow_photos_total{outcome="compared"}')
        assert problem(post(client, encode_png(np.zeros((64, 64, 3), np.uint8)))) == "no-face"
        assert client.post("/v1/characters?refine=gradient", files={"photo": astronaut()}).status_code == 201
        assert version_of(client, "", astronaut()) == 1
        until(client, 'shadow_photos_total{outcome="compared"}', 2)
        assert count(client, "shadow_parameter_difference_count") == 2
        assert count(client, 'shadow_cpu_seconds_count{version="candidate"}') == 2
        assert count(client, 'release{model="likeness-embedded",version="1"}') == 1
    first, second = rows(tmp_path)
    assert (first["production"]["version"], first["candidate"]["version"], first["outcome"]) == (1, 2, "compared")
    assert 0 < first["parameters"] < first["largest"] <= 1 and 0 < first["seconds"] < 60
    assert any(first["choices"].values()) and set(first["choices"]) == set(second["choices"])
    assert first["drawn_by"] == "engine" and -1 <= first["similarity"] <= 1.0001
    assert len(json.dumps(first)) < 1000, "numbers, no picture and no embedding"
    assert first["hour"].endswith("00:00Z"), "no time that could be one player's"
    assert not list(tmp_path.glob("**/*.photo"))


@pytest.mark.slow
def test_players_do_not_wait_for_a_shadow_and_it_does_not_collect_their_photos(saved: Path, tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.touch()
    waits = f"while __import__('os').path.exists({str(held)!r}): __import__('time').sleep(0.1)"
    slow = support.save(tmp_path / "slow", code=support.odd(tmp_path / "code", waits))
    photo = OBAMA.read_bytes()
    with serving(saved, Shelf({2: slow}, version=2), tmp_path, shadow_seconds=20.0, shadow_queue=1) as client:
        assert version_of(client, "", photo) == 1, "the answer came, though the shadow reads for ever"
        several = client.post("/v1/characters:batch", files=[("photo", ("me.jpg", photo, "image/jpeg"))] * 4)
        assert all("character" in one for one in several.json()["results"])
        until(client, 'shadow_photos_total{outcome="dropped"}', 3)
        until(client, 'shadow_photos_total{outcome="late"}', 2)
    assert [row["outcome"] for row in rows(tmp_path)] == ["late", "late"]


@pytest.mark.slow
def test_a_player_stays_with_one_version_and_the_answer_says_with_which(
    saved: Path, other: Path, tmp_path: Path
) -> None:
    photo = OBAMA.read_bytes()
    with serving(saved, Shelf({2: other}, version=2), tmp_path, shadow="", canary=50.0) as client:
        places = {player: place_of(digest_of_player(player), support.release(2)) for player in PLAYERS}
        expected = {player: 2 if place < 50 else 1 for player, place in places.items()}
        assert set(expected.values()) == {1, 2}
        for _ in range(2):
            assert {player: version_of(client, player, photo) for player in PLAYERS} == expected
        unnamed = {version_of(client, "", photo) for _ in range(3)}
        assert len(unnamed) == 1, "without a name, the same photo stays with one version"
        photos = [("photo", ("me.jpg", photo, "image/jpeg"))] * 2
        several = client.post("/v1/characters:batch", files=photos, data={"player": PLAYERS[:2]}).json()["results"]
        assert [one["character"]["provenance"]["version"] for one in several] == [expected[one] for one in PLAYERS[:2]]
        one_for_two = client.post("/v1/characters:batch", files=photos, data={"player": PLAYERS[:1]})
        assert (one_for_two.status_code, problem(one_for_two)) == (400, "bad-request")
        assert count(client, 'canary_photos_total{outcome="answered"}') >= 2 * list(expected.values()).count(2)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert all(player.encode() not in kept for player in PLAYERS), "a player's name is kept nowhere"


@pytest.mark.slow
def test_production_answers_where_a_canary_cannot(saved: Path, tmp_path: Path) -> None:
    failing = support.odd(tmp_path / "code", "raise KeyError('nobody foresaw this')")
    candidate = Shelf({2: support.save(tmp_path / "failing", code=failing), 3: tmp_path / "gone"}, version=2)
    with serving(saved, candidate, tmp_path, shadow="", canary=100.0) as client:
        assert version_of(client, "anna", OBAMA.read_bytes()) == 1
        assert count(client, 'canary_photos_total{outcome="by_production"}') == 1
    candidate.version = 3
    with serving(saved, candidate, tmp_path, shadow="", canary=100.0) as client:
        assert version_of(client, "anna", OBAMA.read_bytes()) == 1


def test_what_is_in_production_is_not_tried_beside_itself(tmp_path: Path) -> None:
    class Loaded:
        pool = SimpleNamespace(release=support.release(1), schema_md5="")

    registry, models, request = CollectorRegistry(), cast(ModelManager, Loaded()), PredictRequest(b"a photo")
    shadow = Shadow(models, ComparisonLog(tmp_path, 10**6), 1.0, ShadowMetrics(registry))
    shadow.offer(request, ServedPrediction(support.release(1), "", PredictResult(READ)))  # or there is no event loop
    canary = Canary(models, 100.0, 1.0, [""], CanaryMetrics(registry))
    assert asyncio.run(canary.predict(request, "anna", support.release(1))) is None


def test_players_are_spread_evenly_and_anew_for_each_version() -> None:
    players = [str(number) for number in range(20_000)]
    first, second = ({one for one in players if place_of(one, support.release(n)) < 5} for n in (1, 2))
    assert all(900 < len(chosen) < 1100 for chosen in (first, second))
    assert len(first & second) < 100, "it is not the same players who try every version"
    more = {one for one in players if place_of(one, support.release(1)) < 20}
    assert first < more, "who tries it goes on to while the share grows"
