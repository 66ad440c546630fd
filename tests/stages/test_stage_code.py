"""The guard of VERSION: what counts as a stage's code, and what is asked of whoever changes it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stages import stage_code

STAGE = '''"""A stage."""
from pydantic import BaseModel
from models import sums
from stages.words import greeting

VERSION = "1"

class Config(BaseModel):
    count: int = 1

def run(inputs, config, out, context):
    (out / "a.txt").write_text(greeting() * sums.double(config.count))
    return {}
'''
SUMS = """from .parts import TWO

def double(number):
    return TWO * number

def half(number):
    return number / 2
"""
PARTS = "TWO = 2\n"
WORDS = 'HELLO = "hello"\n\ndef greeting():\n    return HELLO\n'
CODE = {"stages_one": STAGE, "models_sums": SUMS, "models_parts": PARTS, "stages_words": WORDS}
Hash = Callable[..., str]


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hash:
    """The hash of the stage `one` in a small project, some of whose files are written anew."""
    monkeypatch.setattr(stage_code, "ROOT", tmp_path)

    def hash_with(**files: str) -> str:
        stage_code.read.cache_clear()
        for name, text in (CODE | files).items():
            path = tmp_path / f"{name.replace('_', '/', 1)}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return stage_code.now()["one"]["code"]

    return hash_with


@pytest.mark.parametrize(
    "files",
    [
        {"stages_words": WORDS.replace('"hello"', '"good day"')},
        {"models_sums": SUMS.replace("TWO * number", "number + number")},
        {"models_parts": "TWO = 3\n"},
        {"stages_one": STAGE.replace("count: int = 1", "count: int = 2")},
    ],
    ids=["a constant two modules away", "a helper", "what a helper imports from its own package", "a default"],
)
def test_a_change_of_what_a_stage_reaches_changes_its_hash(code: Hash, files: dict[str, str]) -> None:
    assert code(**files) != code()


@pytest.mark.parametrize(
    "files",
    [
        {
            "stages_words": '"""Words."""\n# What people say.\n'
            + WORDS.replace("():\n", '() -> str:\n    """A word."""\n')
        },
        {"models_sums": SUMS.replace("number / 2", "number // 2")},
        {"stages_one": STAGE.replace("int = 1", "int = Field(1, description='a')"), "stages_words": WORDS},
        {"stages_one": STAGE.replace("sums", "totals"), "models_totals": SUMS},
        {"stages_one": STAGE.replace("stages.words", "stages.text"), "stages_text": WORDS},
    ],
    ids=["comments and docstrings", "a function that it does not call", "a description", "a renamed module", "a move"],
)
def test_what_cannot_change_the_output_does_not(code: Hash, files: dict[str, str]) -> None:
    before = code() if "Field" not in str(files) else code(stages_one=STAGE.replace("int = 1", "int = Field(1)"))
    assert code(**files) == before


def test_a_change_without_a_new_version_asks_which_was_meant() -> None:
    was, has = {"one": {"version": "1", "code": "a"}}, {"one": {"version": "1", "code": "b"}}
    (text,) = stage_code.complaints(was, has)
    assert "raise VERSION in stages/one" in text and "--same-output one" in text
    assert stage_code.accepted(was, has, []) == was
    assert stage_code.accepted(was, has, ["one"]) == stage_code.accepted(was, has, ["all"]) == has


def test_a_new_version_is_recorded_with_its_code() -> None:
    was, has = {"one": {"version": "1", "code": "a"}}, {"one": {"version": "2", "code": "b"}}
    (text,) = stage_code.complaints(was, has)
    assert "VERSION is 2, recorded is 1" in text
    assert stage_code.accepted(was, has, []) == has


def test_stages_come_and_go() -> None:
    entry = {"version": "1", "code": "a"}
    assert len(stage_code.complaints({"old": entry}, {"new": entry})) == 2
    assert stage_code.accepted({"old": entry}, {"new": entry}, []) == {"new": entry}


def test_the_code_of_every_stage_is_recorded_with_its_version() -> None:
    stage_code.read.cache_clear()
    assert "\n".join(stage_code.complaints(stage_code.recorded(), stage_code.now())) == ""
