"""Jobs as files, so that every machine of a service can tell what becomes of them, and go on with what others left.

`ID.job` is the job, `ID.open` is there as long as there is something to do for it, `ID.lock` is locked by whoever does.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from engine.files import write_durable
from serving.character_store import ID, Caller
from serving.expiring import delete_older, each_alone, older
from serving.kept_json import read_kept
from serving.photo_spool import PhotoSpool
from serving.workers.refiner import RefinementMethod

State = Literal["running", "done", "lost"]
LOST_AFTER = 60.0
"""Seconds without a sign of life until a job whose photos were in memory is called lost, though nobody has looked after
it."""


ERASED = "erased"
"""In the place of a player's digest: what was kept of the player was erased after the job began."""


class UnknownJob(Exception):
    """There is no such job, or none of this owner's."""


class Cancelled(Exception):
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
    begun: str = ""
    """When its request began; empty: a version made it that did not note more than `created`."""

    @property
    def since(self) -> datetime | None:
        """When its request began."""
        known = self.begun or self.created
        return datetime.fromisoformat(known) if known else None

    def forget_player(self, number: int) -> None:
        """Keep nothing of whose photo it was, nor what it was called: the player is erased."""
        self.players[number], self.names[number] = ERASED, ""
        if number < len(self.results):
            self.results[number]["name"] = ""

    def end(self, state: State) -> None:
        """Nothing more is read."""
        self.state, self.ended = state, datetime.now(UTC).isoformat(timespec="seconds")

    def player(self, number: int) -> str:
        """The digest of a photo's player; empty: nobody was named."""
        return self.players[number] if self.players else ""


class JobStore:
    """Every call blocks on the disk and raises OSError when that is full or gone.

    spool: where photos lie until they are read, so that a job outlives its process. None: in memory, but for those
    that are to be kept on the disk anyway.
    is_erased: whether what is kept of a player was erased after this time.
    """

    def __init__(
        self,
        folder: Path,
        keep_seconds: float,
        spool: Path | None = None,
        is_erased: Callable[[Caller, datetime], bool] = lambda caller, begun: False,
    ) -> None:
        self.folder, self.keep_seconds, self.is_erased = folder, keep_seconds, is_erased
        self.photos, self.spools_all = PhotoSpool(spool or folder / "photos"), spool is not None

    def add(self, job: Job, photos: Sequence[bytes]) -> None:
        """Keep a new job, and its photos if they are spooled. In this order: what was written for nothing is found."""
        try:
            write_durable(self.path(job.id, ".open"), b"")
            if job.spooled:
                self.photos.put(job.id, photos)
            write_durable(self.path(job.id), json.dumps(vars(job)).encode())
        except OSError:
            self.forget(job.id)
            raise

    def get(self, id: str, owner: str) -> Job:
        """Raises UnknownJob."""
        if not ID.fullmatch(id):
            raise UnknownJob(id)
        try:
            job = self.read(id)
            silent = time.time() - self.path(id).stat().st_mtime
        except FileNotFoundError as error:
            raise UnknownJob(id) from error
        if job.owner != owner:
            raise UnknownJob(id)
        if job.state == "running" and not job.spooled and silent > LOST_AFTER:
            job.state = "lost"
        return job

    def read(self, id: str) -> Job:
        """Whoever's it is. Raises FileNotFoundError."""
        return read_kept(self.path(id), _job)

    def write(self, job: Job) -> None:
        """What became of it. Raises Cancelled."""
        self.forget_erased(job)
        if not self.path(job.id).exists():
            raise Cancelled(job.id)
        write_durable(self.path(job.id), json.dumps(vars(job)).encode())

    def beat(self, id: str) -> None:
        """Give a sign of life."""
        os.utime(self.path(id))

    def open_ids(self) -> list[str]:
        """The jobs for which there is something to do."""
        return sorted(path.stem for path in self.folder.glob("*.open"))

    def is_open(self, id: str) -> bool:
        """Whether there is something to do for a job."""
        return self.path(id, ".open").exists()

    def is_silent(self, id: str, seconds: float, unwritten: float) -> bool:
        """Whether a job gave no sign of life for so long; one that was never written: since its photos began to be."""
        if self.path(id).exists():
            return any(older([self.path(id)], seconds))
        return any(older([self.path(id, ".open")], unwritten))

    def lock(self, id: str) -> FileLock:
        """Held by whoever works on a job; to acquire it raises filelock.Timeout at once. It goes with the process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Whatever thread took it, it belongs to the job.
        return FileLock(self.path(id, ".lock"), timeout=0, thread_local=False)

    def close(self, id: str) -> None:
        """Nothing is left to do."""
        for suffix in (".open", ".lock"):  # in this order: who finds no lock file looks whether the job is open
            self.path(id, suffix).unlink(missing_ok=True)

    def finish(self, job: Job) -> None:
        """Nothing is left to do. Raises Cancelled."""
        self.close(job.id)
        if self.forget_erased(job):  # whoever erased just now saw it open, and left this to whoever works on it
            self.write(job)

    def forget(self, id: str) -> None:
        """Delete all of a job."""
        self.path(id).unlink(missing_ok=True)
        self.photos.clear(id)
        self.close(id)

    def forget_erased(self, job: Job) -> bool:
        """Take out of a job what it has of players who were erased since it began; whether it had anything."""
        known, since = set(job.players) - {"", ERASED}, job.since
        erased = {player for player in known if since and self.is_erased(Caller(job.owner, player), since)}
        for number, player in enumerate(job.players):
            if player in erased:
                job.forget_player(number)
        return bool(erased)

    def erase_player(self, caller: Caller) -> None:
        """Take a player who is erased out of all jobs that are done; out of the others whoever works on them does."""
        for job, _ in self.of_player(caller):
            if not self.is_open(job.id):
                with suppress(Cancelled, FileNotFoundError):
                    ended = self.path(job.id).stat().st_mtime
                    self.write(job)
                    os.utime(self.path(job.id), (ended, ended))  # it is kept no longer for this

    def of_player(self, caller: Caller) -> list[tuple[Job, list[int]]]:
        """The jobs that have photos of a player, and the numbers of these, the oldest job first."""
        found = []
        for path in self.folder.glob("*.job"):
            with suppress(FileNotFoundError):
                job = self.read(path.stem)
                if job.owner == caller.owner and caller.player in job.players:
                    found.append((job, [n for n, player in enumerate(job.players) if player == caller.player]))
        return sorted(found, key=lambda one: (one[0].created, one[0].id))

    def unread_of(self, caller: Caller) -> list[tuple[str, int]]:
        """The photos of a player that are not read yet: their jobs and numbers."""
        found = []
        for id in self.open_ids():
            with suppress(FileNotFoundError):
                job = self.read(id)
                for number in range(len(job.results), len(job.names)):
                    if (job.owner, job.player(number)) == (caller.owner, caller.player):
                        found.append((id, number))
        return found

    def delete_expired(self) -> None:
        """Forget jobs whose characters have expired."""
        for path in older(self.folder.glob("*.job"), self.keep_seconds):
            with each_alone(path):
                self.forget(path.stem)
        delete_older(self.folder.glob("*.*"), self.keep_seconds)

    def path(self, id: str, suffix: str = ".job") -> Path:
        """Where a job, or another file of it, is kept."""
        return self.folder / f"{id}{suffix}"


def _job(content: dict[str, Any]) -> Job:
    known = {one.name for one in fields(Job)}
    return Job(**{name: value for name, value in content.items() if name in known})


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
