"""Jobs of many photos, and whom they tell."""

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pytest
from pydantic import ValidationError

from serving.configuration import ServiceSettings
from serving.jobs import Jobs, UnknownJob
from serving.webhooks import NotAllowed, Webhooks

SECRET = "whsec_bGlrZW5lc3MgaXMgdGVzdGVkIHdpdGggdGhpcw=="
Heard = SimpleQueue[tuple[Mapping[str, str], bytes]]


@contextmanager
def listening(*statuses: int, location: str = "") -> Iterator[tuple[str, Heard]]:
    """A game's server that answers with these statuses in turn, the last for ever; what it heard."""
    left, heard = list(statuses or (204,)), Heard()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.put((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.send_header("Location", location)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        server.server_close()


def test_nobody_is_told_but_named_sites() -> None:
    webhooks = Webhooks(("https://game.example",), SECRET)
    webhooks.require_allowed("https://game.example/likeness?job=1")
    for url in (
        "http://game.example/", "https://game.example:444/", "https://game.example.evil.example/", "file:///etc/passwd",
        "https://game.example@evil.example/", "https://evil.example#https://game.example", "https://127.0.0.1/",
        "https://game.example\\@evil.example/", "https://game.ex\tample/", "https://[::1", "",
    ):  # fmt: skip
        with pytest.raises(NotAllowed):
            webhooks.require_allowed(url)


def test_a_message_is_sent_again_until_it_is_taken_and_follows_no_redirect() -> None:
    with listening() as (elsewhere, unheard), listening(500, 302, 200, location=f"{elsewhere}/") as (site, heard):
        webhooks = Webhooks((site,), SECRET)
        assert asyncio.run(webhooks.send(f"{site}/", "job_1", b"{}", (0.01, 0.01)))
        assert [heard.get(timeout=1)[0]["webhook-id"] for _ in range(3)] == ["job_1"] * 3
        assert heard.empty() and unheard.empty()
    assert not asyncio.run(webhooks.send(f"{site}/", "job_1", b"{}", (0.01,))), "nobody is there"


def test_a_secret_is_needed_to_tell_anybody() -> None:
    for secret in ("", "whsec_", "whsec_c2hvcnQ=", SECRET.removeprefix("whsec_")):
        with pytest.raises(ValidationError, match="openssl rand"):
            ServiceSettings(webhooks=("https://game.example",), webhook_secret=secret)  # pyright: ignore[reportArgumentType]
    known = ServiceSettings(webhooks=("https://game.example",), webhook_secret=SECRET)  # pyright: ignore[reportArgumentType]
    assert SECRET not in repr(known)


def test_a_job_is_its_owners_can_be_cancelled_and_is_lost_with_its_process(tmp_path: Path) -> None:
    async def run() -> None:
        begun = asyncio.Event()

        async def read(number: int) -> dict[str, Any]:
            if number:
                begun.set()
                await asyncio.sleep(60)
            return {"id": f"character {number}"}

        async with Jobs(tmp_path, 1, 3600, Webhooks((), "")) as jobs:
            job = await jobs.start("game", ["a", "b"], "", read)
            assert jobs.is_full
            await begun.wait()
            with pytest.raises(UnknownJob):
                jobs.get(job.id, "another game")
            await jobs.cancel(job.id, "game")
            assert not jobs.is_full and not list(tmp_path.iterdir())
            left = await jobs.start("game", ["a", "b"], "", read)
        jobs = Jobs(tmp_path, 1, 3600, Webhooks((), ""))
        assert jobs.get(left.id, "game").state == "running"
        before = time.time() - 120
        os.utime(tmp_path / f"{left.id}.job", (before, before))
        assert jobs.get(left.id, "game").state == "lost"

    asyncio.run(run())
