"""Profiles are strict, and every value of a configuration is part of an asset's code version."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from orchestration.config.catalog import Stage
from orchestration.config.profiles import ProfileError, code_version, flatten, profile_names, resolve
from tests.orchestration.conftest import stage


@pytest.fixture
def stages() -> tuple[Stage, ...]:
    return (stage("faces", ()), stage("encoder", ()))


def profile(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_a_profile_holds_only_what_differs(tmp_path: Path, stages: tuple[Stage, ...]) -> None:
    configs = resolve(profile(tmp_path, "encoder:\n  text: b\nfaces:\n"), stages)
    assert {name: config.model_dump() for name, config in configs.items()} == {
        "faces": {"text": "a"},
        "encoder": {"text": "b"},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("encodr: {text: b}", "no stage is called encodr; stages: faces, encoder"),
        ("encoder: {txt: b}", "stage encoder: txt: Extra inputs are not permitted"),
        ("encoder: {text: [1]}", "stage encoder: text: Input should be a valid string"),
        ("- encoder", "expected `stage: {key: value}` entries"),
    ],
)
def test_what_is_unknown_or_wrong_is_named(tmp_path: Path, stages: tuple[Stage, ...], text: str, message: str) -> None:
    with pytest.raises(ProfileError) as error:
        resolve(profile(tmp_path, text), stages)
    assert message in str(error.value)


def test_an_unknown_profile_lists_those_that_exist(stages: tuple[Stage, ...]) -> None:
    with pytest.raises(ProfileError, match="there are: paper, quickstart, smoke"):
        resolve("quick", stages)
    assert profile_names() == ["paper", "quickstart", "smoke"]


def test_code_version_follows_the_stage_version_and_every_value(stages: tuple[Stage, ...]) -> None:
    faces = stages[0]
    config: type[BaseModel] = faces.code.Config
    version = code_version(faces, config(text="a"))
    assert version == code_version(faces, config(text="a"))
    assert version != code_version(faces, config(text="b"))
    faces.module.VERSION = "2"
    assert version != code_version(faces, config(text="a"))


def test_flatten_joins_names_with_dots() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}
