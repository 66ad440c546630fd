"""Who asks for drawings, and in which order; the process that draws them is started, asked, timed and started again."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.character import Character
from serving.child_process import ChildDied, ChildProcess, Message, NotLoaded
from serving.rendering import worker
from serving.rendering.disk_cache import DiskCache
from serving.rendering.errors import Busy, CannotDraw, NoAnswer, RenderStatus
from serving.rendering.schema_document import SchemaDocument

START_SECONDS = 300.0  # a first start compiles the renderer's kernels and paints textures
STARTS_EVERY = 10  # seconds between two starts, where the first failed
RETRY_WHILE_STARTING = 5  # seconds
IDLE_LOOK = 0.1  # seconds between two looks at whether somebody waits
REST = 1.0  # seconds without a photo after which the processors are taken to be free
TOLD_EVERY = 20  # files drawn ahead
ANYBODY_WAITING = 256
"""Requests for what everybody may have that may wait; they are quick, and take turns with those for characters."""
RECENT = 0.2  # how much the newest drawing counts in how long one takes
log = logging.getLogger(__name__)


@dataclass
class _Request:
    """`draw`: a method of CharacterRenderer, or None, which only lets the process start; `given`: its arguments, plain
    JSON."""

    draw: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    compressed: bool = False
    begun: bool = False


class _Turns:
    """Requests that wait: the first of those for characters takes turns with the first of those for everybody."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.waiting, self.first = capacity, 0, asyncio.Lock()

    def leave(self, _: object) -> None:
        self.waiting -= 1


class RenderService:
    """An async context manager that owns one rendering process. One request is drawn at a time, in order.

    On entry the process starts in the background and draws, while nobody waits, the thumbnails and the geometry that
    are not on disk. One that ends (killed, out of memory) or takes too long fails the request that it was at; the next
    request starts another.

    Args:
        character: the character's folder.
        embedded: `data/embedded`.
        cache: a folder for what was drawn; it may be deleted at any time.
        waiting: requests that may wait.
        timeout: seconds that a request may take.
        idle_seconds: for how long the processors have had no photo to read.

    Raises SchemaError or CharacterError when the character cannot be read.
    """

    def __init__(
        self,
        character: Path,
        embedded: Path,
        cache: Path,
        device: str = "cpu",
        waiting: int = 32,
        timeout: float = 30.0,
        idle_seconds: Callable[[], float] = lambda: math.inf,
    ) -> None:
        found = Character.load(character)
        models = ("glb", "vrm", "mhm") if found.is_embedded else ()
        self.forms = ("png", "webp", *models) if found.has_engine else ()
        """What a character can be drawn as."""
        self.timeout, self.idle_seconds = timeout, idle_seconds
        self._document: SchemaDocument | None = None
        self._characters, self._anybody = _Turns(waiting), _Turns(ANYBODY_WAITING)
        self._process = ChildProcess(worker.__name__, str(character.resolve()), str(embedded.resolve()), device)
        self._cache = DiskCache(cache)
        self._turn = asyncio.Lock()
        self._starting = False
        self._next_start = 0.0
        self._refusal: CannotDraw | Busy  # until the next start
        self._seconds = 0.5  # that a drawing takes, lately
        self._tasks: set[asyncio.Task[Any]] = set()
        self._shared: dict[str, asyncio.Task[bytes]] = {}

    @property
    def waiting(self) -> int:
        """Characters that wait or are being drawn."""
        return self._characters.waiting

    async def __aenter__(self) -> RenderService:
        self._background(self._draw_ahead())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._process.stop()

    async def draw(self, form: str, document: Mapping[str, Any], *, compressed: bool = False, **options: Any) -> bytes:
        """A character.json in one of `forms`, as CharacterRenderer draws it, with its options; `compressed`: by gzip.

        Raises CannotDraw, Busy or NoAnswer, as all that draws does.
        """
        return await self._ask(_Request(form, {"document": document, **options}, compressed), self._characters)

    async def document(self) -> SchemaDocument:
        """The document of `/v1/schema`."""
        if self._document is None:
            await self._ask(_Request(), self._anybody)
            assert self._document is not None, "a process that runs has told it"
        return self._document

    async def cached(self, draw: str, *, compressed: bool = False, **given: Any) -> bytes:
        """What CharacterRenderer.<draw> gives, from disk where it was drawn before; `compressed`: by gzip."""
        version = (await self.document()).version
        key = json.dumps([version, draw, compressed, given], sort_keys=True)
        task = self._shared.get(key)  # of two who ask for the same at once, one draws
        if task is None:
            task = self._shared[key] = self._background(self._drawn_once(key, _Request(draw, given, compressed)))
            task.add_done_callback(lambda _: self._shared.pop(key, None))
        return await asyncio.shield(task)

    async def _drawn_once(self, key: str, request: _Request) -> bytes:
        content = await asyncio.to_thread(self._cache.get, key)
        if content is None:
            content = await self._ask(request, self._anybody)
            await asyncio.to_thread(self._cache.put, key, content)
        return content

    async def _draw_ahead(self) -> None:
        """Start the process, then draw what every page shows, whenever nobody else waits and no photo is read: drawing
        takes a processor from those who read photos."""
        try:
            await self._in_turn(_Request(), self._anybody)
            wanted = list(_wanted_ahead(await self.document()))
            for number, (draw, compressed, given) in enumerate(wanted, start=1):
                while self._characters.waiting or self._anybody.waiting or self.idle_seconds() < REST:
                    await asyncio.sleep(IDLE_LOOK)
                await self.cached(draw, compressed=compressed, **given)
                if number % TOLD_EVERY == 0 or number == len(wanted):
                    log.info("geometry and thumbnails: %d of %d are there", number, len(wanted))
        except (CannotDraw, Busy, NoAnswer, RuntimeError) as error:
            log.warning("geometry and thumbnails are not drawn ahead: %s", error)

    async def _ask(self, request: _Request, turns: _Turns) -> bytes:
        if turns.waiting >= turns.capacity:
            raise Busy(f"{turns.waiting} drawings wait already", math.ceil(turns.waiting * self._seconds))
        turns.waiting += 1
        task = self._background(self._in_turn(request, turns))
        task.add_done_callback(turns.leave)
        try:
            return await asyncio.wait_for(asyncio.shield(task), self.timeout)
        except NoAnswer:
            raise
        except TimeoutError as error:
            if self._starting:
                raise Busy("the engine is still starting", RETRY_WHILE_STARTING) from error
            raise NoAnswer(f"it was not drawn within {self.timeout:g} s") from error
        finally:
            if not request.begun:  # nobody waits for it any more
                task.cancel()

    async def _in_turn(self, request: _Request, turns: _Turns) -> bytes:
        async with turns.first, self._turn:
            request.begun = True
            await self._ensure_started()
            if request.draw is None:
                return b""
            begun = time.monotonic()
            status, content = await self._answer_of(request)
            if status is RenderStatus.OUTDATED:
                await self._process.stop()
                await self._ensure_started()
                status, content = await self._answer_of(request)
            self._seconds += RECENT * (time.monotonic() - begun - self._seconds)
        if status is RenderStatus.REFUSED:
            raise CannotDraw(content.decode())
        if status is not RenderStatus.DRAWN:
            raise RuntimeError(f"{request.draw} could not be drawn: {content.decode() or status}")
        return content

    async def _answer_of(self, request: _Request) -> tuple[RenderStatus, bytes]:
        """Raises NoAnswer when the process ends or takes too long: it is gone then."""
        wanted = {"draw": request.draw, "with": request.given, "compressed": request.compressed}
        try:
            status, (content,) = await self._process.ask(Message(wanted), self.timeout)
        except TimeoutError as error:
            log.error("%s took more than %g s: the drawing process is ended", request.draw, self.timeout)
            raise NoAnswer(f"it was not drawn within {self.timeout:g} s") from error
        except ChildDied as error:
            log.error("the drawing process ended (%s) at %s", error, request.draw)
            raise NoAnswer(f"the drawing process ended ({error}) while it drew this") from error
        return RenderStatus(status), content

    async def _ensure_started(self) -> None:
        """Start the process where there is none. Raises CannotDraw, Busy or NoAnswer when it cannot start."""
        if self._process.pid is not None:
            return
        if time.monotonic() < self._next_start:
            raise self._refusal
        self._next_start = time.monotonic() + STARTS_EVERY
        self._refusal = Busy("the engine could not be started a moment ago", STARTS_EVERY)
        self._starting = True
        try:
            document = await self._process.start(START_SECONDS)
        except NotLoaded as error:
            log.error("the engine cannot be loaded: %s", error)
            why = "the engine that draws this character cannot be loaded: the service's log says why"
            self._refusal = CannotDraw(why)
            raise self._refusal from error
        except (ChildDied, OSError) as error:
            how = str(error) or f"after {START_SECONDS:g} s"
            log.error("the engine's process ended (%s) while it was loaded", how)
            raise NoAnswer(f"the engine's process ended ({how}) while it was loaded") from error
        finally:
            self._starting = False
        self._document = SchemaDocument.model_validate(document.value)
        self._next_start = 0.0

    def _background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody may have stopped waiting
        return task


def _wanted_ahead(document: SchemaDocument) -> Iterator[tuple[str, bool, dict[str, str | None]]]:
    """What `RenderService.cached` is asked for: the head, the thumbnails, and what is worn for all choices."""
    pieces = document.figure.pieces if document.figure else []
    for piece in pieces:
        if piece.group is None:
            yield "piece", True, {"name": piece.name, "choice": None}
    for group in document.groups:
        for choice in group.choices:
            if choice.thumbnail:
                yield "thumbnail", False, {"group": group.name, "choice": choice.name}
    for piece in pieces:
        for group in document.groups:
            worn = [choice.name for choice in group.choices if choice.name not in piece.absent]
            for choice in worn if group.name == piece.group else ():
                yield "piece", True, {"name": piece.name, "choice": choice}
