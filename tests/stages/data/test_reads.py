"""What a stage says that it reads: nothing else changes its result, and all of that changes its key."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from models.identity_imitator import IdentityImitator
from models.imitator import Imitator
from models.parsing import FaceParser
from models.weights import save_model
from stages import encoder, identity_imitator, identity_model, imitator, parsing_model, portraits, rendered_pairs
from stages.context import Context
from stages.data import tables
from stages.data.reads import Appearance, Files, ParameterSpace, Rows
from stages.training import Optimiser, Training, encoder_config
from tests.models.support import recogniser
from tests.stages import small_tables

Row = dict[str, Any]
TRAINING = Training(steps=2, batch=2, evaluate_every=1, optimiser=Optimiser(kind="sgd", rate=0.01))


def rewrite(path: Path, change: Callable[[list[Row]], list[Row]]) -> None:
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), table.schema), path)


def scored_people(rows: list[Row]) -> list[Row]:
    """A photo that only scores at the beginning, one at the end, and another one among those that are there."""
    test = next(row for row in rows if row["split"] == "test")
    first, last = (test | {"id": name, "person": name, "image": rows[0]["image"]} for name in ("a/first", "z/last"))
    return [first, *(row | {"sharpness": 3.0, "pitch": 1.0} for row in rows), last]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every input of the stages that train, small."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("reads")
    found = {
        "embedded": small_tables.embedded(root / "embedded"),
        "aligned_faces": small_tables.faces(root / "faces"),
        "rendered_pairs": small_tables.pairs(root / "pairs"),
        "character": Path(shutil.copytree(small_tables.CHARACTER, root / "embedded_character" / "embedded")),
    }
    width = small_tables.Schema.load(small_tables.CHARACTER).width
    recognised = {"n_parameters": width, "dim": 1024, "hidden": 16}
    networks: dict[str, tuple[torch.nn.Module, Mapping[str, Any]]] = {
        "identity_model": (recogniser(), {"model": "faceres"}),
        "parsing_model": (
            FaceParser(18, 0.125, True, 2),
            {"depth": 18, "width": 0.125, "dilate": True, "stages": 2, "size": 64},
        ),
        "imitator": (Imitator(width, 64, 0.125), {"n_parameters": width, "size": 64, "width": 0.125, "drop": "first"}),
        "identity_imitator": (IdentityImitator(**recognised), {"architecture": recognised}),
    }
    for name, (network, meta) in networks.items():
        (root / name).mkdir()
        save_model(root / name, network, meta)
        found[name] = root / name
    return found


CONFIGS = {
    identity_model: identity_model.Config(trainable="head", training=TRAINING),
    parsing_model: parsing_model.Config(depth=18, width=0.125, stages=2, size=64, training=TRAINING),
    imitator: imitator.Config(size=64, width=0.125, training=TRAINING),
    identity_imitator: identity_imitator.Config(hidden=16, training=TRAINING),
    encoder: encoder.Config(
        content_size=64,
        hidden=16,
        blocks=1,
        supervised_batch=4,
        training=TRAINING,
        terms=encoder_config.Terms(recognised=1.0),
    ),
}
STAGES = pytest.mark.parametrize("stage", CONFIGS, ids=lambda stage: stage.__name__)


def made(stage: Any, folders: Mapping[str, Path], out: Path) -> dict[str, bytes]:
    out.mkdir()
    stage.run({name: folders[name] for name in stage.INPUTS}, CONFIGS[stage], out, Context())
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def read(stage: Any, folders: Mapping[str, Path]) -> dict[str, str]:
    return {name: reader.digest(folders[name]) for name, reader in stage.READS.items() if name in folders}


@pytest.mark.slow
@STAGES
def test_what_a_stage_does_not_read_changes_nothing_that_it_makes(
    stage: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    others = {name: Path(shutil.copytree(path, tmp_path / name / path.name)) for name, path in folders.items()}
    rewrite(others["aligned_faces"] / "faces.parquet", scored_people)
    official = {"source": "lfw", "fold": 0, "first": "lfw/a", "second": "lfw/b", "same": True}
    pairs = others["aligned_faces"] / "verification_pairs.parquet"
    tables.write(pairs, [official], tables.VERIFICATION_PAIRS_SCHEMA)
    for name in set(folders) - {"embedded", "character"}:
        (others[name] / "sheet.png").write_bytes(b"a sheet of other people")
    say_otherwise(others["character"])
    (others["embedded"] / "skin.png").write_bytes(b"another skin")
    assert read(stage, others) == read(stage, folders)
    assert made(stage, others, tmp_path / "after") == made(stage, folders, tmp_path / "before")


def say_otherwise(character: Path) -> None:
    """Change every word for people, and the comments."""
    document = yaml.safe_load((character / "schema.yaml").read_text())
    document["label"] = "Somebody"
    document["parts"] = {name: f"the {name}" for name in reversed(document["parts"])}
    for slider in (*document["phenotypes"], *document["sliders"]):
        slider |= {"label": f"Amount of {slider['name']}", "ends": ["less", "more"]}
    for group in document["groups"]:
        group |= {"label": f"Kind of {group['name']}", "labels": {group["choices"][0]: "the first"}, "part": "other"}
    (character / "schema.yaml").write_text(f"# other words\n{yaml.safe_dump(document, sort_keys=False)}")


def change_rows(**values: Any) -> Callable[[list[Row]], list[Row]]:
    """Give the first row that trains these values."""

    def change(rows: list[Row]) -> list[Row]:
        at = next(number for number, row in enumerate(rows) if row["split"] == "train")
        return [*rows[:at], rows[at] | values, *rows[at + 1 :]]

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "change"),
    [
        (identity_model, change_rows(image=b"other pixels")),
        (identity_model, change_rows(person="somebody else")),
        (identity_model, change_rows(split="val")),
        (parsing_model, change_rows(labels=b"another map")),
        (parsing_model, change_rows(labels=None)),
        (encoder, change_rows(parameters=[0.25])),
        (encoder, change_rows(parameters=None)),
        (encoder, change_rows(yaw=1.0)),
        (encoder, lambda rows: rows[::-1]),
        (encoder, lambda rows: [row for row in rows if row["split"] != "val"]),
        (identity_model, lambda rows: [*rows, {**rows[0], "split": "val"}]),
    ],
)
def test_all_that_a_training_reads_of_the_faces_counts(
    stage: Any, change: Callable[[list[Row]], list[Row]], folders: dict[str, Path], tmp_path: Path
) -> None:
    other = Path(shutil.copytree(folders["aligned_faces"], tmp_path / "faces"))
    rewrite(other / "faces.parquet", change)
    assert read(stage, {**folders, "aligned_faces": other}) != read(stage, folders)


def test_other_columns_and_rows_of_the_same_bytes_are_another_digest(folders: dict[str, Path]) -> None:
    rows = [Rows("pairs.parquet", columns) for columns in (("split", "image"), ("image", "split"), ("split",))]
    assert len({one.digest(folders["rendered_pairs"]) for one in rows}) == 3


@pytest.mark.parametrize("name", ["model.safetensors", "meta.json"])
def test_a_networks_weights_and_figures_count(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(folders["imitator"], tmp_path / "imitator"))
    (other / name).write_bytes((other / name).read_bytes() + b" ")
    assert read(encoder, {**folders, "imitator": other}) != read(encoder, folders)


def edited(folder: Path, change: Callable[[Any], Any], to: Path) -> Path:
    other = Path(shutil.copytree(folder, to / folder.name))
    document = yaml.safe_load((other / "schema.yaml").read_text())
    change(document)
    (other / "schema.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return other


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda schema: schema["sliders"][3].update(label="other"), (False, False)),
        (lambda schema: schema["sliders"][3].update(ends=["a", "b"]), (False, False)),
        (lambda schema: schema["groups"][0].update(label="other"), (False, False)),
        (lambda schema: schema.update(label="other", parts={}), (False, False)),
        (lambda schema: schema["sliders"][3].update(reach=0.5), (True, True)),
        (lambda schema: schema["sliders"][3].update(neutral=0.4), (True, True)),
        (lambda schema: schema["sliders"][3].update(part="nose"), (True, True)),
        (lambda schema: schema["sliders"][3].update(engine={"name": "Bone_7", "range": [0, 9]}), (True, True)),
        (lambda schema: schema["groups"][0]["choices"].reverse(), (True, True)),
        (lambda schema: schema["sliders"].reverse(), (True, True)),
        (lambda schema: schema["sampler"].update(spread=0.123), (True, False)),
        (lambda schema: schema.update(reference={"size": [64, 64], "points": [[9, 9]] * 5}), (True, False)),
    ],
)
def test_words_for_people_are_no_part_of_a_character(change: Any, counts: tuple[bool, bool], tmp_path: Path) -> None:
    """Counts for what is drawn, and for what the parameters mean."""
    before = small_tables.CHARACTER
    after = edited(before, change, tmp_path)
    assert (
        Appearance().digest(after) != Appearance().digest(before),
        ParameterSpace().digest(after) != ParameterSpace().digest(before),
    ) == counts


def test_every_file_that_draws_a_character_counts(tmp_path: Path) -> None:
    other = Path(shutil.copytree(small_tables.CHARACTER, tmp_path / "embedded"))
    before = Appearance().digest(other)
    (other / "renderer.py").write_text("def draw(rows, size): ...")
    assert Appearance().digest(other) != before
    assert portraits.READS == rendered_pairs.READS == {"character": Appearance()}


def test_files_are_told_apart_by_name_and_content(tmp_path: Path) -> None:
    for name, content in (("a", "1"), ("b", "23"), ("c", "12"), ("d", "3")):
        (tmp_path / name).write_text(content)
    assert len({Files(names).digest(tmp_path) for names in (("a", "b"), ("c", "d"), ("b", "a"), ("a",))}) == 4
