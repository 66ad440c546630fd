"""Many photos in one request, read one after the other while the client does something else.

A job is a file, so that every machine of a service can tell what becomes of it, and an empty `.open` file as long as
there is something to do for it. Whoever works on it holds a lock, which goes with the process, and gives a sign of life
now and then: a job without both is taken over, by the same service started again or by another machine. Photos are in
memory, where nobody else has them: such a job is `lost` with its process. Or they lie in a spool, and it is finished.
Either way its callback is told.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from engine.files import write_whole
from serving.character_store import ID, Caller, new_id
from serving.expiring import delete_older, older
from serving.photo_spool import PhotoSpool
from serving.webhooks import NotAllowed, Webhooks
from serving.workers.refiner import RefinementMethod

State = Literal["running", "done", "lost"]
BEATS_EVERY, ABANDONED_AFTER, LOOKS_EVERY = 2.0, 10.0, 3.0
"""Seconds between two signs of life, without one until a job is taken over, and between two looks for such jobs."""
NEVER_BEGUN_AFTER = 600.0
"""Seconds in which photos are written at the latest."""
LOST_AFTER = 60.0
"""Seconds without one until a job whose photos were in memory is called lost, though nobody has looked after it."""
MOST_TAKEOVERS = 3
"""While one photo is read: that many processes ended over it."""
log = logging.getLogger("likeness.serving")


class UnknownJob(Exception):
    """There is no such job, or none of this owner's."""


class _Cancelled(Exception):
    """The job was deleted, here or by another machine."""


@dataclass
class Job:
    """One job: what it is about, and what came of it so far. What a game calls its players is not in it."""

    id: str
    owner: str
    created: str
    names: list[str]
    """The photos' file names, in order."""
    players: list[str] = field(default_factory=list)
    """Digests of whose photo each is, or nothing."""
    characters: list[str] = field(default_factory=list)
    """The ids that characters get: a photo that is read again makes no second one."""
    keep_photo: bool = False
    refine: RefinementMethod | None = None
    spooled: bool = False
    """Whether the photos are where another process finds them."""
    state: State = "running"
    results: list[dict[str, Any]] = field(default_factory=list)
    """Of each photo that was read, in order: its name, and its character's id or a problem."""
    ended: str = ""
    callback: str = ""
    told: bool | None = None
    """Whether the callback took the message; None: it was not tried, or is being tried."""
    tries: int = 0
    """How often it was."""
    takeovers: int = 0
    """How many processes ended over the photo that is read."""

    def player(self, number: int) -> str:
        """The digest of a photo's player; empty: nobody was named."""
        return self.players[number] if self.players else ""


Read = Callable[[Job, int, bytes | None], Awaitable[dict[str, Any]]]
"""Reads a job's photo by its number: its character's id, or a problem. None: the photo is gone."""


class Jobs:
    """All jobs, of which `capacity` may be read here at once.

    spool: where photos lie until they are read, so that a job outlives its process. None: in memory, but for those
    that are to be kept on the disk anyway.
    """

    def __init__(
        self, folder: Path, capacity: int, keep_seconds: float, webhooks: Webhooks, spool: Path | None = None
    ) -> None:
        self.folder, self.capacity, self.keep_seconds, self.webhooks = folder, capacity, keep_seconds, webhooks
        self.spool, self._spools_all = PhotoSpool(spool or folder / "photos"), spool is not None
        self._photos: dict[str, dict[int, bytes]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reading: set[str] = set()

    @asynccontextmanager
    async def running(self, read: Read) -> AsyncIterator[Jobs]:
        """While the block runs, jobs are worked on: new ones, and those that were left."""
        self._read = read
        looking = asyncio.create_task(self._look_after())
        try:
            yield self
        finally:
            tasks = [looking, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def is_full(self) -> bool:
        """Whether as many are read as may."""
        return len(self._reading) >= self.capacity

    async def start(
        self,
        owner: str,
        names: Sequence[str],
        photos: Sequence[bytes],
        *,
        players: Sequence[str] = (),
        callback: str = "",
        keep_photo: bool = False,
        refine: RefinementMethod | None = None,
    ) -> Job:
        """A new job, which runs from now on. Raises OSError."""
        job = Job(
            new_id(),
            owner,
            _now(),
            list(names),
            players=list(players),
            characters=[new_id() for _ in names],
            keep_photo=keep_photo,
            refine=refine,
            spooled=self._spools_all or keep_photo,
            callback=callback,
        )
        lock = self._lock(job.id)
        await asyncio.to_thread(lock.acquire)
        try:
            await asyncio.to_thread(self._write_new, job, photos)
        except BaseException:
            lock.release()
            raise
        if not job.spooled:
            self._photos[job.id] = dict(enumerate(photos))
        self._begin(job, lock)
        return job

    def get(self, id: str, owner: str) -> Job:
        """Raises UnknownJob, OSError."""
        if not ID.fullmatch(id):
            raise UnknownJob(id)
        try:
            job = self._load(id)
            silent = time.time() - self._path(id).stat().st_mtime
        except FileNotFoundError as error:
            raise UnknownJob(id) from error
        if job.owner != owner:
            raise UnknownJob(id)
        if job.state == "running" and not job.spooled and silent > LOST_AFTER:
            job.state = "lost"
        return job

    async def cancel(self, id: str, owner: str) -> None:
        """Read no more of its photos; what was read stays. The job is forgotten, and nobody is told.

        Raises UnknownJob, OSError.
        """
        await asyncio.to_thread(self.get, id, owner)
        if task := self._tasks.get(id):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(self._forget, id)

    def erase_player(self, caller: Caller) -> None:
        """Delete a player's photos that are not read yet. Raises OSError."""
        for path in self.folder.glob("*.open"):
            with suppress(FileNotFoundError):
                job = self._load(path.stem)
                for number in range(len(job.results), len(job.names)):
                    if (job.owner, job.player(number)) == (caller.owner, caller.player):
                        self.spool.drop(job.id, number)
                        self._photos.get(job.id, {}).pop(number, None)

    def delete_expired(self) -> None:
        """Forget jobs whose characters have expired."""
        for path in older(self.folder.glob("*.job"), self.keep_seconds):
            self._forget(path.stem)
        delete_older(self.folder.glob("*.*"), self.keep_seconds)

    def _begin(self, job: Job, lock: FileLock) -> None:
        if job.state == "running":
            self._reading.add(job.id)
        self._tasks[job.id] = task = asyncio.create_task(self._work(job, lock))
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))

    async def _work(self, job: Job, lock: FileLock) -> None:
        beating = asyncio.create_task(self._beat(job))
        try:
            if job.state == "running":
                await self._read_all(job)
            if job.callback and job.told is None:
                await self._tell(job)
            await asyncio.to_thread(self._close, job.id)
        except asyncio.CancelledError:
            job.takeovers = 0  # the photo is not to blame
            with suppress(_Cancelled, OSError):
                self._write(job)
            raise
        except _Cancelled:
            await asyncio.to_thread(self._forget, job.id)
        except OSError as error:  # it is taken over when there is a disk again
            log.error("the job %s cannot go on: %s", job.id, error)
        finally:
            beating.cancel()
            self._photos.pop(job.id, None)
            self._reading.discard(job.id)
            lock.release()

    async def _read_all(self, job: Job) -> None:
        for number in range(len(job.results), len(job.names)):
            if job.spooled:
                content = await asyncio.to_thread(self.spool.get, job.id, number)
            else:
                content = self._photos[job.id].pop(number, None)
            result = await self._read(job, number, content)
            job.results.append({"name": job.names[number], **result})
            job.takeovers = 0
            await self._note(job)
            if job.spooled:  # after the result: one that is not written is read again
                await asyncio.to_thread(self.spool.drop, job.id, number)
        self._end(job, "done")
        await self._note(job)
        await asyncio.to_thread(self.spool.clear, job.id)
        self._reading.discard(job.id)

    async def _tell(self, job: Job) -> None:
        # The same bytes each time: a game may tell by them that it had the message before.
        message = {"type": f"job.{job.state}", "timestamp": job.ended, "data": described(job)}
        body = json.dumps(message).encode()
        while job.told is None:
            job.tries += 1
            await self._note(job)
            try:
                taken = await self.webhooks.send(job.callback, f"job_{job.id}", body)
            except NotAllowed as error:  # not any more
                log.warning("nobody is told of the job %s: %s", job.id, error)
                taken, job.tries = False, len(self.webhooks.pauses) + 1
            if taken or job.tries > len(self.webhooks.pauses):
                job.told = taken
                await self._note(job)
            else:
                await asyncio.sleep(self.webhooks.pause(job.tries))

    async def _look_after(self) -> None:
        while True:
            try:
                for path in await asyncio.to_thread(lambda: sorted(self.folder.glob("*.open"))):
                    await self._take_over(path.stem)
            except OSError as error:
                log.error("jobs cannot be looked after: %s", error)
            await asyncio.sleep(LOOKS_EVERY)

    async def _take_over(self, id: str) -> None:
        """Go on with a job whose process has ended. Raises OSError."""
        if id in self._tasks:
            return
        # A lock of another machine may not be seen from here: signs of life are.
        if not any(older([self._path(id)], ABANDONED_AFTER)) and not any(older([self._open(id)], NEVER_BEGUN_AFTER)):
            return
        lock = self._lock(id)
        try:
            await asyncio.to_thread(lock.acquire)
        except Timeout:
            return
        try:
            job = await asyncio.to_thread(self._left, id)
        except BaseException:
            lock.release()
            raise
        if job is None:
            lock.release()
            return
        log.info("the job %s is taken over: %s, %d of %d photos", id, job.state, len(job.results), len(job.names))
        self._begin(job, lock)

    def _left(self, id: str) -> Job | None:
        """What somebody left undone, to go on with; None where it is done, or has to wait for others."""
        try:
            job = self._load(id)
            if job.state == "running" and not job.spooled:
                self._end(job, "lost")
            if not self._open(id).exists() or (job.state == "running" and self.is_full):
                return None
            job.takeovers += 1
            self._write(job)
        except (FileNotFoundError, _Cancelled):  # its process ended before it was accepted, or it was just deleted
            self._forget(id)
            return None
        return job

    async def _beat(self, job: Job) -> None:
        while True:
            await asyncio.sleep(BEATS_EVERY)
            with suppress(OSError):
                await asyncio.to_thread(os.utime, self._path(job.id))

    def _end(self, job: Job, state: State) -> None:
        job.state, job.ended = state, _now()

    def _load(self, id: str) -> Job:
        return Job(**json.loads(self._path(id).read_bytes()))

    async def _note(self, job: Job) -> None:
        """Write it, to the end also where that is cancelled: a deleted job is not to come back."""
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, job))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise

    def _write_new(self, job: Job, photos: Sequence[bytes]) -> None:
        """In this order: photos that were written for nothing are found again."""
        try:
            write_whole(self._open(job.id), b"")
            if job.spooled:
                self.spool.put(job.id, photos)
            write_whole(self._path(job.id), json.dumps(vars(job)).encode())
        except OSError:
            self._forget(job.id)
            raise

    def _write(self, job: Job) -> None:
        if not self._path(job.id).exists():
            raise _Cancelled(job.id)
        write_whole(self._path(job.id), json.dumps(vars(job)).encode())

    def _close(self, id: str) -> None:
        for suffix in (".open", ".lock"):  # in this order: who finds no lock file looks whether the job is open
            self._path(id, suffix).unlink(missing_ok=True)

    def _forget(self, id: str) -> None:
        self._path(id).unlink(missing_ok=True)
        self.spool.clear(id)
        self._close(id)

    def _lock(self, id: str) -> FileLock:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Whatever thread took it, it belongs to the job.
        return FileLock(self._path(id, ".lock"), timeout=0, thread_local=False)

    def _path(self, id: str, suffix: str = ".job") -> Path:
        return self.folder / f"{id}{suffix}"

    def _open(self, id: str) -> Path:
        return self._path(id, ".open")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def described(job: Job) -> dict[str, Any]:
    """A job as it is answered, and told to its callback."""
    return {
        "id": job.id,
        "state": job.state,
        "created": job.created,
        "photos": len(job.names),
        "results": [_with_link(result) for result in job.results],
        "callback": {"url": job.callback, "delivered": job.told} if job.callback else None,
        "links": {"self": f"/v1/jobs/{job.id}"},
    }


def _with_link(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "self": f"/v1/characters/{result['id']}"} if "id" in result else result
