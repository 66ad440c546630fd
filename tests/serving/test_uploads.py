"""Bodies of requests: whose they are, how long they take, and how many bytes there are of all."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive

from serving.app import build
from serving.configuration import ServiceSettings
from serving.keys import Keys
from serving.problems import ProblemError
from serving.uploads import Uploads
from tests.serving import support
from tests.serving.support import Shelf

Answer = tuple[int, dict[bytes, bytes]]
"""A status, and headers."""


def chunks(*bodies: bytes, ends: bool = True) -> Receive:
    """What a server hands on of a body that comes in pieces; one that does not end stops coming."""
    left = [{"type": "http.request", "body": body, "more_body": True} for body in bodies]
    if ends:
        left[-1]["more_body"] = False

    async def receive() -> Message:
        if left:
            return left.pop(0)
        await asyncio.sleep(60)
        raise AssertionError("the test is over")

    return receive


async def unread() -> Message:
    raise AssertionError("the body is read")


async def post(app: Any, receive: Receive, key: str = "", path: str = "/v1/characters") -> Answer:
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=b")]
    headers += [(b"authorization", f"Bearer {key}".encode())] if key else []
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    sent = list[Message]()

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize("path", ["/v1/characters", "/v1/characters:batch", "/v1/characters:person", "/v1/jobs"])
def test_nothing_is_read_of_who_may_not_send_it(tmp_path: Path, path: str) -> None:
    keys = Keys(tmp_path / "keys")
    draws = keys.add("draws", scopes=("draw",))
    app = build(ServiceSettings(workers=1), Shelf({}, None), support.paths(tmp_path), keys)
    for key, status in (("", 401), ("guess", 401), ("lkt_guess", 401), (draws, 403)):
        assert asyncio.run(post(app, unread, key, path))[0] == status
    assert asyncio.run(post(app, unread, path="/v1/render.png"))[0] == 401


def test_a_request_is_counted_once_though_its_key_is_asked_for_twice(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    key = keys.add("game", per_minute=2)
    app = build(ServiceSettings(workers=1), Shelf({}, None), support.paths(tmp_path), keys)
    statuses = [asyncio.run(post(app, chunks(b"--b--"), key))[0] for _ in range(3)]
    assert statuses == [422, 422, 429]


def test_a_body_that_stops_on_its_way_is_given_up(tmp_path: Path) -> None:
    app = build(ServiceSettings(workers=1, upload_seconds=0.1), Shelf({}, None), support.paths(tmp_path))
    status, headers = asyncio.run(post(app, chunks(b"--b", ends=False)))
    assert (status, headers[b"connection"]) == (408, b"close")


def test_bodies_have_room_together_until_they_are_answered() -> None:
    uploads = Uploads(10, 60.0)

    async def test() -> None:
        with uploads.receiving(chunks(b"123456"), 10, 6) as first:
            await first()
            for announced, body in ((5, b""), (0, b"12345")):
                with pytest.raises(ProblemError) as refused, uploads.receiving(chunks(body), 10, announced) as second:
                    await second()
                assert refused.value.status_code == 429 and refused.value.headers == {"Retry-After": "5"}
        with uploads.receiving(chunks(b"12345", b"67890"), 10, 10) as third:
            assert [(await third())["body"] for _ in range(2)] == [b"12345", b"67890"]
        assert uploads.held == 0

    asyncio.run(test())
