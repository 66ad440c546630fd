"""`likeness doctor`, `push`, `dagster`, `start`: keeping the platform running."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestration.cli.terminal import (
    AsJson,
    Profile,
    Yes,
    confirm_profile,
    get_settings,
    marked,
    one_line_errors,
    print_json,
    print_note,
    print_warning,
    progress_bar,
    screen,
)
from orchestration.config.extras import require
from orchestration.config.settings import REPOSITORY, Settings

if TYPE_CHECKING:
    from orchestration.storage.store import Store

MARKS = {"ok": ("green", "ok     "), "warning": ("yellow", "warning"), "error": ("red", "error  ")}


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)
    app.command()(push)
    app.command()(profile)
    app.command()(start)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(dagster)


@one_line_errors
def doctor(
    profile: Profile = "",
    load: Annotated[
        bool, typer.Option("--load/--no-load", help="Load what is in production, which takes some seconds.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """What is installed, what runs, what is missing or stale, and what to do about it: packages, data, GPU, disk,
    permissions, locks, the DVC remote (a probe is written, read and deleted), Dagster, MLflow.

    The **model in production** is loaded in a process of its own, and its files are held against what was registered;
    the registry's aliases against the records of promotions, the audit log, Dagster's records, and data and remote.

    Exit status 1 when something keeps the pipeline from working; warnings do not.
    """
    from orchestration.doctor import examine

    diagnoses = examine(get_settings(profile), load=load)
    if as_json:
        print_json([diagnosis.summary() for diagnosis in diagnoses])
    else:
        for diagnosis in diagnoses:
            line = marked(*MARKS[diagnosis.level], f"{diagnosis.name}: {diagnosis.detail}")
            screen.print(line, soft_wrap=True, highlight=False)
            if diagnosis.remedy:
                print(f"        → {diagnosis.remedy}")
    if not all(diagnosis.is_ok for diagnosis in diagnoses):
        raise typer.Exit(1)


@one_line_errors
def push(
    check: Annotated[
        bool, typer.Option("--check", help="Read every object of both, and replace what is damaged in the remote.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy to the DVC remote what it lacks of this machine's cache: **after LIKENESS_DVC_REMOTE was changed**, or when
    it lost something.

    Runs push what they make by themselves; interrupted, the same command copies the rest. Exit status 1 when something
    could not be mended.
    """
    from orchestration.storage.dvc_config import write_local
    from orchestration.storage.store import Store
    from orchestration.storage.store_errors import MEND

    settings = get_settings()
    store = Store.of(settings)
    write_local(settings)
    with progress_bar() as progress:
        progress.stage(f"push to {store.remote}")
        unpinned = _unpinned(settings, store)
        pushed = store.push(check, progress.step)
    if as_json:
        print_json({"remote": store.remote, "objects": pushed.copied, "replaced": pushed.replaced, "lost": pushed.lost})
    else:
        replaced = f", {pushed.replaced} damaged ones replaced" if pushed.replaced or check else ""
        print(f"{store.remote}: {pushed.copied} objects copied{replaced}")
        for md5, why in pushed.lost.items():
            print_note(marked("bold red", "not mended:", f"{md5}: {why}"))
        if pushed.lost:
            print_note(f"{len(pushed.lost)} objects: {MEND}")
    if unpinned:
        print_note(unpinned)
    if pushed.lost:
        raise typer.Exit(1)


def _unpinned(settings: Settings, store: Store) -> str:
    """Keep data/ as a whole where it is what data.dvc pins, which `dvc pull` asks for; else say that it is not."""
    from orchestration.storage.staged_output import pointed_md5

    pinned = pointed_md5(settings.data)
    if not pinned or not settings.data.is_dir():
        return ""
    if store.md5(settings.data) != pinned:
        return "data/ is not what data.dvc pins: `dvc add data` pins it as it is; then push again and commit data.dvc"
    store.put(settings.data)
    return ""


@one_line_errors
def profile(
    name: Annotated[str, typer.Argument(help="The profile to make the project with from now on.")] = "",
    yes: Yes = False,
) -> None:
    """The profile that the project is made with. With NAME it changes, and Dagster's daemon may retrain under it: where
    no `likeness run` or `likeness start` asks, as on a cluster.
    """
    from orchestration.pipeline.production_encoder import PIPELINE
    from orchestration.storage import accepted_profile
    from orchestration.storage.instance import open_instance

    settings = get_settings(name)
    with open_instance(settings) as instance:
        if name:
            confirm_profile(settings, instance, "likeness run", yes)
            accepted_profile.accept(settings, instance)
        known = accepted_profile.before(settings, instance, PIPELINE)
    print(known or accepted_profile.name_of(settings))


@one_line_errors
def dagster(context: typer.Context) -> None:
    """Open Dagster's pages on the graph and its runs; options go to `dagster dev` (`--port 3001`)."""
    from orchestration.pipeline.production_encoder import PIPELINE
    from orchestration.storage import accepted_profile
    from orchestration.storage.instance import open_instance

    require("dagster_webserver")
    settings = get_settings()
    with open_instance(settings) as instance:
        if known := accepted_profile.before(settings, instance, PIPELINE):
            question = accepted_profile.question(settings, known, PIPELINE)
            remedy = accepted_profile.remedy(settings, known, "likeness run")
            said = f"{question}. Nobody confirmed that, so the daemon retrains nothing: {remedy}"
            print_warning(said)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    os.chdir(REPOSITORY)
    command = [sys.executable, "-m", "dagster", "dev", "-m", "orchestration.definitions", *context.args]
    os.execv(sys.executable, command)


@one_line_errors
def start(
    profile: Profile = "",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Dagster's pages.")] = 3000,
    mlflow_port: Annotated[int, typer.Option("--mlflow-port", min=1, max=65535, help="MLflow's pages.")] = 5000,
    host: Annotated[
        str, typer.Option("--host", help="Interface to listen on; 0.0.0.0: all. Neither server asks for a password.")
    ] = "127.0.0.1",
    yes: Yes = False,
) -> None:
    """Run the platform on this machine until Ctrl-C or SIGTERM: Dagster's **code server, webserver and daemon**
    (schedules, sensors, queued runs) and **MLflow's server**, unless LIKENESS_MLFLOW_URI is another one.

    A server that dies is started again; logs are in **.likeness/logs/**. `likeness run`, `create` and all other
    commands work beside it on the same stores. Under another profile than the project was made with it would retrain
    nearly everything, so it asks first.
    """
    from orchestration.apps import services
    from orchestration.config.addresses import Addresses
    from orchestration.storage.instance import open_instance

    require("dagster_webserver")
    settings = get_settings(profile)
    with open_instance(settings) as instance:
        confirm_profile(settings, instance, "likeness start", yes)
    where = Addresses(host, port, mlflow_port)
    services.start(settings, where, print_note)
