"""What is wrong with a request, or inside, and what is told of it; what monitoring and caches are told."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.serving.api_client import post, problem
from tests.serving.support import OBAMA, astronaut
from tests.serving.test_photos import bomb

pytestmark = pytest.mark.slow


def broken() -> list[tuple[str, bytes]]:
    """Files that are nearly photos."""
    whole, generator = OBAMA.read_bytes(), random.Random(0)
    cases = [(f"cut at {share:.0%}", whole[: int(len(whole) * share)]) for share in (0.001, 0.01, 0.1, 0.5, 0.95)]
    for number in range(12):
        damaged = bytearray(whole)
        for _ in range(200):
            damaged[generator.randrange(2, len(damaged))] = generator.randrange(256)
        cases.append((f"damaged {number}", bytes(damaged)))
    png = astronaut()
    cases += [("png cut", png[: len(png) // 2]), ("png damaged", png[:200] + b"\0" * 200 + png[400:])]
    cases += [("noise", generator.randbytes(5000)), ("zeros", b"\0" * 5000), ("bomb", bomb(50_000, 50_000))]
    cases += [("html", b"<html><script>alert(1)</script></html>"), ("zip", b"PK\x03\x04" + b"\0" * 100)]
    return cases


@pytest.mark.parametrize(("name", "photo"), broken(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_broken_file_is_a_problem_of_whoever_sent_it(client: TestClient, name: str, photo: bytes) -> None:
    answer = post(client, photo)
    # Some damage leaves a picture that decodes: then it is a character, or has no face.
    assert answer.status_code == 201 or (400 <= answer.status_code < 500 and problem(answer))
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda client: client.post("/v1/characters"), "invalid"),
        (lambda client: client.post("/v1/characters", data={"photo": "text"}), "invalid"),
        (lambda client: client.post("/v1/characters", content=b"x", headers={"content-type": "text/plain"}), "invalid"),
        (
            lambda client: client.post(
                "/v1/characters",
                content=b"--b\r\nnonsense",
                headers={"content-type": "multipart/form-data; boundary=b"},
            ),
            "",
        ),
        (lambda client: post(client, b"\0" * 2_100_000), "too-large"),
        (lambda client: post(client, b"\0" * 6_000_000), "too-large"),
        (lambda client: client.patch("/v1/characters/" + "x" * 22, content=b"{" * 1_100_000), "too-large"),
        (lambda client: client.get("/v1/characters/x", headers={"host": "evil.example"}), "other-site"),
        (lambda client: client.get("/v1/characters/nothing"), "unknown-character"),
        (lambda client: client.get("/v1/characters/..%2f..%2fkeys"), ""),
        (lambda client: client.get("/nowhere"), "not-found"),
        (lambda client: client.put("/v1/schema"), "method-not-allowed"),
        (lambda client: client.patch("/v1/characters/" + "x" * 22, content=b"{"), "invalid"),
        (
            lambda client: client.post("/v1/characters", headers={"origin": "https://evil.example"}),
            "other-site",
        ),
    ],
)
def test_a_request_that_is_wrong_is_told_so(client: TestClient, answer: Any, kind: str) -> None:
    given = answer(client)
    assert 400 <= given.status_code < 500
    assert problem(given).startswith(kind)


def test_a_body_without_a_length_is_cut_off_at_the_limit(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        yield b"--b\r\ncontent-disposition: form-data; name=photo; filename=x\r\n\r\n"
        for _ in range(100):
            yield b"\0" * 100_000

    answer = client.post(
        "/v1/characters", content=endless(), headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert problem(answer) == "too-large"


def test_what_goes_wrong_inside_is_logged_and_not_told(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("a secret of this machine")

    monkeypatch.setattr(type(app.state.serving.characters), "get", breaks)
    answer = client.get("/v1/characters/" + "x" * 22)
    assert (answer.status_code, problem(answer)) == (500, "internal")
    assert "secret" not in answer.text and "a secret of this machine" in caplog.text


def test_a_disk_that_is_full_is_told(client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.character_store.write_durable", full)
    answer = post(client, astronaut())
    assert (answer.status_code, problem(answer)) == (503, "no-storage")
    assert int(answer.headers["retry-after"]) > 0


def test_prometheus_sees_requests_photos_and_the_release(client: TestClient, made: dict[str, Any]) -> None:
    text = client.get("/metrics").text
    for line in (
        'likeness_requests_total{route="/v1/characters",status="201"}',
        'likeness_photos_total{outcome="read"}',
        'likeness_release{model="likeness-embedded",version="1"} 1.0',
        "likeness_waiting_photos 0.0",
        "likeness_registry_up 1.0",
    ):
        assert line in text
    assert made["id"] not in text


def test_answers_about_people_are_stored_nowhere_on_the_way(client: TestClient, made: dict[str, Any]) -> None:
    answer = client.get(made["links"]["self"])
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
