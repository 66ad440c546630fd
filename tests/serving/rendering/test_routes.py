"""/v1/schema and /v1/figure: right bytes, kept for ever, and words for what is not there."""

import gzip
from typing import Any

import pytest
from fastapi.testclient import TestClient

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def schema(client: TestClient) -> dict[str, Any]:
    answer = client.get("/v1/schema")
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-cache"
    return answer.json()


def test_the_schema_is_sent_again_only_when_it_changed(client: TestClient) -> None:
    tag = client.get("/v1/schema").headers["etag"]
    assert client.get("/v1/schema", headers={"If-None-Match": f"W/{tag}"}).status_code == 304
    assert client.get("/v1/schema", headers={"If-None-Match": '"older"'}).status_code == 200


def urls(schema: dict[str, Any]) -> list[str]:
    """A piece, textures and a thumbnail, by nothing but what the schema says."""
    neutral = {group["name"]: group["neutral"] for group in schema["groups"]} | {
        "hair": "short02",
        "glasses": "panto_black",
        "beard": "goatee",
    }
    found = [schema["groups"][1]["choices"][3]["thumbnail"]]
    for piece in schema["figure"]["pieces"]:
        group = piece["group"]
        found.append(piece["url"] + (f"&{group}={neutral[group]}" if group else ""))
    for texture in schema["figure"]["textures"]:
        choices = "".join(f"&{group}={neutral[group]}" for group in texture["groups"])
        found.append(texture["url"] + choices + "".join(f"&{slider['name']}=0.35" for slider in texture["sliders"]))
    return found


def test_what_the_schema_names_is_there_and_never_changes(client: TestClient, schema: dict[str, Any]) -> None:
    for url in urls(schema):
        answer, again = client.get(url), client.get(url)
        assert answer.status_code == 200, (url, answer.text)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.content == again.content and answer.headers["etag"] == again.headers["etag"]
        kept = client.get(url, headers={"If-None-Match": f'"other", {answer.headers["etag"]}'})
        assert (kept.status_code, kept.content) == (304, b"") and kept.headers["etag"] == answer.headers[
            "etag"
        ].replace('-gzip"', '"')
        assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


def test_geometry_is_compressed_for_who_takes_it_so(client: TestClient, schema: dict[str, Any]) -> None:
    url = urls(schema)[1]
    with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as answer:
        zipped = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip" and answer.headers["vary"] == "Accept-Encoding"
    plain = client.get(url, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.headers["etag"] != answer.headers["etag"]
    assert gzip.decompress(zipped) == plain.content and plain.content[:4] == b"glTF"
    assert len(zipped) < 0.3 * len(plain.content)


def test_values_between_two_steps_are_one_picture(client: TestClient, schema: dict[str, Any]) -> None:
    one, near, far = (client.get(f"/v1/figure/skin.jpg?age={age}") for age in ("0.61", "0.59", "0.7"))
    assert one.headers["etag"] == near.headers["etag"] and one.content == near.content
    assert far.content != one.content
    assert one.headers["cache-control"] == "no-cache", "without a version it may change"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/figure/tail.glb", 404),
        ("/v1/figure/tail.jpg", 404),
        ("/v1/figure/skin.png", 404),
        ("/v1/figure/hair.glb?hair=mohawk", 404),
        ("/v1/figure/hair.glb?hair=none", 404),
        ("/v1/figure/hair.webp?hair=none", 404),
        ("/v1/figure/head.glb?v=0123", 404),
        ("/v1/figure/thumbnails/hair/mohawk.jpg", 404),
        ("/v1/figure/thumbnails/tail/long.jpg", 404),
        ("/v1/figure/skin.jpg?skin=green", 404),
        ("/v1/figure/skin.jpg?age=old", 422),
        ("/v1/figure/skin.jpg?age=nan", 422),
        ("/v1/figure/skin.jpg?age=1.01", 422),
        ("/v1/figure/..%2f..%2fhead.glb", 404),
    ],
)
def test_what_is_not_there_is_said_in_words(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status and answer.json()["detail"]
