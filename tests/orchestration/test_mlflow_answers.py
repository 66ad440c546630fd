"""What MLflow said is known without importing it, and never after anybody wrote to its database."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestration.config.settings import COMPUTED, REPOSITORY, Settings
from orchestration.registry.registered_models import Registry
from orchestration.storage import mlflow_answers
from orchestration.storage.mlflow_answers import ask
from orchestration.storage.tracking import Tracking

NAME = "likeness-embedded"


class Asked:
    """A database of SQLite's, and how often it was really asked what it holds."""

    def __init__(self, folder: Path) -> None:
        self.file, self.home, self.times = folder / "mlflow.db", folder, 0
        with closing(self.connect()) as database:
            database.execute("CREATE TABLE said (word TEXT)")
            database.execute("INSERT INTO said VALUES ('a')")

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.file, isolation_level=None)

    def write(self, sql: str = "UPDATE said SET word = char(unicode(word) + 1)") -> None:
        with closing(self.connect()) as database:
            database.execute(sql)

    def read(self) -> str:
        self.times += 1
        with closing(self.connect()) as database:
            return database.execute("SELECT word FROM said").fetchone()[0]

    def __call__(self) -> str:
        return ask(f"sqlite:///{self.file}", self.home, "the word", self.read)


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


def test_a_database_that_nobody_wrote_to_is_asked_once(asked: Asked) -> None:
    assert [asked(), asked(), asked()] == ["a", "a", "a"] and asked.times == 1


def test_every_transaction_makes_it_be_asked_again_however_its_file_looks(asked: Asked) -> None:
    for word in "abcde":
        assert asked() == asked() == word
        before = asked.file.stat()
        asked.write()
        os.utime(asked.file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert asked.file.stat().st_size == before.st_size
    assert asked.times == 5


def test_an_older_copy_that_is_put_back_and_written_to_is_another_database(asked: Asked, tmp_path: Path) -> None:
    shutil.copy2(asked.file, tmp_path / "copy.db")
    asked.write()
    assert asked() == "b"
    count = asked.file.read_bytes()[24:28]
    shutil.copy2(tmp_path / "copy.db", asked.file)
    asked.write("UPDATE said SET word = 'z'")
    assert asked.file.read_bytes()[24:28] == count
    assert asked() == "z"


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE; UPDATE said SET word = 'b'", "PRAGMA journal_mode=WAL"])
def test_one_that_is_written_to_and_one_with_a_log_are_asked_each_time(asked: Asked, begin: str) -> None:
    asked()
    with closing(asked.connect()) as database:
        database.executescript(begin)
        assert [asked(), asked()] == ["a", "a"] and asked.times == 3


def test_what_is_written_while_it_is_asked_is_not_kept(asked: Asked) -> None:
    first = asked.read

    def read() -> str:
        word = first()
        asked.write()
        return word

    assert ask(f"sqlite:///{asked.file}", asked.home, "the word", read) == "a"
    assert asked() == "b"


def test_other_questions_other_databases_and_other_workspaces_have_answers_of_their_own(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked()
    uri = f"sqlite:///{asked.file}"
    for _ in range(2):
        assert ask(uri, tmp_path, "another", lambda: ["b", None]) == ["b", None]
    assert asked() == "a" and asked.times == 1
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team")
    assert ask(uri, tmp_path, "the word", lambda: "theirs") == "theirs"
    monkeypatch.delenv("MLFLOW_WORKSPACE")
    shutil.copy2(asked.file, tmp_path / "copy.db")
    assert ask(f"sqlite:///{tmp_path / 'copy.db'}", tmp_path, "the word", lambda: "of the copy") == "of the copy"
    assert ask("http://127.0.0.1:1", tmp_path, "the word", lambda: "of a server") == "of a server"


def test_a_damaged_file_of_answers_costs_a_question(asked: Asked, tmp_path: Path) -> None:
    asked()
    for content in ("", "{", "[]", '{"answers": []}'):
        (tmp_path / COMPUTED / mlflow_answers.FILE).write_text(content)
        assert asked() == "a"
    assert asked.times == 5


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    found = Registry(Tracking.of(settings), "embedded")
    found.client.create_registered_model(NAME)
    yield found


def register(registry: Registry, **tags: str) -> str:
    with registry.tracking.run("more", {}) as run:
        run.document({"recovery": {"visible": {"value": 0.5}}}, "scorecard.json")
    version = registry.client.create_model_version(NAME, f"runs:/{run.run_id}/encoder", run_id=run.run_id, tags=tags)
    return str(version.version)


@pytest.mark.slow
def test_what_the_registry_says_follows_everything_that_is_done_to_it(registry: Registry) -> None:
    client = MlflowClient(registry.tracking.uri, registry.tracking.uri)
    assert registry.versions() == [] and registry.number_of("abc") == ""
    first = register(registry, md5="abc")
    assert [entry["version"] for entry in registry.versions()] == [1] and registry.number_of("abc") == first
    assert registry.figures(first) == {"recovery.visible": 0.5}
    client.set_registered_model_alias(NAME, "production", first)
    assert registry.aliases() == {"production": first} and registry.versions()[0]["aliases"] == ["production"]
    second = register(registry, md5="abc")
    assert registry.number_of("abc") == second and len(registry.versions()) == 2
    client.set_registered_model_alias(NAME, "production", second)
    assert registry.aliases() == {"production": second}
    client.set_model_version_tag(NAME, second, "md5", "def")
    assert registry.number_of("abc") == first and registry.versions()[0]["tags"]["md5"] == "def"
    run = registry.versions()[0]["run"]
    assert registry.scorecard(second)["recovery"]
    folder = Path(str(client.get_run(run).info.artifact_uri).removeprefix("file://"))
    (folder / "scorecard.json").write_text(json.dumps({"recovery": {}}))
    assert registry.scorecard(second) == {"recovery": {}}, "files are read, whatever the database says"
    (folder / "scorecard.json").unlink()
    assert registry.figures(second) == {}
    client.delete_model_version(NAME, first)
    assert registry.number_of("abc") == ""


@pytest.mark.slow
def test_commands_about_models_do_not_import_mlflow_again_until_somebody_writes(
    registry: Registry, settings: Settings
) -> None:
    number = register(registry, md5="abc")
    registry.client.set_registered_model_alias(NAME, "production", number)

    def models() -> tuple[bool, list]:
        code = (
            "import sys; from orchestration.cli import app\n"
            "try: app(['models', '--json'])\n"
            "finally: print('mlflow' in sys.modules, file=sys.stderr)"
        )
        environment = {**os.environ, "LIKENESS_ROOT": str(settings.root)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr.strip().endswith("True"), json.loads(done.stdout)

    imported, said = models()
    assert models() == (False, said) and said[0]["aliases"] == ["production"]
    assert said[0]["figures"] == {"recovery.visible": 0.5}
    registry.client.delete_registered_model_alias(NAME, "production")
    again, now = models()
    assert imported and again and now[0]["aliases"] == []
