"""The DVC remote: what it has, and copying to and from it. Every call is tried again for seconds."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from orchestration.config.causes import needs_somebody
from orchestration.config.retries import with_retries
from orchestration.storage import objects
from orchestration.storage.store_errors import RemoteDown

if TYPE_CHECKING:
    from dvc.repo import Repo

ATTEMPTS = 4
"""Times that the remote is tried, with seconds between them."""
MAKE_ROOM = "make room on the disk that is named, or give this user the right to write there, and call this again"
SEEK = "is it up, is LIKENESS_DVC_REMOTE right, are its credentials in the environment? `likeness doctor` tries it"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Availability:
    """Where every file of a folder is to be had."""

    here: bool
    remote: bool
    damaged: bool = False
    """Whether the remote has objects of it whose bytes are wrong."""
    lost: bool = False
    """Whether some object of it is neither here nor, sound, in the remote: nothing brings the folder back."""


@dataclass(frozen=True)
class Remote:
    """The remote of an opened repository. Every method raises RemoteDown where it cannot be used."""

    repo: Repo
    url: str

    @cached_property
    def objects(self) -> Any:
        """Its object database."""
        remote: Any = self.retry(self.repo.cloud.get_remote_odb)
        # What was hashed once, or pushed by us, is read again only where it changed; of local files alone.
        remote.state = self.repo.state
        return remote

    def retry(self, act: Callable[[], Result]) -> Result:
        """Use the remote, again after a while when it fails."""
        from dvc.exceptions import DvcException
        from tenacity import stop_after_attempt

        def may_pass(error: BaseException) -> bool:
            # What another try does not change: a wrong address, missing rights, a full disk.
            settled = (FileNotFoundError, PermissionError, DvcException, RemoteDown)
            return not (isinstance(error, settled) or needs_somebody(error))

        try:
            return with_retries(act, may_pass, stop_after_attempt(ATTEMPTS))
        except (FileNotFoundError, RemoteDown):
            raise
        except Exception as error:
            remedy = MAKE_ROOM if needs_somebody(error) else SEEK
            raise RemoteDown(
                f"the remote {self.url} cannot be used ({type(error).__name__}: {error}): {remedy}"
            ) from error

    def present(self, oids: Collection[str]) -> set[str]:
        """Those of these objects that it has."""
        return self.retry(lambda: set(self.objects.list_oids_exists(oids)))

    def sizes(self) -> dict[str, int]:
        """Bytes of every object by its md5."""
        return self.retry(lambda: objects.sizes(self.objects))

    def listing(self, md5: str) -> dict[str, str] | None:
        """A folder's files (md5 by path); None where its listing is not there, or damaged."""
        return self.retry(lambda: objects.listing(self.objects, md5))

    def pull(self, oids: Collection[str]) -> None:
        """Copy to the cache what it has of these. What proves to be damaged is not kept."""
        cache = self.repo.cache.local

        def pull() -> None:
            there = set(self.objects.list_oids_exists(oids))
            objects.copy(self.objects, cache, there)
            objects.delete(cache, objects.damaged(cache, sorted(there)))

        self.retry(pull)

    def push(self, oids: Collection[str]) -> None:
        """Copy to it what it lacks of these.

        It is asked for each: DVC's own push takes the files of a listing that the remote has for granted.
        """
        cache = self.repo.cache.local
        self.retry(lambda: objects.copy(cache, self.objects, set(oids) - set(self.objects.oids_exist(oids))))

    def copy(self, oids: Collection[str]) -> None:
        """Copy these out of the cache, whether it has them or not."""
        self.retry(lambda: objects.copy(self.repo.cache.local, self.objects, oids))

    def delete(self, oids: Collection[str]) -> int:
        """Remove these; bytes freed."""
        from dvc_data.hashfile.db import get_index

        get_index(self.objects).clear()  # it takes a listed folder's files for granted
        return self.retry(lambda: objects.delete(self.objects, oids))

    def probe(self) -> None:
        """Write, read and delete a small object."""
        content, fs = uuid.uuid4().hex.encode(), self.objects.fs
        path = fs.join(self.objects.path, f"likeness-probe-{content.decode()}")

        def try_it() -> None:
            fs.makedirs(self.objects.path, exist_ok=True)
            fs.pipe_file(path, content)
            if fs.cat_file(path) != content:
                raise OSError("what was written is not what was read")
            fs.remove(path)

        self.retry(try_it)

    def availability(self, md5: str, read: bool = True) -> Availability:
        """Whether a folder is whole here, and in the remote; without `read` only a size tells what is damaged."""
        return self.retry(lambda: self._availability(md5, read))

    def _availability(self, md5: str, read: bool) -> Availability:
        cache = self.repo.cache.local
        tree = objects.listing(cache, md5)
        if tree is None:
            tree = objects.listing(self.objects, md5)
        oids = {md5, *(tree or {}).values()}
        here = {oid for oid in oids if cache.exists(oid)} if tree is not None else set()
        there = set(self.objects.list_oids_exists(oids))
        wrong = self._damaged(there, read)
        sound = there - wrong
        return Availability(here == oids, sound == oids, bool(wrong), here | sound != oids)

    def _damaged(self, oids: Collection[str], read: bool) -> set[str]:
        """The damaged ones of these objects, as far as a look can tell: local files are read where they changed, of
        others the size is compared with the cache's.
        """
        if read and self.objects.fs.protocol == "local":
            return {oid for oid in oids if objects.is_damaged(self.objects, oid, self.repo.state)}
        mine, there = (objects.sizes_of(place, oids) for place in (self.repo.cache.local, self.objects))
        return {oid for oid in oids if mine.get(oid, there.get(oid)) != there.get(oid)}
