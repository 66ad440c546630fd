"""The clients for other languages, against the real service."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

import httpx
import pytest

from orchestration.config.settings import REPOSITORY
from serving.app import build
from serving.configuration import ServiceSettings
from serving.keys import Keys
from serving.sdk.python import likeness_client
from serving.sdk.python.likeness_client import Likeness, LikenessError
from tests.serving import support
from tests.serving.support import OBAMA, Shelf
from tests.serving.web.browser import served

SDK = REPOSITORY / "serving" / "sdk"
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Service:
    url: str
    key: str


@pytest.fixture(scope="module")
def service(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("service")
    keys = Keys(home / "keys")
    key = keys.add("game")
    with served(build(ServiceSettings(workers=1), Shelf({1: saved}), support.paths(home), keys)) as url:
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:  # until it listens
            client.get(f"{url}/healthz")
        yield Service(url, key)


def test_the_python_client_makes_changes_draws_and_erases(service: Service) -> None:
    with Likeness(service.url, service.key, retries=60) as game:
        made = game.create(OBAMA, player="ann/1")
        character, etag = game.character(made["id"])
        assert character["parameters"] == made["parameters"] and character["links"]["self"].endswith(made["id"])
        changed = game.change(made["id"], {"nose_width": 0.75}, {"hair": "short02"}, etag=etag)
        assert changed["parameters"]["nose_width"] == 0.75
        with pytest.raises(LikenessError) as late:
            game.change(made["id"], {"nose_width": 0.0}, etag=etag)
        assert (late.value.kind, late.value.status) == ("changed-since", 412)
        assert game.file(made["id"], "png", size=64)[1:4] == b"PNG"
        assert game.render(dict(changed), "webp", size=64, expression="smile")[8:12] == b"WEBP"
        assert game.create_of_person([OBAMA, OBAMA.read_bytes()])["photo"] == made["photo"]
        job = game.finished(game.start_job([OBAMA], players=["ann/1"])["id"], every=0.1)
        assert job["state"] == "done" and [one["id"] for one in game.characters_of("ann/1")][1:] == [
            job["results"][0]["id"]
        ]
        assert game.character_of_code(game.code_for(made["id"], 60)["code"].lower())["id"] == made["id"]
        assert game.export_player("ann/1")[:2] == b"PK"
        with Likeness(service.url, game.token_for("ann/1", 60)["token"]) as player:
            assert player.character(made["id"])[0]["edited"] == ["hair", "nose_width"]
        assert game.erase_player("ann/1") == {"characters": 2, "corrections": 0, "tokens": 1}
        preset = game.presets()[1]
        assert game.random(seed=7, preset=preset["name"])["parameters"].items() >= preset["parameters"].items()
        assert len(game.schema()["sliders"]) > 100


def test_a_busy_service_is_asked_again_and_one_that_stays_so_is_told() -> None:
    left = [429, 503, 200]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(left.pop(0), json={"presets": []}, headers={"retry-after": "0"})

    assert Likeness("http://game", transport=httpx.MockTransport(answer)).presets() == [] and not left
    left += [429, 503, 200]
    with pytest.raises(LikenessError) as busy:
        Likeness("http://game", retries=1, transport=httpx.MockTransport(answer)).presets()
    assert busy.value.status == 503


def test_a_photo_whose_answer_was_lost_is_sent_again_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str] = []
    pauses: list[float] = []
    at_work = httpx.Response(409, json={"type": "/problems/in-progress"}, headers={"retry-after": "1"})
    left = [httpx.ReadError("broken"), httpx.ReadTimeout("late"), at_work, httpx.Response(201, json={"id": "made"})]

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        if isinstance(found := left.pop(0), httpx.Response):
            return found
        raise found

    monkeypatch.setattr(likeness_client.time, "sleep", pauses.append)
    game = Likeness("http://game", transport=httpx.MockTransport(answer))
    assert game.create(b"me")["id"] == "made"
    assert len(keys) == 4 and len(set(keys)) == 1 and pauses == [1, 2, 4]
    left += [httpx.Response(201, json={"id": "again"}), httpx.Response(202, json={"id": "job"})]
    game.create(b"me", idempotency_key="mine")
    game.start_job([b"me"], idempotency_key="mine too")
    assert keys[4:] == ["mine", "mine too"]


def test_what_may_have_been_done_already_is_not_sent_again() -> None:
    sent: list[str] = []

    def lost(request: httpx.Request) -> httpx.Response:
        sent.append(request.method)
        raise httpx.ReadError("broken")

    game = Likeness("http://game", transport=httpx.MockTransport(lost))
    with pytest.raises(httpx.ReadError):
        game.erase("a")
    with pytest.raises(httpx.ReadError):
        game.create_of_person([b"me", b"me"])
    assert sent == ["DELETE", "POST"]


def test_the_python_clients_types_are_those_of_the_description(service: Service) -> None:
    schemas = httpx.get(f"{service.url}/openapi.json").json()["components"]["schemas"]
    for name in ("Character", "RandomCharacter", "Preset", "Token", "Code", "Erased", "Job", "Alternative", "Choice"):
        assert set(get_type_hints(getattr(likeness_client, name))) == set(schemas[name]["properties"]), name


def test_the_typescript_client_does_as_well(service: Service) -> None:
    folder = SDK / "typescript"
    if not (folder / "node_modules").is_dir():
        pytest.skip("its packages are missing: npm --prefix serving/sdk/typescript ci")
    subprocess.run(["npm", "run", "build"], cwd=folder, check=True, capture_output=True, text=True)
    environment = {**os.environ, "SERVICE": service.url, "KEY": service.key, "PHOTO": str(OBAMA)}
    node = shutil.which("node")
    assert node is not None
    result = subprocess.run([node, "--test", "test/"], cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_unity_client_does_as_well_outside_of_unity(service: Service, tmp_path: Path) -> None:
    (json_library, *_) = [*Path("/usr/lib/mono").glob("**/Newtonsoft.Json.dll"), None]
    if json_library is None or shutil.which("mcs") is None:
        pytest.skip("Mono is missing (Debian: apt-get install mono-mcs libnewtonsoft-json5.0-cil)")
    unity, program = SDK / "unity", tmp_path / "client.exe"
    sources = sorted((unity / "Runtime").glob("*.cs"))
    mcs = ["mcs", "-langversion:7", f"-r:{json_library}"]
    stubs = [unity / "Tests~" / "UnityStubs.cs", *unity.glob("Samples~/*/*.cs"), "-define:UNITY_5_3_OR_NEWER"]
    subprocess.run([*mcs, *sources, *stubs, "-target:library", f"-out:{tmp_path / 'unity.dll'}"], check=True)
    tests = [unity / "Tests~" / "Program.cs", "-r:System.Net.Http"]
    subprocess.run([*mcs, *sources, *tests, f"-out:{program}"], check=True)
    shutil.copy(json_library, tmp_path)
    environment = {**os.environ, "SERVICE": service.url, "KEY": service.key, "PHOTO": str(OBAMA)}
    result = subprocess.run(["mono", program], env=environment, capture_output=True, text=True)
    assert result.stdout.endswith("all is well\n"), result.stdout + result.stderr[:2000]


def test_the_packages_say_the_same_version() -> None:
    versions = {json.loads((SDK / kind / "package.json").read_text())["version"] for kind in ("typescript", "unity")}
    assert f'version = "{versions.pop()}"' in (SDK / "python" / "pyproject.toml").read_text() and not versions
