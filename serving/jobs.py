"""Many photos in one request, read one after the other while the client does something else.

Whoever works on a job holds a lock, which goes with the process, and gives a sign of life now and then: a job without
both is taken over, by the same service started again or by another machine. Where its photos were in memory, it is
`lost`; where they lie in a spool, it is finished. Either way its callback is told.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock, Timeout

from serving.character_store import Caller, new_id
from serving.job_store import ERASED, Cancelled, Job, JobStore, described
from serving.webhooks import NotAllowed, Webhooks
from serving.workers.refiner import RefinementMethod

BEATS_EVERY, ABANDONED_AFTER, LOOKS_EVERY = 2.0, 10.0, 3.0
"""Seconds between two signs of life, without one until a job is taken over, and between two looks for such jobs."""
NEVER_BEGUN_AFTER = 600.0
"""Seconds in which photos are written at the latest."""
MOST_TAKEOVERS = 3
"""While one photo is read: that many processes ended over it."""
log = logging.getLogger("likeness.serving")

Read = Callable[[Job, int, bytes | None], Awaitable[dict[str, Any]]]
"""Reads a job's photo by its number: its character's id, or a problem. None: the photo is gone."""


class Full(Exception):
    """As many jobs are read as may."""


class Jobs:
    """All jobs, of which `capacity` may be read here at once."""

    def __init__(self, store: JobStore, capacity: int, webhooks: Webhooks) -> None:
        self.store, self.capacity, self.webhooks = store, capacity, webhooks
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
        begun: datetime | None = None,
        id: str = "",
    ) -> Job:
        """A new job, which runs from now on; without an id it gets one. `begun`: when its request did.

        Raises Full, OSError.
        """
        job = Job(
            id or new_id(),
            owner,
            datetime.now(UTC).isoformat(timespec="seconds"),
            list(names),
            players=list(players),
            characters=[new_id() for _ in names],
            keep_photo=keep_photo,
            refine=refine,
            spooled=self.store.spools_all or keep_photo,
            callback=callback,
            begun=(begun or datetime.now(UTC)).isoformat(),
        )
        if not self._reserve(job.id):
            raise Full
        lock = self.store.lock(job.id)
        try:
            await asyncio.to_thread(lock.acquire)
            await asyncio.to_thread(self.store.add, job, photos)
        except BaseException:
            self._reading.discard(job.id)
            lock.release()
            raise
        if not job.spooled:
            self._photos[job.id] = dict(enumerate(photos))
        self._begin(job, lock)
        return job

    async def cancel(self, id: str, owner: str) -> None:
        """Read no more of its photos; what was read stays. The job is forgotten, and nobody is told.

        Raises UnknownJob, OSError.
        """
        await asyncio.to_thread(self.store.get, id, owner)
        if task := self._tasks.get(id):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(self.store.forget, id)

    def erase_player(self, caller: Caller) -> None:
        """Delete a player's photos that are not read yet, and what jobs have of an erased player. Those that another
        process works on follow before their next photo. Raises OSError."""
        for id, number in self.store.unread_of(caller):
            self.store.photos.drop(id, number)
            self._photos.get(id, {}).pop(number, None)
        self.store.erase_player(caller)

    def _reserve(self, id: str) -> bool:
        """Make a job one of those that are read; False where these are as many as may. Nothing is awaited in between:
        of several that ask at once, no more get in than there is room for."""
        if self.is_full:
            return False
        self._reading.add(id)
        return True

    def _begin(self, job: Job, lock: FileLock) -> None:
        self._tasks[job.id] = task = asyncio.create_task(self._work(job, lock))
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))

    async def _work(self, job: Job, lock: FileLock) -> None:
        beating = asyncio.create_task(self._beat(job))
        try:
            if job.state == "running":
                await self._read_all(job)
            if job.callback and job.told is None:
                await self._tell(job)
            await asyncio.to_thread(self.store.finish, job)
        except asyncio.CancelledError:
            job.takeovers = 0  # the photo is not to blame
            with suppress(Cancelled, OSError):
                self.store.write(job)
            raise
        except Cancelled:
            await asyncio.to_thread(self.store.forget, job.id)
        except OSError as error:  # it is taken over when there is a disk again
            log.error("the job %s cannot go on: %s", job.id, error)
        finally:
            beating.cancel()
            self._photos.pop(job.id, None)
            self._reading.discard(job.id)
            lock.release()

    async def _read_all(self, job: Job) -> None:
        for number in range(len(job.results), len(job.names)):
            result = await self._read(job, number, await self._photo(job, number))
            job.results.append({"name": job.names[number], **result})
            job.takeovers = 0
            await self._note(job)
            if job.spooled:  # after the result: one that is not written is read again
                await asyncio.to_thread(self.store.photos.drop, job.id, number)
        job.end("done")
        await self._note(job)
        await asyncio.to_thread(self.store.photos.clear, job.id)
        self._reading.discard(job.id)

    async def _photo(self, job: Job, number: int) -> bytes | None:
        """None: it is gone, or its player was erased, perhaps by another machine."""
        await asyncio.to_thread(self.store.forget_erased, job)
        if job.spooled:
            content = await asyncio.to_thread(self.store.photos.get, job.id, number)
        else:
            content = self._photos[job.id].pop(number, None)
        return None if job.player(number) == ERASED else content

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
                left = await asyncio.to_thread(self.store.open_ids)
            except OSError as error:  # the next look may find it well
                log.error("jobs cannot be looked after: %s", error)
                left = []
            for id in left:
                try:
                    await self._take_over(id)
                except Exception:  # one alone: the others are not to wait for it
                    log.exception("the job %s cannot be looked after", id)
            await asyncio.sleep(LOOKS_EVERY)

    async def _take_over(self, id: str) -> None:
        """Go on with a job whose process has ended. Raises OSError."""
        if id in self._tasks:
            return
        # A lock of another machine may not be seen from here: signs of life are.
        if not await asyncio.to_thread(self.store.is_silent, id, ABANDONED_AFTER, NEVER_BEGUN_AFTER):
            return
        lock = self.store.lock(id)
        try:
            await asyncio.to_thread(lock.acquire)
        except Timeout:
            return
        job, has_room = None, self._reserve(id)
        try:
            job = await asyncio.to_thread(self._left, id, has_room)
        finally:
            if job is None or job.state != "running":  # to tell of it takes no room
                self._reading.discard(id)
            if job is None:
                lock.release()
        if job is None:
            return
        log.info("the job %s is taken over: %s, %d of %d photos", id, job.state, len(job.results), len(job.names))
        self._begin(job, lock)

    def _left(self, id: str, has_room: bool) -> Job | None:
        """What somebody left undone, to go on with; None where it is done, or has to wait for others."""
        try:
            job = self.store.read(id)
            if job.state == "running" and not job.spooled:
                job.end("lost")
            if not self.store.is_open(id) or (job.state == "running" and not has_room):
                return None
            job.takeovers += 1
            self.store.write(job)
        except (FileNotFoundError, Cancelled):  # its process ended before it was accepted, or it was just deleted
            self.store.forget(id)
            return None
        return job

    async def _beat(self, job: Job) -> None:
        while True:
            await asyncio.sleep(BEATS_EVERY)
            with suppress(OSError):
                await asyncio.to_thread(self.store.beat, job.id)

    async def _note(self, job: Job) -> None:
        """Write it, to the end also where that is cancelled: a deleted job is not to come back."""
        writing = asyncio.ensure_future(asyncio.to_thread(self.store.write, job))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise
