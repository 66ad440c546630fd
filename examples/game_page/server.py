"""A game's server that shows the page of likeness in its own page: docs/embedding.md.

    export LIKENESS_SERVE_FRAMES='["http://127.0.0.1:9000"]'
    likeness serve --keys keys                              # http://127.0.0.1:8000
    KEY=… python examples/game_page/server.py               # http://127.0.0.1:9000

The key stays here. A player's browser gets a token that is for this player's characters alone.
"""

import json
import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
FILES = {"/": ("index.html", "text/html"), "/game.js": ("game.js", "text/javascript")}


def ask(service: str, key: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """What likeness answers."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(service + path, content, headers), timeout=30) as answer:
        return json.load(answer)


def make(service: str, key: str, port: int, heroes: dict[str, Any]) -> ThreadingHTTPServer:
    """The server, not yet started. `heroes`: each player's character.json; a game has a database for it."""

    class Handler(BaseHTTPRequestHandler):
        player = "player-1"
        """A game knows who is logged in, by its own cookie."""

        def do_GET(self) -> None:
            if self.path == "/service":
                self._answer(json.dumps({"origin": service}).encode(), "application/json")
            elif self.path in FILES:
                name, media_type = FILES[self.path]
                self._answer((FOLDER / name).read_bytes(), media_type)
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path == "/token":
                token = ask(service, key, "/v1/tokens", {"player": self.player, "seconds": 900})
                self._answer(json.dumps(token).encode(), "application/json")
            elif self.path == "/hero":
                # Among this player's own: an id that somebody else's browser sent is not found.
                mine = ask(service, key, f"/v1/players/{self.player}/characters")["characters"]
                wanted = json.loads(sent)["id"]
                heroes[self.player] = next(character for character in mine if character["id"] == wanted)
                self._answer(b"{}", "application/json")
            else:
                self.send_error(404)

        def _answer(self, content: bytes, media_type: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", media_type)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    make(os.environ.get("SERVICE", "http://127.0.0.1:8000"), os.environ["KEY"], 9000, {}).serve_forever()
