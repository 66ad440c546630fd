"""Many photos in one request, read one after the other while the client does something else.

Photos are held in memory and nowhere else, so a job does not outlive its process: then its state is `lost`, and what
was read of it stays. What becomes of a job is kept as a file, so that every machine of a service can tell it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from engine.files import write_whole
from serving.character_store import ID, new_id
from serving.webhooks import Webhooks

State = Literal["running", "done", "lost"]
BEATS_EVERY, LOST_AFTER = 5.0, 60.0
"""Seconds between two notes of a running job, and without one until it is lost."""


class UnknownJob(Exception):
    """There is no such job, or none of this owner's."""


@dataclass
class Job:
    """One job: what it is about, and what came of it so far."""

    id: str
    owner: str
    created: str
    names: list[str]
    """The photos' file names, in order."""
    state: State = "running"
    results: list[dict[str, Any]] = field(default_factory=list)
    """Of each photo that was read, in order: its name, and its character's id or a problem."""
    callback: str = ""
    told: bool | None = None
    """Whether the callback took the message; None: it was not tried, or is being tried."""


Read = Callable[[int], Awaitable[dict[str, Any]]]
"""Reads a job's photo by its number: its character's id, or a problem."""


class Jobs:
    """All jobs, of which `capacity` may run here at once. An async context manager."""

    def __init__(self, folder: Path, capacity: int, keep_seconds: float, webhooks: Webhooks) -> None:
        self.folder, self.capacity, self.keep_seconds, self.webhooks = folder, capacity, keep_seconds, webhooks
        self._running: dict[str, asyncio.Task[None]] = {}
        self._telling: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Jobs:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._running.values(), *self._telling]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def is_full(self) -> bool:
        """Whether as many run as may."""
        return len(self._running) >= self.capacity

    async def start(self, owner: str, names: Sequence[str], callback: str, read: Read) -> Job:
        """A new job, which runs from now on. Raises OSError."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        job = Job(new_id(), owner, now, list(names), callback=callback)
        await asyncio.to_thread(self._write, job)
        self._running[job.id] = task = asyncio.create_task(self._run(job, read))
        task.add_done_callback(lambda _: self._running.pop(job.id, None))
        return job

    def get(self, id: str, owner: str) -> Job:
        """Raises UnknownJob, OSError."""
        try:
            if not ID.fullmatch(id):
                raise UnknownJob(id)
            path = self._path(id)
            job = Job(**json.loads(path.read_bytes()))
            silent = time.time() - path.stat().st_mtime
        except FileNotFoundError as error:
            raise UnknownJob(id) from error
        if job.owner != owner:
            raise UnknownJob(id)
        if job.state == "running" and silent > LOST_AFTER:
            job.state = "lost"
        return job

    async def cancel(self, id: str, owner: str) -> None:
        """Read no more of its photos, where it runs here; what was read stays. The job is forgotten.

        Raises UnknownJob, OSError.
        """
        await asyncio.to_thread(self.get, id, owner)
        if task := self._running.get(id):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(self._path(id).unlink, missing_ok=True)

    def delete_expired(self) -> None:
        """Forget jobs whose characters have expired."""
        oldest = time.time() - self.keep_seconds
        for path in self.folder.glob("*.job"):
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:  # another process did it
                continue

    async def _run(self, job: Job, read: Read) -> None:
        noted = time.monotonic()
        for number, name in enumerate(job.names):
            result = asyncio.ensure_future(read(number))
            try:
                while not (await asyncio.wait({result}, timeout=BEATS_EVERY))[0]:
                    await asyncio.to_thread(self._write, job)
            except asyncio.CancelledError:
                result.cancel()
                raise
            job.results.append({"name": name, **result.result()})
            if time.monotonic() - noted > BEATS_EVERY:
                await asyncio.to_thread(self._write, job)
                noted = time.monotonic()
        job.state = "done"
        await asyncio.to_thread(self._write, job)
        if job.callback:
            telling = asyncio.create_task(self._tell(job))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    async def _tell(self, job: Job) -> None:
        message = {"type": "job.done", "timestamp": datetime.now(UTC).isoformat(), "data": described(job)}
        job.told = await self.webhooks.send(job.callback, f"job_{job.id}", json.dumps(message).encode())
        await asyncio.to_thread(self._write, job)

    def _write(self, job: Job) -> None:
        write_whole(self._path(job.id), json.dumps(vars(job)).encode())

    def _path(self, id: str) -> Path:
        return self.folder / f"{id}.job"


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
