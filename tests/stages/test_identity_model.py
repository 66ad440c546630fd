import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from models.identity import IdentityModel, build
from models.two_recognisers import TwoRecognisers
from models.weights import read_meta, save_model
from stages import identity_model
from stages.context import Context
from stages.data import tables
from stages.identity_model import Config, MarginHead, augment, verification
from stages.training import Optimiser, Training, generator_for
from tests.stages import small_tables

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("identity")
    faces = small_tables.faces(root / "faces", real_split="val")
    return {"embedded": small_tables.embedded(root / "embedded"), "aligned_faces": faces}


def _config(trainable, rate: float) -> Config:
    optimiser = Optimiser(kind="sgd", rate=rate)
    return Config(trainable=trainable, training=Training(steps=4, batch=4, evaluate_every=2, optimiser=optimiser))


def test_verification_of_known_embeddings() -> None:
    directions = np.eye(4)
    people = np.array(["a", "a", "b", "b"])
    assert verification(directions[[0, 0, 1, 1]], people)["auc"] == 1.0
    assert verification(directions[[0, 0, 1, 1]], people)["accuracy"] == 1.0
    assert verification(directions[[0, 1, 0, 1]], people)["auc"] == pytest.approx(0.25)
    assert verification(directions, np.array(list("abcd"))) == {}
    random = np.random.default_rng(0).normal(size=(200, 16))
    assert verification(random, np.arange(200) // 4)["auc"] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("loss", ["softmax", "cosface", "arcface"])
def test_a_margin_makes_the_right_answer_harder_not_wrong(loss: str) -> None:
    torch.manual_seed(0)
    head, people = MarginHead(4, 3, loss, 0.2, 16.0), torch.arange(3)
    own = torch.nn.functional.normalize(head.directions.detach(), dim=1)
    plain = MarginHead(4, 3, "softmax", 0.2, 16.0)
    plain.load_state_dict(head.state_dict())
    assert head(own, people) >= plain(own, people)
    assert head(own, people) < head(own, people.roll(1))


@pytest.mark.parametrize(("trainable", "rate"), [("head", 5.0), ("all", 0.2)])
def test_weights_that_make_held_out_pairs_worse_are_not_kept(inputs, tmp_path: Path, trainable, rate: float) -> None:
    metrics = identity_model.run(inputs, _config(trainable, rate), tmp_path, Context())
    assert metrics["steps_trained"] == 4 and metrics["steps_kept"] == 0
    meta = read_meta(tmp_path)["verification"]
    assert meta["before"] == meta["after"] and meta["before"]["photos"]["auc"] == 1.0
    kept, published = (
        IdentityModel.load(tmp_path).backbone.state_dict(),
        TwoRecognisers.read(inputs["embedded"] / "identity"),
    )
    changed = {name for name, value in published.items() if not torch.equal(kept[name], value)}
    assert changed == {"faceres.fc.bias"}, "but for the mean of the faces, which is taken off"


def test_people_who_score_choose_nothing(inputs, tmp_path: Path) -> None:
    scored = {**inputs, "aligned_faces": small_tables.faces(tmp_path / "faces", real_split="test")}
    metrics = identity_model.run(scored, _config("head", 0.01), tmp_path, Context())
    assert "portraits_auc_before" in metrics and "photos_auc_before" not in metrics


def test_a_set_with_official_pairs_decides_nothing(inputs, tmp_path: Path) -> None:
    aligned, out = tmp_path / "aligned", tmp_path / "out"
    shutil.copytree(inputs["aligned_faces"], aligned)
    out.mkdir()
    ids = tables.read(aligned / "faces.parquet", ["id"])["id"]
    pair = {"source": "photos", "fold": 0, "first": ids[12], "second": ids[13], "same": False}
    tables.write(aligned / "verification_pairs.parquet", [pair], tables.VERIFICATION_PAIRS_SCHEMA)
    metrics = identity_model.run({**inputs, "aligned_faces": aligned}, _config("head", 0.01), out, Context())
    assert "portraits_auc_before" in metrics and "photos_auc_before" not in metrics


def test_a_file_of_weights_needs_its_network_named() -> None:
    with pytest.raises(ValueError, match=r"faceres\+sface comes with the project.*`backbone: sface or lightcnn29v2`"):
        Config(weights=Path("mine.onnx"))
    assert Config(weights=Path("mine.onnx"), backbone="sface").weights == Path("mine.onnx")


def test_better_weights_are_kept_and_the_best_survives_a_checkpoint() -> None:
    module = torch.nn.Linear(1, 1)
    best = identity_model._Best(module, 0.0)
    best.offer(0, {"portraits": 0.8, "photos": 0.99})
    module.weight.data.fill_(7.0)
    best.offer(10, {"portraits": 0.9, "photos": 0.99})
    module.weight.data.fill_(9.0)
    best.offer(20, {"portraits": 0.95, "photos": 0.98})
    again = identity_model._Best(module, 0.0)
    again.load_tensors(best.tensors())
    assert again.step == 10 and again.weights["weight"].item() == 7.0
    assert again.best == {"portraits": 0.9, "photos": 0.99} and again.start == {"portraits": 0.8, "photos": 0.99}


def test_light_cnn_is_trained_from_scratch_with_its_authors_augmentation(inputs, tmp_path: Path) -> None:
    logged: list[float] = []

    def on_metrics(values, step) -> None:
        if "identity_model/classification" in values:
            logged.append(values["identity_model/classification"])

    training = Training(steps=8, batch=4, log_every=4, evaluate_every=4, optimiser=Optimiser(kind="adam", rate=3e-4))
    config = Config(backbone="lightcnn29v2", loss="softmax", shift=8, mirror=True, tolerance=1.0, training=training)
    metrics = identity_model.run(inputs, config, tmp_path, Context(on_metrics=on_metrics))
    assert metrics["steps_trained"] == 8 and logged[-1] < logged[0]
    meta = read_meta(tmp_path)
    assert meta["model"] == "lightcnn29v2" and meta["dim"] == 256 and "weights" not in meta
    kept = IdentityModel.load(tmp_path)
    assert kept.kind == "lightcnn29v2" and not kept.training
    with torch.no_grad():
        assert kept(torch.rand(1, 3, 128, 128)).shape == (1, 256)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Light CNN in its authors' layout."""
    torch.manual_seed(5)
    layers = build("lightcnn29v2").backbone.state_dict()
    path = tmp_path_factory.mktemp("published") / "LightCNN_29Layers_V2_checkpoint.pth.tar"
    torch.save({"epoch": 80, "state_dict": {f"module.{name}": value for name, value in layers.items()}}, path)
    return path


def test_light_cnn_starts_from_its_authors_checkpoint(inputs, checkpoint: Path, tmp_path: Path) -> None:
    config = Config(backbone="lightcnn29v2", weights=checkpoint, trainable="head", training=Training(steps=2, batch=2))
    metrics = identity_model.run(inputs, config, tmp_path, Context())
    assert metrics["steps_trained"] == 2
    assert read_meta(tmp_path)["weights"]["file"] == checkpoint.name
    published = IdentityModel.from_file("lightcnn29v2", checkpoint).backbone.state_dict()
    kept = IdentityModel.load(tmp_path).backbone.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in published.items() if not name.startswith("fc."))


@pytest.mark.parametrize(
    ("options", "trained", "in_training_mode"),
    [
        ({"trainable": "head"}, {"sface"}, False),
        ({"trainable": "all"}, {"sface"}, False),  # FaceRes' maps say sex and age too, to a head that is frozen
        ({"backbone": "faceres", "trainable": "head"}, {"fc"}, False),
        ({"backbone": "faceres", "trainable": "all"}, {"fc"}, False),
        ({"backbone": "sface", "trainable": "head"}, {"fc", "out_norm"}, False),
        ({"backbone": "sface", "trainable": "all"}, {"convolutions", "norm", "fc", "out_norm"}, False),
        ({"backbone": "lightcnn29v2", "weights": "given", "trainable": "head"}, {"fc"}, False),
        (
            {"backbone": "lightcnn29v2"},
            {"conv1", "fc"} | {f"{part}{i}" for part in ("block", "group") for i in range(1, 5)},
            True,
        ),
    ],
)
def test_what_is_trained_and_in_which_mode(options, trained: set[str], in_training_mode: bool) -> None:
    config = Config(**options)
    faces = pd.DataFrame({name: np.array([], object) for name in ("source", "person", "split", "image")})
    tuner = identity_model._Tuner(build(config.backbone), config, Context(), faces).train()
    found = {name.split(".")[0] for name, p in tuner.model.backbone.named_parameters() if p.requires_grad}
    assert found == trained
    assert tuner.margin_head.training and tuner.model.backbone.training == in_training_mode
    assert not tuner.eval().model.backbone.training


def test_crops_are_shifted_and_mirrored_as_their_number_says() -> None:
    wide = torch.arange(20 * 20, dtype=torch.int16).reshape(1, 1, 20, 20).expand(64, 1, 20, 20)
    cut = augment(wide, 2, True, generator_for(3, 0))
    assert torch.equal(cut, augment(wide, 2, True, generator_for(3, 0)))
    assert cut.shape == (64, 1, 16, 16)
    mirrored = cut[:, 0, 0, 0] > cut[:, 0, 0, 1]
    assert 16 < int(mirrored.sum()) < 48
    corners = torch.where(mirrored, cut[:, 0, 0, -1], cut[:, 0, 0, 0])
    assert {(int(c) // 20, int(c) % 20) for c in corners} == {(y, x) for y in range(5) for x in range(5)}
    assert torch.equal(augment(wide, 0, False, generator_for(3, 0)), wide)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"backbone": "lightcnn29v2", "trainable": "head"}, "trainable: all"),
        ({"trainable": "head", "shift": 4}, "trainable: all"),
        ({"backbone": "facenet"}, "lightcnn29v2"),
    ],
)
def test_a_configuration_that_cannot_be_trained_is_refused(options, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Config(**options)


def test_training_from_scratch_needs_people_to_verify_with(inputs, tmp_path: Path) -> None:
    table = pq.read_table(inputs["aligned_faces"] / "faces.parquet")
    training_only = table.filter([split == "train" for split in table["split"].to_pylist()])
    pq.write_table(training_only, tmp_path / "faces.parquet")
    shutil.copy(inputs["aligned_faces"] / "verification_pairs.parquet", tmp_path)
    config = Config(backbone="lightcnn29v2", training=Training(steps=1, batch=2))
    with pytest.raises(ValueError, match="held-out people"):
        identity_model.run({**inputs, "aligned_faces": tmp_path}, config, tmp_path, Context())


def test_a_folder_of_another_kind_is_named(tmp_path: Path) -> None:
    save_model(tmp_path, torch.nn.Linear(1, 1), {"model": "facenet"})
    with pytest.raises(ValueError, match=f"{tmp_path.name}.*'facenet'"):
        IdentityModel.load(tmp_path)
