"""The rendering process: `python -m serving.rendering.worker CHARACTER EMBEDDED DEVICE`.

Its first message is the document of `/v1/schema`. A request is `{"draw": <method of CharacterRenderer>, "with": {…},
"compressed": <by gzip>}`, an answer a RenderStatus and the bytes that it is about.
"""

import gzip
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from engine.character import Character, CharacterError
from engine.engines import EmbeddedEngine, open_engine
from engine.schema import SchemaError
from serving.child_process import Answer, Message, NotLoaded, answer_requests
from serving.rendering.character_renderer import CharacterRenderer
from serving.rendering.errors import CannotDraw, Outdated, RenderStatus

COMPRESSION = 6
log = logging.getLogger(__name__)


def open_renderer(folder: Path, embedded: Path, device: str) -> CharacterRenderer:
    """What draws the character in a folder.

    Args:
        embedded: `data/embedded`; read for characters of the embedded engine only.

    Raises SchemaError, CharacterError or OSError when the character or its engine cannot be loaded.
    """
    character = Character.load(folder)
    engine = open_engine(character, embedded, device)
    if not isinstance(engine, EmbeddedEngine):
        return CharacterRenderer(character, engine)
    from serving.rendering.embedded_renderer import EmbeddedRenderer

    return EmbeddedRenderer(character, engine, embedded)


@contextmanager
def _loaded(folder: Path, embedded: Path, device: str) -> Iterator[tuple[Message, Answer]]:
    try:
        renderer = open_renderer(folder, embedded, device)
        document = renderer.document()
    except (CharacterError, SchemaError, OSError) as error:
        raise NotLoaded(str(error)) from error
    yield Message(document.model_dump(mode="json")), partial(_answer, renderer)


def _answer(renderer: CharacterRenderer, request: Message) -> Message:
    wanted = request.value
    status, content = _outcome(renderer, wanted["draw"], wanted["with"])
    if status is RenderStatus.DRAWN and wanted["compressed"]:
        content = gzip.compress(content, COMPRESSION, mtime=0)
    return Message(status, [content])


def _outcome(renderer: CharacterRenderer, draw: str, given: dict[str, Any]) -> tuple[RenderStatus, bytes]:
    try:
        return RenderStatus.DRAWN, getattr(renderer, draw)(**given)
    except CannotDraw as error:
        return RenderStatus.REFUSED, str(error).encode()
    except CharacterError as error:
        log.error("%s", error)
        return RenderStatus.REFUSED, b"the character's own renderer failed: the service's log says how"
    except Outdated:
        return RenderStatus.OUTDATED, b""
    except Exception as error:
        log.exception("drawing failed")
        return RenderStatus.FAILED, f"{type(error).__name__}: {error}".encode()


def main(folder: str, embedded: str, device: str) -> int:
    """Draw until the input ends; the status to exit with."""
    return answer_requests(_loaded(Path(folder), Path(embedded), device))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
