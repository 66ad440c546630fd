"""`likeness character init` and `check`, and characters side by side."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from engine.character import Character
from orchestration.cli import main
from orchestration.config.catalog import STAGES
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.pipeline.definitions import build
from tests.marble import changed_table


def likeness(*arguments: object) -> Result:
    return CliRunner().invoke(main.app, [str(argument) for argument in arguments])


def fill(folder: Path, marble: Path, count: int = 24) -> None:
    """Give a template pairs: random parameters of its schema, and faces for pictures."""
    schema = Character.load(folder).schema
    rng = np.random.default_rng(0)
    sliders = rng.random((count, schema.n_sliders))
    choices = np.stack([rng.integers(size, size=count) for size in schema.group_sizes], axis=1)
    pictures = sorted((marble / "pairs" / "pictures").iterdir())[:count]
    rows = [{"picture": p.name, **row} for p, row in zip(pictures, schema.to_engine(sliders, choices), strict=True)]
    pd.DataFrame(rows).to_csv(folder / "pairs.csv", index=False)
    (folder / "pictures").mkdir()
    for picture in pictures:
        shutil.copy(picture, folder / "pictures")


@pytest.mark.slow
def test_a_filled_template_passes_the_check(marble_character: Path, tmp_path: Path) -> None:
    folder = tmp_path / "orc"
    assert likeness("character", "init", folder).exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "schema.yaml"]
    text = (folder / "schema.yaml").read_text()
    assert "NAME" not in text and text.count("#") > 20
    fill(folder, marble_character)
    done = likeness("character", "check", folder, "--sheet", tmp_path / "sheet.png", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["ok"] and report["usable"] == 24 and report["sliders"] == 4
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None
    assert (folder / "schema.yaml").read_text().startswith(text.rstrip().removesuffix("\n")), "comments are kept"


def test_a_check_that_finds_something_lists_it_and_exits_with_1(marble_character: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(marble_character, tmp_path / "marble"))
    changed_table(folder, 4, Years=19)
    changed_table(folder, 6, Stone="jade")
    done = likeness("character", "check", folder, "--sheet", tmp_path / "sheet.png")
    assert done.exit_code == 1
    assert "row 5 (00004): Years is 19: outside its range 20 to 90 years" in done.output
    assert "row 7 (00006): Stone is 'jade'" in done.output
    assert "ready" not in done.output


def test_an_empty_template_says_what_is_missing(tmp_path: Path) -> None:
    likeness("character", "init", tmp_path / "orc")
    done = likeness("character", "check", tmp_path / "orc", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["errors"][0].endswith("export the pairs there, or name another table under `pairs`")


def test_a_copy_of_the_embedded_character_has_its_own_name(
    tmp_path: Path, gathered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert likeness("character", "init", tmp_path / "elf", "--from", "embedded").exit_code == 0
    copy, original = Character.load(tmp_path / "elf"), Character.load(REPOSITORY / "characters" / "embedded")
    assert copy.schema.name == "elf" and copy.is_embedded
    assert copy.schema.sliders == original.schema.sliders


@pytest.mark.parametrize(
    ("name", "message"), [("Orc", "cannot be called 'Orc'"), ("full", "is not empty: name a new folder")]
)
def test_init_never_writes_over_anything(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    done = likeness("character", "init", tmp_path / name)
    assert done.exit_code == 1 and message in done.output
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_both_characters_are_partitions_of_every_asset_that_is_made_for_one(
    marble_character: Path, tmp_path: Path
) -> None:
    for name, folder in (("embedded", REPOSITORY / "characters" / "embedded"), ("marble", marble_character)):
        (tmp_path / "characters").mkdir(exist_ok=True)
        (tmp_path / "characters" / name).symlink_to(folder)
    graph = build(Settings(root=tmp_path, profile="smoke")).resolve_asset_graph()
    partitions = {
        node.key.to_user_string(): node.partitions_def.get_partition_keys() if node.partitions_def else None
        for node in graph.asset_nodes
    }
    own = {stage.name for stage in STAGES if stage.by_character} | {
        "production_encoder",
        "characters",
        "served_photos",
        "corrections",
    }
    assert {name for name, keys in partitions.items() if keys == ["embedded", "marble"]} == own
    assert partitions["portraits"] is None and partitions["aligned_faces"] is None


def test_a_run_without_its_pairs_stops_before_anything_is_trained(
    marble_character: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(marble_character, tmp_path / "characters" / "marble"))
    shutil.rmtree(folder / "pairs")
    monkeypatch.setenv("LIKENESS_ROOT", str(tmp_path))
    done = likeness("run", "--character", "marble")
    assert done.exit_code == 1 and "pairs.csv: export the pairs there" in done.output.replace("\n", "")
    assert not (tmp_path / ".likeness").exists()
