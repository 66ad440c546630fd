"""The drawing process: `python -m serving.rendering.worker CHARACTER EMBEDDED DEVICE`.

It reads one request a line from its standard input, as JSON: `{"draw": <method of Artist>, "with": {…}}`. It answers
with a line of JSON, `{"kind": …, "length": n}`, and n bytes. The first answer comes unasked: the document of
`/v1/schema`. The process ends with its input, and with its service even while it draws: none outlives it.
"""

import gzip
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from engine.processes import die_with_parent
from serving.rendering.errors import CannotDraw, Kind, Outdated

COMPRESSION = 6
log = logging.getLogger(__name__)


def main(character: str, embedded: str, device: str) -> int:
    # Whatever a library or a studio's renderer prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    die_with_parent(signal.SIGKILL)  # one that draws, or still starts, does not look at its input
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the service ends this process
    logging.basicConfig(stream=sys.stderr)
    from engine.character import CharacterError
    from engine.schema import SchemaError
    from serving.rendering.artist import open_artist

    try:
        artist = open_artist(Path(character), Path(embedded), device)
        _answer(answers, Kind.DRAWN, artist.published().model_dump_json().encode())
    except (CharacterError, SchemaError, OSError) as error:
        _answer(answers, Kind.REFUSED, str(error).encode())
        return 1
    for line in sys.stdin.buffer:
        request = json.loads(line)
        draw = getattr(artist, request["draw"])
        kind, content = _outcome(lambda draw=draw, request=request: draw(**request["with"]))
        if kind is Kind.DRAWN and request.get("compressed"):
            content = gzip.compress(content, COMPRESSION, mtime=0)
        _answer(answers, kind, content)
    return 0


def _outcome(draw: Callable[[], bytes]) -> tuple[Kind, bytes]:
    from engine.character import CharacterError

    try:
        return Kind.DRAWN, draw()
    except CannotDraw as error:
        return Kind.REFUSED, str(error).encode()
    except CharacterError as error:
        log.error("%s", error)
        return Kind.REFUSED, b"the character's own renderer failed: the service's log says how"
    except Outdated:
        return Kind.OUTDATED, b""
    except Exception as error:
        log.exception("drawing failed")
        return Kind.FAILED, f"{type(error).__name__}: {error}".encode()


def _answer(file: BinaryIO, kind: Kind, content: bytes) -> None:
    file.write(json.dumps({"kind": kind, "length": len(content)}).encode() + b"\n" + content)
    file.flush()


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except BrokenPipeError:  # the service is gone
        os._exit(1)
