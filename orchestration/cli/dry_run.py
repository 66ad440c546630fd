"""`likeness run --dry-run` on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestration.cli.terminal import print_json, print_note, progress_bar, screen, wide_screen
from orchestration.config.progress import duration

if TYPE_CHECKING:
    import dagster as dg

    from orchestration.config.settings import Settings
    from orchestration.pipeline.plan import Plan

FOR_LINES: dict[str, Any] = {"highlight": False, "soft_wrap": True}
COLOURS = {"make": "yellow", "depends": "yellow", "stop": "red"}


def show(settings: Settings, only: str | None, force: bool, as_json: bool) -> None:
    """Print what `likeness run` would do with the same options. Raises LikenessError, ProfileError, RegistryError."""
    from orchestration.pipeline.plan import plan
    from orchestration.pipeline.production_encoder import PIPELINE
    from orchestration.storage import accepted_profile

    with _instance(settings) as instance, progress_bar() as progress:
        progress.stage("what would be made")
        found = plan(settings, instance, PIPELINE, settings.character, only, force)
        before = accepted_profile.before(settings, instance, PIPELINE)
    if as_json:
        print_json(
            {**found.document(), "profile": {"now": accepted_profile.name_of(settings), "until_now": before or None}}
        )
        return
    if before:
        print_note(f"{accepted_profile.question(settings, before, PIPELINE)}; the run itself would ask")
    _print(found)


@contextmanager
def _instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's records; of a project that has none yet, none are begun."""
    import dagster as dg

    from orchestration.storage.instance import open_instance

    is_new = not settings.database and not (settings.dagster_home / "dagster.yaml").is_file()
    with dg.DagsterInstance.ephemeral() if is_new else open_instance(settings) as instance:
        yield instance


def _print(found: Plan) -> None:
    from rich.table import Table

    from orchestration.pipeline.plan import DEPENDS, MAKE

    for source in found.sources:
        if source.changed:
            screen.print(f"{source.name}: {source.why}", **FOR_LINES)
    shown = Table()
    for column in ("asset", "would", "why", "cost last time"):
        shown.add_column(column)
    for step in found.steps:
        clock = f"{duration(step.seconds)} by the clock" if step.seconds else "not measured"
        cost = str(step.cost or clock) if step.action in (MAKE, DEPENDS) else ""
        shown.add_row(step.asset, step.action, step.why, cost, style=COLOURS.get(step.action, ""))
    wide_screen(140).print(shown)
    least, most = found.cost(MAKE), found.cost(MAKE, DEPENDS)
    if most.seconds:
        screen.print(f"expected at least {least}" if least.seconds else "expected at least nothing", **FOR_LINES)
        screen.print(f"expected at most {most}", **FOR_LINES)
    if unknown := found.not_measured():
        screen.print(f"nobody measured what these cost the last time: {', '.join(unknown)}", **FOR_LINES)
    screen.print("nothing was made")
