"""Jobs of many photos, and whom they tell."""

import asyncio
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from serving import jobs, problems
from serving.app import build
from serving.character_store import Caller, CharacterStore
from serving.configuration import ServiceSettings
from serving.job_store import Job, JobStore, UnknownJob
from serving.jobs import MOST_TAKEOVERS, Full, Jobs
from serving.routers import jobs as router
from serving.routers.jobs import read_photo
from serving.usage import OverLimit
from serving.webhooks import NotAllowed, Webhooks
from tests.serving.support import Shelf, astronaut, paths, until

HERE = "http://127.0.0.1"
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


def test_a_message_follows_no_redirect_and_says_whether_it_was_taken() -> None:
    with listening() as (elsewhere, unheard), listening(500, 302, 200, location=f"{elsewhere}/") as (site, heard):
        webhooks = Webhooks((site,), SECRET)
        assert [asyncio.run(webhooks.send(f"{site}/", "job_1", b"{}")) for _ in range(3)] == [False, False, True]
        assert [heard.get(timeout=1)[0]["webhook-id"] for _ in range(3)] == ["job_1"] * 3
        assert heard.empty() and unheard.empty()
    assert not asyncio.run(webhooks.send(f"{site}/", "job_1", b"{}")), "nobody is there"


def test_a_secret_is_needed_to_tell_anybody() -> None:
    for secret in ("", "whsec_", "whsec_c2hvcnQ=", SECRET.removeprefix("whsec_")):
        with pytest.raises(ValidationError, match="openssl rand"):
            ServiceSettings(webhooks=("https://game.example",), webhook_secret=secret)  # pyright: ignore[reportArgumentType]
    known = ServiceSettings(webhooks=("https://game.example",), webhook_secret=SECRET)  # pyright: ignore[reportArgumentType]
    assert SECRET not in repr(known)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was left is taken over at once."""
    for name, seconds in (("BEATS_EVERY", 0.05), ("ABANDONED_AFTER", 0.2), ("LOOKS_EVERY", 0.05)):
        monkeypatch.setattr(jobs, name, seconds)


def jobs_in(folder: Path, site: str = "", spool: Path | None = None, pauses: tuple[float, ...] = ()) -> Jobs:
    return Jobs(JobStore(folder, 3600, spool), 1, Webhooks((site,), SECRET, pauses))


async def read(job: Job, number: int, content: bytes | None) -> dict[str, Any]:
    return {"id": job.characters[number], "read": content.decode() if content else None}


async def reads_one(job: Job, number: int, content: bytes | None) -> dict[str, Any]:
    """A process that is at the second photo for ever."""
    if number:
        await asyncio.sleep(60)
    return await read(job, number, content)


async def end(all_jobs: Jobs, job: Job) -> Job:
    """The job once nothing more comes of it and its callback knows."""
    await until(lambda: not all_jobs.store.open_ids())
    return all_jobs.store.get(job.id, job.owner)


def test_a_job_is_its_owners_and_can_be_cancelled(tmp_path: Path) -> None:
    async def run() -> None:
        async with jobs_in(tmp_path).running(reads_one) as all_jobs:
            job = await all_jobs.start("game", ["a", "b"], [b"A", b"B"], keep_photo=True)
            await until(lambda: all_jobs.store.get(job.id, "game").results)
            assert all_jobs.is_full
            with pytest.raises(UnknownJob):
                all_jobs.store.get(job.id, "another game")
            await all_jobs.cancel(job.id, "game")
            assert not all_jobs.is_full and not list(tmp_path.glob("*.*")) and not list(tmp_path.glob("photos/*"))

    asyncio.run(run())


def test_of_jobs_that_come_at_once_no_more_are_taken_than_there_is_room_for(tmp_path: Path) -> None:
    async def run() -> None:
        async with jobs_in(tmp_path).running(reads_one) as all_jobs:
            coming = (all_jobs.start("game", ["a", "b"], [b"A", b"B"]) for _ in range(5))
            taken = await asyncio.gather(*coming, return_exceptions=True)
            assert [type(one) for one in taken if not isinstance(one, Job)] == [Full] * 4
            assert len(all_jobs.store.open_ids()) == 1

    asyncio.run(run())


def test_a_job_that_is_sent_again_is_found_though_no_other_may_begin(tmp_path: Path) -> None:
    client = TestClient(build(ServiceSettings(workers=1, jobs=1), Shelf({}, None), paths(tmp_path)), HERE)
    files = [("photo", ("a.png", astronaut(), "image/png"))]
    with client:  # the photo waits for a model
        first, again, other = (client.post("/v1/jobs", files=files, headers={"Idempotency-Key": key}) for key in "aab")
    assert (first.status_code, again.status_code) == (202, 202) and again.json()["id"] == first.json()["id"]
    assert other.status_code == 429 and other.json()["type"] == "/problems/busy"


def test_a_job_in_memory_is_lost_with_its_process_and_the_game_is_told(tmp_path: Path, impatient: None) -> None:
    async def run(site: str) -> None:
        async with jobs_in(tmp_path).running(reads_one) as before:
            left = await before.start("game", ["a", "b"], [b"A", b"B"], callback=f"{site}/done")
            await until(lambda: before.store.get(left.id, "game").results)
        assert not (tmp_path / "photos").exists(), "no photo is on the disk"
        async with jobs_in(tmp_path, site).running(read) as after:
            lost = await end(after, left)
        assert (lost.state, len(lost.results), lost.told) == ("lost", 1, True)

    with listening() as (site, heard):
        asyncio.run(run(site))
        message = json.loads(heard.get(timeout=1)[1])
    assert (message["type"], message["data"]["state"], len(message["data"]["results"])) == ("job.lost", "lost", 1)


def test_a_spooled_job_goes_on_where_it_was_left(tmp_path: Path, impatient: None) -> None:
    spool, me = tmp_path / "spool", Caller("game", "me")

    async def run() -> None:
        async with jobs_in(tmp_path / "jobs", spool=spool).running(reads_one) as before:
            players = ["", "you", "me"]
            left = await before.start("game", ["a", "b", "c"], [b"A", b"B", b"C"], players=players)
            await until(lambda: before.store.get(left.id, "game").results)
        assert sorted(path.name for path in (spool / left.id).iterdir()) == ["1", "2"], "what was read is deleted"
        long_ago, lived = time.time() - 900, before.store.path(left.id, ".open")
        os.utime(lived, (long_ago, long_ago))
        assert not before.store.is_silent(left.id, 60, 600), "a long job is not a silent one"
        after = jobs_in(tmp_path / "jobs", spool=spool)
        after.erase_player(me)
        async with after.running(read):
            done = await end(after, left)
        assert done.state == "done" and [result["id"] for result in done.results] == left.characters
        assert [result["read"] for result in done.results] == ["A", "B", None], "the last one's player was erased"
        assert not list(spool.iterdir()) and [path.suffix for path in after.store.folder.glob("*.*")] == [".job"]
        os.utime(after.store.path(left.id), (long_ago - 4000, long_ago - 4000))
        after.store.delete_expired()
        assert not list(after.store.folder.glob("*.*"))

    asyncio.run(run())


def test_what_was_interrupted_before_the_job_was_written_begins_anew_under_its_id(tmp_path: Path) -> None:
    async def run() -> None:
        all_jobs, id = jobs_in(tmp_path, spool=tmp_path / "spool"), "x" * 22
        all_jobs.store.photos.put(id, [b"A", b"B", b"C"])
        all_jobs.store.path(id, ".open").touch()
        async with all_jobs.running(read):
            done = await end(all_jobs, await all_jobs.start("game", ["a"], [b"D"], id=id))
        assert (done.id, [result["read"] for result in done.results]) == (id, ["D"])

    asyncio.run(run())


def test_an_erased_player_is_read_no_more_and_gone_from_jobs_of_other_machines_and_of_before(tmp_path: Path) -> None:
    me, read_of, others_turn = Caller("game", "me"), list[bytes | None](), asyncio.Event()
    characters = CharacterStore(tmp_path / "characters", timedelta(1))

    def a_machines() -> Jobs:
        return Jobs(JobStore(tmp_path / "jobs", 3600, is_erased=characters.is_erased), 1, Webhooks((), SECRET))

    async def slowly(job: Job, number: int, content: bytes | None) -> dict[str, Any]:
        read_of.append(content)
        await asyncio.wait_for(others_turn.wait(), 20)
        return {"id": job.characters[number]}

    async def run() -> None:
        elsewhere = a_machines()
        before = Job("before", "game", "2026-01-01T00:00:00+00:00", ["my.png"], ["me"], state="done")
        elsewhere.store.add(before, [])
        elsewhere.store.close("before")
        async with a_machines().running(slowly) as here:
            job = await here.start("game", ["my", "your", "my too"], [b"A", b"B", b"C"], players=["me", "you", "me"])
            await until(lambda: read_of, 20)
            assert [numbers for _, numbers in elsewhere.store.of_player(me)] == [[0], [0, 2]]
            characters.erase_player(me)
            elsewhere.erase_player(me)
            others_turn.set()
            done = await end(here, job)
        assert read_of == [b"A", b"B", None]
        assert (done.names, done.players[1], done.state) == (["", "your", ""], "you", "done")
        assert [result["name"] for result in done.results] == done.names
        assert not elsewhere.store.of_player(me) and "my" not in elsewhere.store.path("before").read_text()

    asyncio.run(run())


def test_a_message_is_sent_again_also_by_the_next_process_until_it_is_taken(tmp_path: Path, impatient: None) -> None:
    async def run(site: str, heard: Heard) -> None:
        async with jobs_in(tmp_path, site, pauses=(0.01, 60.0, 60.0)).running(read) as before:
            job = await before.start("game", ["a"], [b"A"], callback=f"{site}/done")
            await until(lambda: heard.qsize() == 2)
        async with jobs_in(tmp_path, site, pauses=(0.01, 60.0, 60.0)).running(read) as after:
            assert (await end(after, job)).told
            gone = await after.start("game", ["a"], [b"A"], callback="https://not.any.more/")
            assert (await end(after, gone)).told is False

    with listening(500, 500, 204) as (site, heard):
        asyncio.run(run(site, heard))
        (first, *others) = [heard.get(timeout=1)[1] for _ in range(3)]
    assert heard.empty() and others == [first] * 2 and json.loads(first)["type"] == "job.done"


def test_a_photo_beyond_its_keys_limit_waits_for_the_next_day(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = [problems.over_limit(OverLimit("the key may have one photo read a day", 43_200))] * (router.TRIES + 1)

    async def make(*_: object, id: str, **__: object) -> Any:
        if refusals:
            raise refusals.pop()
        return SimpleNamespace(id=id)

    monkeypatch.setattr(router, "make", make)
    monkeypatch.setattr(router, "LIMIT_PAUSE", 0.0)
    state: Any = SimpleNamespace(keys=None)
    job = Job("x", "", "", ["a"], characters=["made"])
    assert asyncio.run(read_photo(state, job, 0, b"A")) == {"id": "made"} and not refusals


def test_a_photo_over_which_processes_end_is_given_up() -> None:
    job = Job("x", "game", "", ["a"], takeovers=MOST_TAKEOVERS)
    nobody: Any = None  # is asked
    result = asyncio.run(read_photo(nobody, job, 0, b"A"))
    assert result["problem"]["type"] == "/problems/model-died"


def test_a_damaged_job_keeps_no_other_from_being_taken_over(tmp_path: Path, impatient: None) -> None:
    store, long_ago = jobs_in(tmp_path).store, time.time() - 900
    for id in ("damaged", "fails", "whole"):
        job = Job(id, "game", "", ["a"], characters=["x"], keep_photo=True, spooled=True)
        store.add(job, [b"A"])
        os.utime(store.path(id), (long_ago, long_ago))
    store.path("damaged").write_bytes(b"{")
    os.utime(store.path("damaged"), (long_ago, long_ago))

    async def run() -> None:
        all_jobs = jobs_in(tmp_path)
        took = all_jobs._left  # pyright: ignore[reportPrivateUsage]

        def left(id: str, has_room: bool) -> Any:
            if id == "fails":
                raise OSError("this one alone")
            return took(id, has_room)

        all_jobs._left = left  # pyright: ignore[reportPrivateUsage]
        async with all_jobs.running(read):
            await until(lambda: store.open_ids() == ["fails"], 20)
        assert store.read("whole").state == "done" and not store.path("damaged").exists()

    asyncio.run(run())
