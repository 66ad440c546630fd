"""What the service says of itself, and what it answers while there is no model."""

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from orchestration.config.settings import REPOSITORY
from serving import problems
from serving.app import build
from serving.character_store import Caller
from serving.configuration import ServiceSettings
from serving.keys import Keys
from serving.problems import EXPLANATIONS, MEDIA_TYPE
from tests.serving import support
from tests.serving.api_client import HERE, SERVICE, post, problem
from tests.serving.support import Shelf, astronaut

SERVING = (REPOSITORY / "docs" / "serving.md").read_text()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """A client of a service that is not started."""
    return TestClient(build(SERVICE, Shelf({}, version=None), support.paths(tmp_path_factory.mktemp("service"))), HERE)


def test_before_there_is_a_model_it_says_so(tmp_path: Path) -> None:
    app = build(SERVICE, Shelf({}, version=None), support.paths(tmp_path))
    with TestClient(app, HERE) as client:
        for answer in (client.get("/readyz"), post(client, astronaut())):
            assert (answer.status_code, problem(answer)) == (503, "no-model")
            assert answer.headers["retry-after"]


def test_it_is_ready_while_one_worker_lives(tmp_path: Path) -> None:
    app = build(SERVICE, Shelf({}, version=None), support.paths(tmp_path))
    client, models = TestClient(app, HERE), app.state.serving.models
    for is_alive, status in ((True, 200), (False, 503)):
        models.pool = SimpleNamespace(is_alive=is_alive, release=support.release())
        assert client.get("/readyz").status_code == status


def test_keys_are_asked_for_where_there_are_keys(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    first, second = keys.add("first"), keys.add("second")
    client = TestClient(build(SERVICE, Shelf({}, version=None), support.paths(tmp_path), keys))
    refused = client.get("/v1/characters/" + "x" * 22)
    assert problem(refused) == "no-key" and refused.headers["www-authenticate"] == "Bearer"
    assert problem(client.get("/v1/characters/" + "x" * 22, headers={"authorization": "Bearer guess"})) == "no-key"
    characters = client.app.state.serving.characters  # pyright: ignore[reportAttributeAccessIssue]
    mine = characters.add({}, Caller("first"))
    for key, kind in ((second, "unknown-character"), (first, "")):
        answer = client.delete(f"/v1/characters/{mine.id}", headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 204 if not kind else problem(answer) == kind
    assert problem(client.post("/v1/render.png", json={})) == problem(client.get("/v1/random")) == "no-key"
    assert client.get("/healthz").text == "ok", "who watches the service needs no key"


def test_openapi_names_every_problem_and_shows_examples(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operations = document["paths"]["/v1/characters"]["post"]["responses"]
    assert {"201", "400", "401", "413", "415", "422", "429", "503"} <= set(operations)
    assert MEDIA_TYPE in operations["429"]["content"]
    assert "Problem" in document["components"]["schemas"]


def test_the_type_of_every_problem_opens_and_is_documented(client: TestClient) -> None:
    documented = set(
        re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| [\d, ]+ \| (`.*?) \|", SERVING, re.MULTILINE)))
    )
    assert documented == set(EXPLANATIONS)
    made = {made.args[1] for made in vars(problems).values() if isinstance(made, partial)}
    assert made < set(EXPLANATIONS)
    refused = client.get("/v1/characters/none")
    assert client.get(refused.json()["type"]).text.startswith("unknown-character\n")
    assert "no-face" in client.get("/problems/none").json()["detail"]
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_the_api_is_read_by_people_without_any_script(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in page.text and "http" not in re.sub(r"https?://(127|www|game|likeness)", "", page.text)
    document = client.get("/openapi.json").json()
    for operation in (one for path in document["paths"].values() for one in path.values()):
        assert f'<section id="{operation["operationId"]}">' in page.text
    links = set(re.findall(r'href="#(\w+)"', page.text))
    assert links <= set(re.findall(r'id="(\w+)"', page.text)) and "Character" in links


def test_another_sites_page_reads_why_it_was_refused(tmp_path: Path) -> None:
    service = SERVICE.model_copy(update={"origins": ["https://game.example"]})
    client = TestClient(build(service, Shelf({}, version=None), support.paths(tmp_path)), HERE)
    headers = {"origin": "https://game.example", "content-type": "application/json"}
    large = client.post("/v1/render.png", content=b" " * 1_000_001, headers=headers)
    assert problem(large) == "too-large" and large.headers["access-control-allow-origin"] == "https://game.example"


def test_what_may_be_asked_instead_is_said(client: TestClient) -> None:
    for path, method, allowed in (
        ("/healthz", "PUT", "GET, HEAD"),
        ("/v1/characters", "HEAD", "POST"),
        ("/v1/characters/abc", "POST", "DELETE, GET, HEAD, PATCH"),
    ):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_a_service_keeps_no_corrections_unless_it_is_told_to(tmp_path: Path) -> None:
    for service, keeps in ((ServiceSettings(workers=1), False), (ServiceSettings(workers=1, corrections=True), True)):
        client = TestClient(build(service, Shelf({}, None), support.paths(tmp_path)), HERE)
        assert client.get("/v1/service").json()["keeps_corrections"] is keeps
