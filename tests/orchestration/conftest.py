"""A project in a temporary folder with its own DVC, Dagster and MLflow, and stages that take no time."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from pydantic import BaseModel

from orchestration.config.catalog import Stage
from orchestration.config.progress import Progress
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.pipeline import runner
from orchestration.storage.instance import open_instance
from orchestration.storage.tracking import Tracking
from tests.orchestration.faces import PeopleProject, opened_copy

ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("likeness"), "likeness"), "look")
"""What a run has that Dagster's daemon or its pages launched."""


def make_project(root: Path, *characters: str) -> Settings:
    """An empty project: sources with one small file each."""
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    for source in ("data/embedded", "data/photos/someone", *(f"characters/{name}" for name in characters)):
        (root / source).mkdir(parents=True)
        (root / source / "content.txt").write_text(source)
    for name in characters:
        schema = f"name: {name}\nlabel: {name}\nsliders: [{{name: a, part: p, label: a}}]\n"
        (root / "characters" / name / "schema.yaml").write_text(schema)
    # The profiles of the repository name the real stages.
    (root / "profile.yaml").write_text("{}\n")
    return Settings(root=root, device="cpu", profile=str(root / "profile.yaml"))


class Concatenate:
    """A stage that writes its configuration and its inputs' texts into one file, and counts its runs."""

    VERSION = "1"

    class Config(BaseModel, frozen=True, extra="forbid"):
        text: str = "a"

    def __init__(self, name: str, inputs: Sequence[str]) -> None:
        self.name, self.INPUTS = name, tuple(inputs)
        self.runs = 0
        self.act: Callable[[Path, Any], None] = lambda out, context: None

    def run(self, inputs: Mapping[str, Path], config: Any, out: Path, context: Any) -> dict[str, float]:
        self.runs += 1
        self.act(out, context)
        texts = [path.read_text() for folder in inputs.values() for path in sorted(folder.rglob("*.txt"))]
        (out / "content.txt").write_text("+".join([config.text, *texts]))
        context.progress("write", 1, 1, loss=0.5)
        context.log({"loss": 0.5}, 1)
        return {"length": float(len(texts))}


def stage(name: str, inputs: Sequence[str], by_character: bool = False, **options: Any) -> Stage:
    module = Concatenate(name, inputs)
    return Stage(name, "data", ("dvc",), name, by_character=by_character, module=module, **options)


@pytest.fixture(scope="session")
def empty_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder whose databases have their tables: making them takes seconds, copying them does not."""
    settings = Settings(root=tmp_path_factory.mktemp("stores"))
    with open_instance(settings):
        Tracking.of(settings).client().search_experiments()
    return settings.home


@pytest.fixture
def settings(tmp_path: Path, empty_stores: Path) -> Settings:
    settings = make_project(tmp_path, "embedded", "other")
    shutil.copytree(empty_stores, settings.home)
    return settings


@pytest.fixture(scope="session")
def gathered() -> Path:
    """The real data/embedded/, which `make test` gathers first."""
    folder = REPOSITORY / "data" / "embedded"
    if not folder.is_dir():
        pytest.fail(f"{folder} is missing: run `likeness inputs`, or `make test`, which does")
    return folder


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with open_instance(settings) as opened:
        yield opened


def make_stages() -> tuple[Stage, ...]:
    """The shape of the real graph: a branch from each source, one of them for each character."""
    return (
        stage("portraits", ("embedded", "character")),
        stage("faces", ("photos", "portraits")),
        stage("pairs", ("embedded", "character"), by_character=True),
        stage("encoder", ("faces", "pairs", "character"), by_character=True),
    )


@pytest.fixture
def stages() -> tuple[Stage, ...]:
    return make_stages()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, empty_stores: Path) -> Path:
    """A project with every asset of daemon_project.py, made once; copy it before changing it."""
    from tests.orchestration.daemon_project import STAGES

    settings = make_project(tmp_path_factory.mktemp("trained"), "embedded", "other")
    shutil.copytree(empty_stores, settings.home)
    with open_instance(settings) as instance:
        runner.run(settings, instance, STAGES, Progress(lambda line: None), "embedded")
    return settings.root


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, empty_stores: Path) -> Iterator[PeopleProject]:
    """Faces, models and version 1 in production, made once; for tests that change nothing."""
    settings = make_project(tmp_path_factory.mktemp("made"), "embedded", "other")
    shutil.copytree(empty_stores, settings.home)
    with open_instance(settings) as instance:
        project = PeopleProject(settings, instance)
        project.run()
        project.register("production")
        yield project


@pytest.fixture
def project(made: PeopleProject, tmp_path: Path) -> Iterator[PeopleProject]:
    """A copy of it for one test."""
    with opened_copy(made.settings.root, tmp_path / "project") as copy:
        yield copy
