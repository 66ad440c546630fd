"""`likeness card`: what a registered version is, for people who did not train it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.terminal import (
    AsJson,
    Character,
    get_registry,
    get_settings,
    libraries_into_log,
    one_line_errors,
    print_json,
    print_note,
    screen,
)


@one_line_errors
def card(
    version: Annotated[str, typer.Argument(help="A version's number, or `production`, `candidate`, `newest`.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write it as one page, with every configuration.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Also put it into MLflow, as the registration of a version does.")
    ] = False,
    character: Character = "",
    as_json: AsJson = False,
) -> None:
    """The **model card** of a version: data with licences and md5s; weights from elsewhere, and what they were trained
    on; scores with intervals, by group and on real people; known failures; how it was made; what is not known.

    It is made from what is recorded, so versions that were registered before there were cards have one too.
    """
    from engine.files import write_whole
    from orchestration.promotion import card_pages, model_card
    from orchestration.storage.instance import open_instance
    from orchestration.storage.store import Store
    from orchestration.storage.version_index import VersionIndex

    settings = get_settings(character=character, or_registered=True)
    registry = get_registry(settings)
    with libraries_into_log(settings), open_instance(settings) as instance:
        found = model_card.describe(registry, version, Store.of(settings), VersionIndex(instance))
        if keep:
            model_card.keep(registry, version, found)
    if html:
        write_whole(html, card_pages.html(found).encode())
        print_note(html)
    if as_json:
        print_json(found)
    elif not html:
        _print(card_pages.markdown(found))


def _print(text: str) -> None:
    """Drawn on a terminal; as it is in a file or a pipe."""
    if screen.is_terminal:
        from rich.markdown import Markdown

        screen.print(Markdown(text))
    else:
        print(text, end="")
