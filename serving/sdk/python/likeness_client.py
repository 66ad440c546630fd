"""A client of the likeness service, for a game's server.

game = Likeness("https://likeness.example", key)
character = game.create(Path("me.jpg"), player="player-1")
Path("hero.glb").write_bytes(game.file(character["id"], "glb"))
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, cast
from urllib.parse import quote

import httpx

Form = Literal["png", "webp", "glb", "vrm", "mhm"]
Photo = Path | bytes
LONGEST_PAUSE = 60.0
# No answer came, and nobody knows what became of the request.
LOST = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)


class Choice(TypedDict):
    """What one group is set to, and how likely each choice seemed."""

    choice: str
    probabilities: dict[str, float]


class Alternative(TypedDict):
    """Choices that the photo may mean as well, and how likely beside what was taken."""

    discrete: dict[str, str]
    relative: float


class Character(TypedDict):
    """A character.json, and what the service adds to it."""

    format: int
    id: str
    character: str
    schema_md5: str
    parameters: dict[str, float]
    discrete: dict[str, Choice]
    engine: NotRequired[dict[str, Any]]
    confidence: dict[str, float]
    alternatives: list[Alternative]
    likely: dict[str, list[str]]
    photo: dict[str, Any]
    photos: NotRequired[list[dict[str, Any]]]
    provenance: dict[str, Any]
    edited: list[str]
    read: NotRequired[dict[str, Any]]
    created: str
    expires: str
    links: dict[str, str]
    aligned: NotRequired[str]


class RandomCharacter(TypedDict):
    """Values that no photo stands behind."""

    format: int
    character: str
    schema_md5: str
    seed: int
    parameters: dict[str, float]
    discrete: dict[str, Choice]
    engine: NotRequired[dict[str, Any]]


class Preset(TypedDict):
    """Some sliders and choices to begin with."""

    name: str
    kind: Literal["person", "look"]
    label: str
    parameters: dict[str, float]
    discrete: dict[str, str]


class Token(TypedDict):
    """What a player's page sends in the place of a key."""

    token: str
    expires: str


class Code(TypedDict):
    """A short code for a character, to be read aloud or typed in."""

    code: str
    expires: str


class Erased(TypedDict):
    """How many of each are gone."""

    characters: int
    corrections: int
    tokens: int


class Job(TypedDict):
    """Many photos, read one after the other."""

    id: str
    state: Literal["running", "done", "lost"]
    created: str
    photos: int
    results: list[dict[str, Any]]
    callback: NotRequired[dict[str, Any]]
    links: dict[str, str]


class LikenessError(Exception):
    """The service said no, in a problem document (RFC 9457).

    `retry_after`: seconds after which the same may succeed; None where the service does not say.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or f"the service answered with {status}")
        self.status, self.problem, self.retry_after = status, problem, retry_after

    @property
    def kind(self) -> str:
        """The last word of the problem's type: `no-face` of `/problems/no-face`."""
        return str(self.problem.get("type", "")).rpartition("/")[2]


class Likeness:
    """A context manager that keeps connections open; it can also be used without `with`.

    Args:
        service: where it is: https://likeness.example
        key: an API key, or a player's token.
        retries: how often a request is sent again that the service was too busy for, or that no answer came to, where
            it asks only or has an Idempotency-Key.
        transport: httpx's, for tests.
    """

    def __init__(
        self,
        service: str,
        key: str | None = None,
        *,
        retries: int = 5,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=service, headers=headers, timeout=timeout, transport=transport)
        self._retries = retries

    def __enter__(self) -> Likeness:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def create(
        self,
        photo: Photo,
        *,
        player: str = "",
        keep_photo: bool = False,
        share_corrections: bool = False,
        refine: Literal["gradient", "engine"] | None = None,
        idempotency_key: str | None = None,
    ) -> Character:
        """A character of a photo. Sent again after a broken line, it is made once.

        `idempotency_key`: words of yours, new for each photo. With the same ones this call can be made again for a day,
        by another process too, and answers with the same character.
        """
        fields = {"player": player, "keep_photo": keep_photo, "share_corrections": share_corrections}
        key = idempotency_key or str(uuid.uuid4())
        return cast(Character, self._form("/v1/characters", [photo], fields, refine, key))

    def create_of_person(
        self, photos: Sequence[Photo], *, player: str = "", refine: Literal["gradient", "engine"] | None = None
    ) -> Character:
        """One character of several photos of one person."""
        return cast(Character, self._form("/v1/characters:person", photos, {"player": player}, refine))

    def character(self, id: str) -> tuple[Character, str]:
        """A character as it is now, and its ETag."""
        answer = self._ask("GET", f"/v1/characters/{quote(id, safe='')}")
        return answer.json(), answer.headers["etag"]

    def change(
        self,
        id: str,
        parameters: Mapping[str, float] | None = None,
        discrete: Mapping[str, str] | None = None,
        *,
        etag: str | None = None,
    ) -> Character:
        """Set some sliders and choices. `etag`: only if nobody changed the character since it was read."""
        edit = {"parameters": dict(parameters or {}), "discrete": dict(discrete or {})}
        headers = {"If-Match": etag} if etag else {}
        return self._ask("PATCH", f"/v1/characters/{quote(id, safe='')}", json=edit, headers=headers).json()

    def erase(self, id: str) -> None:
        """Erase a character."""
        self._ask("DELETE", f"/v1/characters/{quote(id, safe='')}")

    def file(self, id: str, form: Form, **options: str | float) -> bytes:
        """A character's file: `file(id, "png", size=256, expression="smile")`."""
        return self._ask("GET", f"/v1/characters/{quote(id, safe='')}.{form}", params=options).content

    def render(self, values: Mapping[str, Any], form: Form, **options: str | float) -> bytes:
        """The same of values alone, which the service does not keep."""
        return self._ask("POST", f"/v1/render.{form}", params=options, json=values).content

    def schema(self) -> dict[str, Any]:
        """All sliders and choices, and how they move a mesh."""
        return self._ask("GET", "/v1/schema").json()

    def random(
        self,
        seed: int | None = None,
        preset: str | None = None,
        parameters: Mapping[str, float] | None = None,
        discrete: Mapping[str, str] | None = None,
    ) -> RandomCharacter:
        """A random person of whom some may be decided."""
        decided = {"parameters": dict(parameters or {}), "discrete": dict(discrete or {})}
        return self._ask("POST", "/v1/random", json={**decided, "seed": seed, "preset": preset}).json()

    def presets(self) -> list[Preset]:
        """People and looks to begin with."""
        return self._ask("GET", "/v1/presets").json()["presets"]

    def token_for(self, player: str, seconds: int = 3600) -> Token:
        """A short-lived token for one player, for the page in a frame."""
        return self._ask("POST", "/v1/tokens", json={"player": player, "seconds": seconds}).json()

    def code_for(self, id: str, seconds: int = 86_400) -> Code:
        """A short code for a character, which lives for so long at most."""
        return self._ask("POST", f"/v1/characters/{quote(id, safe='')}.code", json={"seconds": seconds}).json()

    def character_of_code(self, code: str) -> Character:
        """The character of a code, however somebody typed it."""
        return self._ask("GET", f"/v1/codes/{quote(code, safe='')}").json()

    def characters_of(self, player: str) -> list[Character]:
        """All of a player's characters, the oldest first."""
        return self._ask("GET", f"/v1/players/{quote(player, safe='')}/characters").json()["characters"]

    def export_player(self, player: str) -> bytes:
        """All that is kept of a player, a .zip."""
        return self._ask("GET", f"/v1/players/{quote(player, safe='')}/export").content

    def erase_player(self, player: str) -> Erased:
        """Erase all of it."""
        return self._ask("DELETE", f"/v1/players/{quote(player, safe='')}/characters").json()

    def start_job(
        self,
        photos: Sequence[Photo],
        *,
        players: Sequence[str] = (),
        callback: str = "",
        idempotency_key: str | None = None,
    ) -> Job:
        """Many photos, read one after the other. `callback`: an address that the service may tell when it is done;
        `idempotency_key`: as of `create`."""
        fields = {"player": list(players), "callback": callback}
        return cast(Job, self._form("/v1/jobs", photos, fields, key=idempotency_key or str(uuid.uuid4())))

    def job(self, id: str) -> Job:
        """What has become of it so far."""
        return self._ask("GET", f"/v1/jobs/{quote(id, safe='')}").json()

    def finished(self, id: str, every: float = 2.0) -> Job:
        """A job once nothing more comes of it."""
        while (job := self.job(id))["state"] == "running":
            time.sleep(every)
        return job

    def _form(
        self,
        path: str,
        photos: Sequence[Photo],
        fields: Mapping[str, Any],
        refine: str | None = None,
        key: str | None = None,
    ) -> Any:
        files = [("photo", _named(photo, number)) for number, photo in enumerate(photos, 1)]
        data = {name: str(value).lower() if value is True else value for name, value in fields.items() if value}
        headers = {"Idempotency-Key": key} if key else {}
        params = {"refine": refine} if refine else {}
        return self._ask("POST", path, files=files, data=data, headers=headers, params=params).json()

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Raises LikenessError, and httpx.TransportError where there is no answer."""
        is_once = method == "GET" or "Idempotency-Key" in request.get("headers", {})
        for tries in range(self._retries + 1):
            # Longer each time, where the service cannot say how long it takes.
            pause = min(2.0**tries, LONGEST_PAUSE)
            try:
                answer = self._client.request(method, path, **request)
            except LOST:
                if not is_once or tries == self._retries:
                    raise
            else:
                if answer.is_success:
                    return answer
                after = _seconds(answer)
                passes = answer.status_code in (409, 429, 503) and tries < self._retries
                if not passes or after is None or after > LONGEST_PAUSE:
                    raise LikenessError(answer.status_code, _problem(answer), after)
                # 409: the first of these requests is still at work.
                pause = max(pause, after) if answer.status_code == 409 else after
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")


def _named(photo: Photo, number: int) -> tuple[str, bytes]:
    return (photo.name, photo.read_bytes()) if isinstance(photo, Path) else (f"photo-{number}", photo)


def _seconds(answer: httpx.Response) -> float | None:
    try:
        return float(answer.headers["retry-after"])
    except (KeyError, ValueError):
        return None


def _problem(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
