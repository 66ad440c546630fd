"""The process that holds the engine, as the service sees it: started, asked, timed, started again when it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.character import Character
from serving.rendering.disk_cache import Kept
from serving.rendering.errors import Busy, CannotDraw, Kind, NoAnswer
from serving.rendering.schema_document import SchemaDocument

START_SECONDS = 300.0  # a first start compiles the renderer's kernels and paints textures
STARTS_EVERY = 10  # seconds between two starts, where the first failed
RETRY_WHILE_STARTING = 5  # seconds
PATIENCE = 5.0  # seconds for the process to end by itself
IDLE_LOOK = 0.1  # seconds between two looks at whether somebody waits
TOLD_EVERY = 20  # files drawn ahead
ANYBODY_WAITING = 256
"""Requests for what everybody may have that may wait; they are quick, and take turns with those for characters."""
RECENT = 0.2  # how much the newest drawing counts in how long one takes
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""The processors are the models'."""
log = logging.getLogger(__name__)


@dataclass
class _Request:
    """`draw`: a method of Artist, or None, which only lets the process start; `given`: its arguments, plain JSON."""

    draw: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    compressed: bool = False
    begun: bool = field(default=False, compare=False)

    def line(self) -> bytes:
        return json.dumps({"draw": self.draw, "with": self.given, "compressed": self.compressed}).encode() + b"\n"


class _Line:
    """Requests that wait for their turn: the first of each line takes turns with the first of the others."""

    def __init__(self, room: int) -> None:
        self.room, self.waiting, self.first = room, 0, asyncio.Lock()

    def leave(self, _: object) -> None:
        self.waiting -= 1


class Drawing:
    """An async context manager that owns one drawing process. One request is drawn at a time, in order.

    On entry the process starts in the background and draws, while nobody waits, the thumbnails and the geometry that
    are not on disk. One that ends (killed, out of memory) or takes too long fails the request that it was at; the next
    request starts another.

    Args:
        character: the character's folder.
        embedded: `data/embedded`.
        cache: a folder for what was drawn; it may be deleted at any time.
        waiting: requests that may wait.
        timeout: seconds that a request may take.

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
    ) -> None:
        found = Character.load(character)
        self.forms = ("png", "glb", "mhm") if found.is_embedded else ("png",) if found.has_engine else ()
        self.timeout = timeout
        self._document: SchemaDocument | None = None
        self._characters, self._anybody = _Line(waiting), _Line(ANYBODY_WAITING)
        self._arguments = (str(character.resolve()), str(embedded.resolve()), device)
        self._kept = Kept(cache)
        self._turn = asyncio.Lock()
        self._process: Process | None = None
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

    async def __aenter__(self) -> Drawing:
        self._background(self._warm())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End the process; requests that wait are cancelled."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end()

    async def png(self, document: Mapping[str, Any], size: int) -> bytes:
        """The engine's own picture of a character.json, `size` (64 to 1024) pixels high.

        Raises CannotDraw, Busy or NoAnswer, as all that draws does.
        """
        return await self._ask(_Request("png", {"document": document, "size": size}), self._characters)

    async def glb(self, document: Mapping[str, Any]) -> bytes:
        """What `likeness export --format glb` writes."""
        return await self._ask(_Request("glb", {"document": document}), self._characters)

    async def mhm(self, document: Mapping[str, Any]) -> bytes:
        """A character.json as MakeHuman's model file."""
        return await self._ask(_Request("mhm", {"document": document}), self._characters)

    async def published(self) -> SchemaDocument:
        """The document of `/v1/schema`."""
        if self._document is None:
            await self._ask(_Request(), self._anybody)
            assert self._document is not None, "a process that runs has told it"
        return self._document

    async def kept(self, draw: str, *, compressed: bool = False, **given: Any) -> bytes:
        """What Artist.<draw> gives, from disk where it was drawn before; `compressed`: by gzip."""
        version = (await self.published()).version
        key = json.dumps([version, draw, compressed, given], sort_keys=True)
        task = self._shared.get(key)  # of two who ask for the same at once, one draws
        if task is None:
            task = self._shared[key] = self._background(self._drawn_once(key, _Request(draw, given, compressed)))
            task.add_done_callback(lambda _: self._shared.pop(key, None))
        return await asyncio.shield(task)

    async def _drawn_once(self, key: str, request: _Request) -> bytes:
        content = await asyncio.to_thread(self._kept.get, key)
        if content is None:
            content = await self._ask(request, self._anybody)
            await asyncio.to_thread(self._kept.put, key, content)
        return content

    async def _warm(self) -> None:
        """Start the process, then draw what every page shows, whenever nobody else waits."""
        try:
            await self._in_turn(_Request(), self._anybody)
            wanted = list(_drawn_ahead(await self.published()))
            for number, (draw, compressed, given) in enumerate(wanted, start=1):
                while self._characters.waiting or self._anybody.waiting:
                    await asyncio.sleep(IDLE_LOOK)
                await self.kept(draw, compressed=compressed, **given)
                if number % TOLD_EVERY == 0 or number == len(wanted):
                    log.info("geometry and thumbnails: %d of %d are there", number, len(wanted))
        except (CannotDraw, Busy, NoAnswer, RuntimeError) as error:
            log.warning("geometry and thumbnails are not drawn ahead: %s", error)

    async def _ask(self, request: _Request, line: _Line) -> bytes:
        if line.waiting >= line.room:
            raise Busy(f"{line.waiting} drawings wait already", math.ceil(line.waiting * self._seconds))
        line.waiting += 1
        task = self._background(self._in_turn(request, line))
        task.add_done_callback(line.leave)
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

    async def _in_turn(self, request: _Request, line: _Line) -> bytes:
        async with line.first, self._turn:
            request.begun = True
            process = await self._running()
            if request.draw is None:
                return b""
            begun = time.monotonic()
            kind, content = await self._answer_of(process, request)
            if kind is Kind.OUTDATED:
                await self._end()
                kind, content = await self._answer_of(await self._running(), request)
            self._seconds += RECENT * (time.monotonic() - begun - self._seconds)
        if kind is Kind.REFUSED:
            raise CannotDraw(content.decode())
        if kind is not Kind.DRAWN:
            raise RuntimeError(f"{request.draw} could not be drawn: {content.decode() or kind}")
        return content

    async def _answer_of(self, process: Process, request: _Request) -> tuple[Kind, bytes]:
        """Raises NoAnswer when the process ends or takes too long: it is gone then."""
        try:
            async with asyncio.timeout(self.timeout):
                assert process.stdin is not None
                process.stdin.write(request.line())
                await process.stdin.drain()
                return await _read_answer(process)
        except TimeoutError as error:
            await self._end(patience=0.0)
            log.error("%s took more than %g s: the drawing process is ended", request.draw, self.timeout)
            raise NoAnswer(f"it was not drawn within {self.timeout:g} s") from error
        except (OSError, EOFError) as error:
            ended = await self._end()
            log.error("the drawing process ended (%s) at %s", ended, request.draw)
            raise NoAnswer(f"the drawing process ended ({ended}) while it drew this") from error

    async def _running(self) -> Process:
        """The process, started where there is none. Raises CannotDraw or NoAnswer when it cannot start."""
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self._end()
        if time.monotonic() < self._next_start:
            raise self._refusal
        self._next_start = time.monotonic() + STARTS_EVERY
        self._refusal = Busy("the engine could not be started a moment ago", STARTS_EVERY)
        self._starting = True
        try:
            self._process, kind, content = await self._started()
        finally:
            self._starting = False
        if kind is not Kind.DRAWN:
            await self._end()
            log.error("the engine cannot be loaded: %s", content.decode())
            why = "the engine that draws this character cannot be loaded: the service's log says why"
            self._refusal = CannotDraw(why)
            raise self._refusal
        self._document = SchemaDocument.model_validate_json(content)
        self._next_start = 0.0
        return self._process

    async def _started(self) -> tuple[Process, Kind, bytes]:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = (sys.executable, "-m", "serving.rendering.worker", *self._arguments)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env={**os.environ, **THREADS, "PYTHONPATH": path}
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                return process, *await _read_answer(process)
        except BaseException as error:  # to be cancelled is one
            ended = await _ended(process, PATIENCE if isinstance(error, EOFError) else 0.0)
            if isinstance(error, (TimeoutError, OSError, EOFError)):
                log.error("the engine's process ended (%s) while it was loaded", ended)
                raise NoAnswer(f"the engine's process ended ({ended}) while it was loaded") from error
            raise

    async def _end(self, patience: float = PATIENCE) -> str:
        """End the process, if there is one; how it ended."""
        process, self._process = self._process, None
        return await _ended(process, patience) if process is not None else "it did not run"

    def _background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody may have stopped waiting
        return task


def _drawn_ahead(document: SchemaDocument) -> Iterator[tuple[str, bool, dict[str, str | None]]]:
    """What `Drawing.kept` is asked for: the head, the thumbnails, and what is worn for all choices."""
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


async def _read_answer(process: Process) -> tuple[Kind, bytes]:
    """Raises EOFError when the process ends before its answer does."""
    assert process.stdout is not None
    header = await process.stdout.readline()
    if not header.endswith(b"\n"):
        raise EOFError
    said = json.loads(header)
    return Kind(said["kind"]), await process.stdout.readexactly(said["length"])


async def _ended(process: Process, patience: float = PATIENCE) -> str:
    """Let a process end within some seconds, or kill it; how it ended."""
    if process.returncode is None:
        with suppress(TimeoutError, OSError):
            # Its input ends, and what it still has to say is read: it would wait for a reader.
            await asyncio.wait_for(process.communicate(b""), patience)
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    status = await process.wait()
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
