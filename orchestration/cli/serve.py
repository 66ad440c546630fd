"""`likeness serve`, `likeness key`: the HTTP service, and who may ask it."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from orchestration.cli.terminal import (
    Character,
    fail,
    get_registry,
    get_settings,
    marked,
    notes,
    one_line_errors,
    screen,
)
from orchestration.config.settings import Settings

key_app = typer.Typer(help="Who may ask the service: **API keys**.", no_args_is_help=True, rich_markup_mode="markdown")
Name = Annotated[str, typer.Argument(help="Whose key: letters, digits, dots and dashes.")]


def add_to(app: typer.Typer) -> None:
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

    On several machines and GPUs: `likeness serve --ray http://HEAD:8265 --replicas 4 --gpus 1 --host 0.0.0.0`.
    """
    if ray:
        order = {"alias": model, "host": host, "replicas": replicas, "most_replicas": most_replicas, "gpus": gpus}
        on_cluster(ray, order, port, character, keys, stop)
        return
    import uvicorn

    from serving.app import build
    from serving.configuration import Service

    settings, service = get_settings(character=character), Service()
    require_free(host, port)
    if keys is not None:
        service = service.model_copy(update={"keys": keys})
    application = build(service, source(settings, model), place(settings), keys_for(host, service, settings))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    shown = f"[{host}]" if ":" in host else host
    notes().print(
        marked(
            "bold",
            f"http://{shown}:{port}",
            " the page; API: /v1/schema, /openapi.json; /healthz, /readyz, /metrics",
        )
    )
    uvicorn.run(
        application,
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=round(service.grace),
    )


def on_cluster(address: str, order: dict[str, Any], port: int, character: str, keys: Path | None, stop: bool) -> None:
    """Start, change or end the service on a Ray cluster."""
    from orchestration.apps import replicas
    from serving import ray_serve

    if stop:
        ray_serve.stop(address)
        return
    settings = get_settings(character=character)
    os.environ["LIKENESS_CHARACTER"] = settings.character
    if keys is not None:
        os.environ["LIKENESS_SERVE_KEYS"] = str(keys)
    try:
        wanted = replicas.ReplicaConfig(**order)
    except ValidationError as error:
        fail("; ".join(wrong["msg"] for wrong in error.errors()))
        return
    url = replicas.deploy(address, wanted, port, lambda state: notes().print(state))
    screen.print(f"{url}  until `likeness serve --ray {address} --stop`", soft_wrap=True)


def require_free(host: str, port: int) -> None:
    """Said at once, not after the engine and a model were loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the server does it: a port that was left a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            fail(f"cannot listen on {host}, port {port} ({error.strerror}): choose another, --port {port + 1}")


def source(settings: Settings, alias: str):
    """Where the service's models come from."""
    from orchestration.registry.registry_source import Released

    return Released(get_registry(settings), settings.home / "serving" / "releases", alias)


def place(settings: Settings):
    """What the service serves, and where it keeps what it made."""
    from serving.dependencies import Place

    folder = settings.characters / settings.character
    return Place(folder, settings.data / "embedded", settings.home / "serving" / settings.character)


def keys_for(host: str, service, settings: Settings):
    """The keys that are asked for: those of the file that is named, or on a public address the project's own."""
    from serving.keys import Keys

    named = service.keys
    if named is None and is_this_machine(host):
        return None
    found = Keys(named or default_keys(settings))
    if not found.path.exists() or not found.digests():
        fail(f"{host} is open to other machines, and there is no API key in {found.path}: `likeness key add NAME`")
    return found


def is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def default_keys(settings: Settings) -> Path:
    return settings.home / "serving" / "keys"


def _keys():
    from serving.configuration import Service
    from serving.keys import Keys

    return Keys(Service().keys or default_keys(Settings()))


@key_app.command("add")
@one_line_errors
def add_key(name: Name) -> None:
    """Make a key and print it, **once**: only its digest is kept. It counts at once, also for a running service."""
    print(_keys().add(name))


@key_app.command("remove")
@one_line_errors
def remove_key(name: Name) -> None:
    """Take a key away; a running service refuses it at once."""
    _keys().remove(name)


@key_app.command("list")
@one_line_errors
def list_keys() -> None:
    """Whose keys there are."""
    keys = _keys()
    for name in keys.digests() if keys.path.exists() else ():
        screen.print(name)
