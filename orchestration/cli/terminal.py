"""What the commands share: options, consoles, progress, and errors as one line."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.text import Text

from engine.errors import LikenessError
from orchestration.config.extras import missing_extra
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.storage import postgres
from serving.configuration import ServiceSettings

# Without markup: names of files and what people write may look like it.
screen = Console(markup=False)
# Lines of any length: the terminal breaks them, and a log has them whole.
FOR_LINES: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
_stderr_consoles = [Console(stderr=True, **FOR_LINES)]

Character = Annotated[str, typer.Option("--character", help="A folder of characters/.", show_default="embedded")]
Profile = Annotated[
    str,
    typer.Option("--profile", help="smoke, quickstart, paper, or a path to a .yaml file.", show_default="quickstart"),
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Take another profile than the project was made with, without a question.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")]


def one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """An expected error is one line and exit status 1; any other shows its traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # names of files, and what people write, may have any letters
                stream.reconfigure(errors="backslashreplace")
        try:
            if another := project_of_a_copied_program():
                exit_with_error(
                    f"this is the program of {REPOSITORY}, in an environment that was copied to {another}: "
                    "rm -rf .venv there and make setup; or set LIKENESS_ROOT to the project that you mean"
                )
            command(*args, **kwargs)
        except KeyboardInterrupt:
            exit_with_error("interrupted: the same command goes on from the last finished asset or checkpoint", 130)
        except typer.Exit:
            raise
        except Exception as error:
            if message := missing_extra(error):
                exit_with_error(message)
            if isinstance(error, LikenessError):
                exit_with_error(str(error))
            if isinstance(error, OSError) and error.filename is not None:
                exit_with_error(f"{error.filename}: {error.strerror}")
            if message := wrong_setting(error) or postgres.lost(error):
                exit_with_error(message)
            raise

    return wrapped


def project_of_a_copied_program() -> Path | None:
    """The project that this program was called in, where it is another's: the environment of a copied folder goes on
    running the code of the original, on the original's data.
    """
    called = Path(sys.argv[0]).absolute()
    if called.name != "likeness" or {"LIKENESS_ROOT", "PYTHONPATH"} & os.environ.keys():
        return None
    project = called.parent.parent.parent
    is_another = (project / "orchestration" / "definitions.py").is_file() and not project.samefile(REPOSITORY)
    return project if is_another else None


def wrong_setting(error: Exception) -> str:
    """Which LIKENESS_* variables have values that they cannot have, "" for any other error."""
    if isinstance(error, SettingsError):
        return f"{error}: it takes JSON"
    prefixes = {kind.__name__: str(kind.model_config.get("env_prefix")) for kind in (Settings, ServiceSettings)}
    if not isinstance(error, ValidationError) or error.title not in prefixes:
        return ""
    prefix = prefixes[error.title]
    return "; ".join(f"{prefix}{str(wrong['loc'][0]).upper()}: {wrong['msg']}" for wrong in error.errors())


def wide_screen(columns: int) -> Console:
    """The screen, or one of so many columns where it has fewer (a log, a narrow window): figures are never cut off."""
    return screen if screen.width >= columns else Console(width=columns, markup=False)


def stderr_console() -> Console:
    """Where errors, warnings and progress go: stderr, also while what libraries write there goes into a file."""
    return _stderr_consoles[-1]


def marked(style: str, words: str, rest: object = "") -> Text:
    """Words in a style, and what follows them as it is."""
    return Text.assemble((words, style), *([f" {rest}"] if rest != "" else []))


def print_note(line: object) -> None:
    """Print a line on stderr: what is said beside the answer."""
    stderr_console().print(line)


def print_warning(message: object) -> None:
    """Print that something is not as it should be."""
    print_note(marked("yellow", "warning:", message))


def print_error(message: object) -> None:
    """Print that something went wrong; the command goes on."""
    print_note(marked("bold red", "error:", message))


def exit_with_error(message: str, status: int = 1) -> None:
    """Print the error in one line on stderr and end the command. Raises typer.Exit."""
    print_error(message)
    raise typer.Exit(status)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def get_settings(profile: str = "", character: str = "", or_registered: bool = False) -> Settings:
    """The settings with these options; the character has a folder, or with `or_registered` at least versions."""
    given: dict[str, Any] = {"profile": profile, "character": character}
    settings = Settings(**{name: value for name, value in given.items() if value})
    names, name = settings.character_names(), settings.character
    if name not in names:
        versions = registered_versions(settings)
        if not versions:
            exit_with_error(
                f"there is no character {name}; in {settings.characters} there are: {', '.join(names) or 'none'}"
            )
        if not or_registered:
            exit_with_error(
                f"the folder {settings.characters / name} is gone, but versions {', '.join(versions)} of it are "
                f"registered: `likeness restore {name}/{versions[-1]} --out DIR` brings it back, as DIR/character"
            )
    return settings


def registered_versions(settings: Settings) -> list[str]:
    """The numbers of the character's registered versions, oldest first."""
    from orchestration.registry.aliases import AliasStore
    from orchestration.registry.promotion_events import RegistryError

    try:
        return sorted(AliasStore.of(settings, settings.character).state().tags, key=int)
    except RegistryError as error:
        exit_with_error(str(error))
        return []


def confirm_profile(settings: Settings, instance: Any, command: str, yes: bool) -> None:
    """Ask before a project is made with another profile than until now. Raises LikenessError when nobody can answer,
    or the answer is no.
    """
    from orchestration.pipeline.production_encoder import PIPELINE
    from orchestration.storage import accepted_profile

    if not (known := accepted_profile.before(settings, instance, PIPELINE)):
        return
    question = accepted_profile.question(settings, known, PIPELINE)
    asked = sys.stdin.isatty() and stderr_console().is_terminal
    if not yes and not (asked and typer.confirm(f"{question}. Go on?", err=True)):
        raise LikenessError(f"{question}: {accepted_profile.remedy(settings, known, command)}")
    accepted_profile.accept(settings, instance)


def who_acts(settings: Settings, act: str) -> str:
    """Who promotes, rolls back or forgets: where the project knows its people the one whose key is given, by
    LIKENESS_PERSON_KEY or at the terminal; else whoever the environment names. Raises NotAllowed.
    """
    from orchestration.registry.aliases import user
    from orchestration.registry.people import VARIABLE, People

    people = People.of(settings.home)
    if not people:
        return user()
    key = os.environ.get(VARIABLE, "")
    if not key and sys.stdin.isatty():
        key = typer.prompt("your key (`likeness person add` showed it)", hide_input=True, err=True)
    return people.require(key, act)


def get_registry(settings: Settings) -> Any:
    """The registered models of the settings' character."""
    from orchestration.registry.registered_models import Registry
    from orchestration.storage.tracking import Tracking

    return Registry(Tracking.of(settings), settings.character)


@contextmanager
def libraries_into_log(settings: Settings) -> Iterator[Path]:
    """What native libraries and MLflow write to stderr goes to a file: it would tear the progress line apart.

    Our own notes keep going to the terminal.
    """
    log = settings.home / "libraries.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    terminal = os.dup(2)
    with log.open("w") as file, os.fdopen(terminal, "w") as ours:
        _stderr_consoles.append(Console(file=ours, **FOR_LINES) if _is_descriptor_2(sys.stderr) else stderr_console())
        os.dup2(file.fileno(), 2)
        try:
            yield log
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            _stderr_consoles.pop()


def _is_descriptor_2(stream: TextIO) -> bool:
    """Whether it writes to file descriptor 2 in the end. Libraries wrap sys.stderr when they are imported (colorama
    does where it is no terminal); who replaced it by something else, as a test does, reads our notes there.
    """
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):
        return False


@contextmanager
def progress_bar() -> Iterator[Any]:
    """A live line on a terminal, plain lines elsewhere; always on stderr."""
    from orchestration.config.progress import LiveProgress, Progress

    console = stderr_console()
    progress = LiveProgress(console) if console.is_terminal else Progress(print_note)
    with progress if isinstance(progress, LiveProgress) else nullcontext(progress) as shown:
        yield shown
