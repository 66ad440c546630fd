"""`likeness serve`, `likeness key`: the HTTP service, and who may ask it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from orchestration.cli.terminal import (
    Character,
    exit_with_error,
    get_settings,
    marked,
    one_line_errors,
    print_note,
    screen,
)
from orchestration.config.garbage import collect_as_usual
from orchestration.config.settings import Settings
from serving.configuration import ServiceSettings
from serving.keys import SCOPES, Key, KeyProblem, Keys, scopes_of
from serving.usage import KeyUse, used

key_app = typer.Typer(help="Who may ask the service: **API keys**.", no_args_is_help=True, rich_markup_mode="markdown")
Name = Annotated[str, typer.Argument(help="Whose key: letters, digits, dots and dashes.")]


def add_to(app: typer.Typer) -> None:
    """Add `serve` and `key` to the command line."""
    app.command()(serve)
    app.add_typer(key_app, name="key")


@one_line_errors
def serve(
    host: Annotated[
        str, typer.Option("--host", help="Interface to listen on; 0.0.0.0: all, for which there must be API keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8000,
    character: Character = "",
    model: Annotated[
        str, typer.Option("--model", help="The alias to follow: production, candidate, newest, previous.")
    ] = "production",
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="File of API keys, also for this machine.", show_default="LIKENESS_SERVE_KEYS"),
    ] = None,
    shadow: Annotated[
        str,
        typer.Option(
            "--shadow",
            metavar="VERSION",
            help="This version, by number or alias, reads the same photos and answers nobody: `likeness shadow` tells "
            "how the two differ.",
            show_default="LIKENESS_SERVE_SHADOW",
        ),
    ] = "",
    canary: Annotated[
        float | None,
        typer.Option(
            "--canary",
            metavar="PERCENT",
            min=0,
            max=100,
            help="So many players in a hundred are answered by --shadow's version, or the alias candidate.",
            show_default="LIKENESS_SERVE_CANARY",
        ),
    ] = None,
    ray: Annotated[
        str,
        typer.Option(
            "--ray", metavar="ADDRESS", help="On the Ray cluster whose job server is here, and goes on there."
        ),
    ] = "",
    replicas: Annotated[int, typer.Option("--replicas", min=1, help="--ray: how many.")] = 1,
    most_replicas: Annotated[
        int | None, typer.Option("--most-replicas", min=1, help="--ray: up to so many while photos wait.")
    ] = None,
    gpus: Annotated[float, typer.Option("--gpus", min=0, help="--ray: of each replica; 0.5: two share one.")] = 0.0,
    stop: Annotated[bool, typer.Option("--stop", help="--ray: end it there.")] = False,
) -> None:
    """Photos in, characters out: the **HTTP API** and the **page** for players, until Ctrl-C or SIGTERM.

    The model in production answers; when the alias moves, the next one is loaded beside it and takes over, and no
    request is lost. On this machine's own address nobody needs a key; on any other, `likeness key add NAME` comes
    first.
    Limits are LIKENESS_SERVE_* variables: `serving/configuration.py`.

        curl -F photo=@me.jpg http://127.0.0.1:8000/v1/characters

    A new version is tried before it is promoted: `likeness serve --shadow candidate`, then `--canary 5`.

    On several machines and GPUs: `likeness serve --ray http://HEAD:8265 --replicas 4 --gpus 1 --host 0.0.0.0`.
    """
    options = {"keys": keys, "shadow": shadow or None, "canary": canary}
    given = {name: value for name, value in options.items() if value is not None}
    if ray:
        config = {"alias": model, "host": host, "replicas": replicas, "most_replicas": most_replicas, "gpus": gpus}
        on_cluster(ray, config, port, character, given, stop)
        return
    import uvicorn

    from orchestration.apps.service import build_application, require_free

    settings, service = get_settings(character=character), ServiceSettings(**given)
    require_free(host, port)
    application = build_application(settings, service, model, host)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    shown = f"[{host}]" if ":" in host else host
    print_note(
        marked(
            "bold",
            f"http://{shown}:{port}",
            " the page; API: /v1/schema, /openapi.json; /healthz, /readyz, /metrics",
        )
    )
    collect_as_usual()
    uvicorn.run(
        application,
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=round(service.grace),
    )


def on_cluster(
    address: str, config: dict[str, Any], port: int, character: str, given: Mapping[str, Any], stop: bool
) -> None:
    """Start, change or end the service on a Ray cluster. `given`: settings of the service that options name."""
    from orchestration.apps import replicas
    from serving import ray_serve

    if stop:
        ray_serve.stop(address)
        return
    settings = get_settings(character=character)
    os.environ["LIKENESS_CHARACTER"] = settings.character
    os.environ.update({f"LIKENESS_SERVE_{name.upper()}": str(value) for name, value in given.items()})
    try:
        wanted = replicas.ReplicaConfig(**config)
    except ValidationError as error:
        exit_with_error("; ".join(wrong["msg"] for wrong in error.errors()))
        return
    url = replicas.deploy(address, wanted, port, print_note)
    screen.print(f"{url}  until `likeness serve --ray {address} --stop`", soft_wrap=True)


def _keys() -> Keys:
    from orchestration.apps.service import project_keys

    return project_keys(ServiceSettings(), Settings())


@key_app.command("add")
@one_line_errors
def add_key(
    name: Name,
    expires: Annotated[
        str, typer.Option("--expires", metavar="WHEN", help="A day, 2027-06-30, or days from now, 90d.")
    ] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help=f"What it is for, once for each: {', '.join(SCOPES)}.", show_default="everything"),
    ] = None,
    per_minute: Annotated[int | None, typer.Option("--per-minute", min=1, help="Requests that it may send.")] = None,
    photos_per_day: Annotated[
        int | None, typer.Option("--photos-per-day", min=1, help="Photos that it may have read, by UTC.")
    ] = None,
) -> None:
    """Make a key and print it, **once**: only its digest is kept. It counts at once, also for a running service.

    likeness key add game-server --photos-per-day 5000
    likeness key add support-desk --scope players --expires 90d
    """
    try:
        scopes = scopes_of(scope or ())
    except ValueError as error:
        raise KeyProblem(str(error)) from error
    print(_keys().add(name, _moment(expires) if expires else None, scopes, per_minute, photos_per_day))


@key_app.command("rotate")
@one_line_errors
def rotate_key(
    name: Name,
    keep_old: Annotated[
        str, typer.Option("--keep-old", metavar="DAYS", help="So long the one before goes on to be good: 0d, 7d.")
    ] = "1d",
) -> None:
    """Make **another key for the same owner** and print it: characters, scopes and limits stay, and the key before goes
    on to be good for a day, so that no request is refused while the game takes the new one."""
    print(_keys().rotate(name, _days(keep_old)))


@key_app.command("remove")
@one_line_errors
def remove_key(name: Name) -> None:
    """Take a key away; a running service refuses it, and the tokens that it made, at once."""
    _keys().remove(name)


@key_app.command("list")
@one_line_errors
def list_keys(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Whose keys there are, what each is for, and when it was used last."""
    from orchestration.apps.service import usage_folders

    keys = _keys()
    uses = used(usage_folders(ServiceSettings(), Settings()))
    rows = [_listed(key, *uses.get(key.name, (KeyUse(), None))) for key in (keys.all() if keys.path.exists() else ())]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        told = [f"{name.replace('_', ' ')} {value}" for name, value in row.items() if value and name != "name"]
        screen.print(", ".join([row["name"], *told]), soft_wrap=True, highlight=False)


def _listed(key: Key, today: KeyUse, last: datetime | None) -> dict[str, Any]:
    return {
        "name": key.name,
        "created": key.created and str(key.created),
        "expires": key.expires and key.expires.isoformat(),
        "for": list(key.scopes),
        "requests_per_minute": key.per_minute,
        "photos_per_day": key.photos_per_day,
        "photos_today": today.photos,
        "requests_today": today.requests,
        "last_use": last and last.isoformat(),
    }


def _moment(text: str) -> datetime:
    """The end of a day, or so many days from now. Raises KeyProblem."""
    now = datetime.now(UTC).replace(microsecond=0)
    if text.endswith("d"):
        return now + _days(text)
    try:
        ends = datetime.combine(date.fromisoformat(text) + timedelta(days=1), datetime.min.time(), UTC)
    except ValueError as error:
        raise KeyProblem(f"{text!r} is no day: write 2027-06-30, or 90d for days from now") from error
    if ends <= now:
        raise KeyProblem(f"{text} is over: a key that expires then would never be good")
    return ends


def _days(text: str) -> timedelta:
    """Raises KeyProblem."""
    if not text.removesuffix("d").isdigit() or len(text) > 6:
        raise KeyProblem(f"{text!r} is no number of days: write 7d")
    return timedelta(days=int(text.removesuffix("d")))
