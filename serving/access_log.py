"""A line of JSON for each request: for whoever looks for what a client tells of, by its `instance`."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, WatchedFileHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from starlette.types import Scope

from serving.corrections import digest_of_player

STANDARD_OUTPUT = "-"
PARAMETER, ANY = re.compile(r"{(\w+)(?::\w+)?}"), "*"
"""Of a route's path; and what stands for it."""


class AccessLog:
    """Writes lines in a thread of its own: no request waits for a disk.

    `to`: a file, which may be moved away (logrotate) and is then opened anew; or STANDARD_OUTPUT.
    """

    def __init__(self, to: str) -> None:
        if to != STANDARD_OUTPUT:
            Path(to).parent.mkdir(parents=True, exist_ok=True)
        out = logging.StreamHandler(sys.stdout) if to == STANDARD_OUTPUT else WatchedFileHandler(to)
        queue: SimpleQueue[Any] = SimpleQueue()
        self._log = logging.Logger("likeness.access")
        self._log.addHandler(QueueHandler(queue))
        self._listener = QueueListener(queue, out)
        self._listener.start()

    def write(self, scope: Scope, status: int, seconds: float, size: int) -> None:
        """Note a request that was answered. No photo, key, query or address is in it, and nothing that leads to
        somebody."""
        state = scope.get("state", {})
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "instance": state.get("request_id"),
            "method": scope["method"],
            "path": _path(scope),
            "route": getattr(scope.get("route"), "path", None),
            "status": status,
            "problem": state.get("problem"),
            "seconds": round(seconds, 4),
            "bytes": size,
            "key": state.get("key"),
            "player": state.get("player"),
        }
        self._log.info("%s", json.dumps({name: value for name, value in line.items() if value not in (None, "")}))

    def close(self) -> None:
        """Write what waits."""
        self._listener.stop()


def _path(scope: Scope) -> str:
    """A request's path, with a digest for a player, and without ids and codes: who has these has the character."""
    route = getattr(scope.get("route"), "path", None)
    if route is None:  # refused at once, or mistyped: what follows the resource may be anything
        known = scope["path"].split("/")[:3]
        return "/".join(known if known == scope["path"].split("/") else [*known, ANY])
    given = scope.get("path_params", {})
    return PARAMETER.sub(lambda found: digest_of_player(given[found[1]]) if found[1] == "player" else ANY, route)
