import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.schema import Schema
from models import images
from models.encoder import Encoder
from models.features import FaceFeatures
from models.identity import IdentityModel
from models.imitator import Imitator
from models.parsing import FaceParser
from models.weights import save_model
from serving.corrections import encode_features
from stages import corrections, encoder
from stages.context import Context
from stages.data import tables
from stages.data.dataset import ImageDataset
from stages.encoder import Config, recovery
from stages.training import Optimiser, Training
from stages.training.choice_readings import Look
from stages.training.corrections import Corrections, corrected_loss
from stages.training.encoder_config import Terms, TermSchedule
from stages.training.features import FeatureExtractor
from tests.stages import small_tables
from tests.stages.correction_rows import given, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_tables.encoder_inputs(tmp_path_factory.mktemp("encoder"))


def _config(**changes) -> Config:
    training = Training(steps=6, batch=2, log_every=1, optimiser=Optimiser(rate=1e-3))
    terms = Terms(decay=0.01, recognised=0.1)
    given = {"training": training, "content_size": 64, "supervised_batch": 8, "hidden": 32, "terms": terms}
    return Config(**{**given, **changes})


def _run(inputs: dict[str, Path], config: Config, out: Path) -> tuple[dict[str, float], list[set[str]]]:
    logged: list[set[str]] = []

    def on_metrics(values, step) -> None:
        if "encoder/loss" in values:
            logged.append({name.removeprefix("encoder/") for name in values} - {"loss", "learning_rate"})

    out.mkdir()
    return encoder.run(inputs, config, out, Context(on_metrics=on_metrics)), logged


def test_all_terms_train_an_encoder_that_loads_again(inputs: dict[str, Path], tmp_path: Path) -> None:
    metrics, logged = _run(inputs, _config(), tmp_path / "out")
    assert set().union(*logged) == {"identity", "content", "loop", "decay", "supervised", "recognised"}
    assert {"portraits_r2", "portraits_similarity", "pairs_r2", "pairs_group_accuracy"} <= set(metrics)
    assert {
        "portraits_r2_average_face",
        "portraits_similarity_average_face",
        "pairs_group_accuracy_average_face",
    } <= set(metrics)
    assert np.isfinite(list(metrics.values())).all()
    loaded = Encoder.load(tmp_path / "out")
    schema = Schema.load(small_tables.CHARACTER)
    assert loaded(torch.randn(1, 1024)).shape == (1, schema.width) and loaded.features.mean.abs().sum() > 0
    assert (tmp_path / "out" / "encoder.png").exists()


def test_what_knows_the_choices_is_fitted_once_and_stays_frozen(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = _config(map_features=4, map_channels=4, mirror=True, appearance=Look(channels=8, features=6))
    metrics, logged = _run(inputs, config, tmp_path / "out")
    assert set().union(*logged) == {"identity", "content", "loop", "decay", "supervised", "recognised"}
    assert np.isfinite(list(metrics.values())).all()
    loaded = Encoder.load(tmp_path / "out")
    assert loaded.appearance is not None and loaded.choices is not None
    parser = FaceParser.load(inputs["parsing_model"]).state_dict()
    assert all(torch.equal(value, parser[name]) for name, value in loaded.appearance.parser.state_dict().items())
    assert loaded.choices.weight.abs().sum() > 0 and loaded.choices.odds.abs().sum() > 0
    identity = IdentityModel.load(inputs["identity_model"])
    x = loaded.read(identity, torch.rand(2, 3, 64, 64))
    assert x.shape == (2, Schema.load(small_tables.CHARACTER).width) and torch.isfinite(x).all()


def test_faces_are_drawn_only_every_nth_step_from_a_first_one(inputs: dict[str, Path], tmp_path: Path) -> None:
    _, logged = _run(inputs, _config(timing=TermSchedule(every=2, first=3)), tmp_path / "out")
    assert ["identity" in terms for terms in logged] == [False, False, False, False, True, False]
    assert all("supervised" in terms for terms in logged)


def test_without_supervision_every_step_draws(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = _config(supervise_pairs=False, supervise_portraits=False, timing=TermSchedule(every=3))
    _, logged = _run(inputs, config, tmp_path / "out")
    assert all("identity" in terms and "supervised" not in terms for terms in logged)


def test_real_photos_are_never_trained_on(inputs: dict[str, Path]) -> None:
    stage = encoder._Stage(inputs, _config(), Context())
    assert set(stage.faces["source"].iloc[stage.train_rows]) == {"portraits"}
    assert set(stage.faces["split"].iloc[stage.train_rows]) == {"train"}
    trained = stage.features[torch.from_numpy(stage.train_rows)]
    for k in range(8):
        batch = stage.batch_at(k)
        for row in (*batch["features"], *batch["seen_features"]):
            assert (trained == row).all(1).any()
    seen = stage.batch_at(0)
    (at,) = torch.nonzero((stage.features == seen["seen_features"][0]).all(1), as_tuple=True)
    assert any(torch.equal(stage.embeddings[row], seen["seen_embeddings"][0]) for row in at), "of the same photo"


def test_an_imitator_of_another_character_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    save_model(
        tmp_path, Imitator(9, 32, 0.125),
        {"model": "transposed", "n_parameters": 9, "size": 32, "width": 0.125, "drop": "first"},
    )  # fmt: skip
    with pytest.raises(ValueError, match="9 parameters"):
        encoder._Stage({**inputs, "imitator": tmp_path}, _config(), Context())


def test_supervision_alone_learns_the_known_parameters(inputs: dict[str, Path], tmp_path: Path) -> None:
    terms = Terms(identity=0, content=0, loop=0, decay=0)
    training = Training(steps=150, batch=2, optimiser=Optimiser(rate=3e-3))
    stage = encoder._Stage(inputs, _config(terms=terms, training=training), Context())
    (tmp_path / "out").mkdir()
    stage.run(tmp_path / "out")
    known = stage.supervision[1]
    with torch.no_grad():
        found = recovery(stage.encoder(known.features), known.x, stage.schema.n_sliders, stage.schema.group_sizes)
    assert found["r2"] > 0.5, "it can at least learn six rows by heart"


def test_side_photos_come_every_fourth_step_and_without_content(inputs: dict[str, Path]) -> None:
    stage = encoder._Stage(inputs, _config(max_frontal_yaw=1e-3), Context())
    stage.frontal_rows = stage.train_rows[:2]
    batches = [stage.batch_at(k) for k in range(8)]
    assert [k for k, batch in enumerate(batches) if "content" not in batch] == [3, 7]
    frontal = stage.features[torch.from_numpy(stage.frontal_rows)]
    for k in (0, 1, 2, 4):
        assert all((frontal == row).all(1).any() for row in batches[k]["features"])


def test_what_the_parser_sees_of_a_photo_is_computed_once_and_the_same(inputs: dict[str, Path]) -> None:
    stage = encoder._Stage(inputs, _config(), Context())
    nothing_kept = encoder._Stage(inputs, _config(content_cache_gigabytes=0), Context())
    first, again, fresh = stage.content([0, 1, 0]), stage.content([1, 0]), nothing_kept.content([0, 1, 0])
    assert torch.equal(first[0][0], first[0][2]) and torch.equal(first[0][0], again[0][1])
    assert torch.equal(first[0], fresh[0]) and torch.equal(first[1], fresh[1])
    assert set(stage.content.kept) == {0, 1} and not nothing_kept.content.kept
    assert first[1].float().sum(1).sub(1).abs().max() < 0.01, "probabilities"


def test_a_linear_start_is_the_ridge_regression(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = _config(linear_start=True, map_features=8, map_channels=4, supervise_pairs=False)
    stage = encoder._Stage(inputs, config, Context())
    assert set(stage._start_linear()) <= set(encoder.SHRINKAGE)
    known, prior = stage.supervision[-1], stage.encoder.prior
    assert prior is not None and known.features.shape[1] == 1024 + 8
    with torch.no_grad():
        sliders, _ = stage.encoder.eval().heads(known.features)
    average = known.x[:, : stage.schema.n_sliders].mean(0)
    truth = known.x[:, : stage.schema.n_sliders]
    assert (sliders - truth).square().mean() < (average - truth).square().mean(), "better than the mean face"
    with pytest.raises(ValueError, match="prior"):
        encoder._Stage(inputs, _config(linear_start=True, prior=False), Context())._start_linear()
    (tmp_path / "out").mkdir()
    metrics = encoder.run(inputs, config, tmp_path / "out", Context())
    assert np.isfinite(list(metrics.values())).all()
    assert Encoder.load(tmp_path / "out").linear is not None


def test_renders_are_left_out_where_portraits_teach(inputs: dict[str, Path]) -> None:
    portraits = encoder._Stage(inputs, _config(supervise_pairs=None), Context())
    assert [len(known) for known in portraits.supervision] == [len(portraits.people["train"])]
    renders = encoder._Stage(inputs, _config(supervise_pairs=None, supervise_portraits=False), Context())
    assert [len(known) for known in renders.supervision] == [len(renders.renders["train"])]


def test_recovery_of_the_truth_and_of_the_mean() -> None:
    truth = torch.cat([torch.rand(50, 3), torch.eye(2)[torch.randint(2, (50,))]], 1)
    assert recovery(truth, truth, 3, (2,)) == {"r2": 1.0, "slider_l1": 0.0, "group_accuracy": 1.0}
    mean = truth.mean(0, keepdim=True).expand(50, -1)
    assert recovery(mean, truth, 3, (2,))["r2"] == pytest.approx(0.0, abs=1e-5)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that the recogniser was shown."""
    calls, look = list[int](), FeatureExtractor._look
    monkeypatch.setattr(FeatureExtractor, "_look", lambda self, faces: calls.append(len(faces)) or look(self, faces))
    return calls


def test_features_seen_once_are_read_from_the_cache(
    inputs: dict[str, Path], tmp_path: Path, looked_at: list[int]
) -> None:
    context = Context(cache=tmp_path)
    config = _config(map_features=8, map_channels=4)
    first = encoder._Stage(inputs, config, context)
    looked_at.clear()
    again = encoder._Stage(inputs, config, context)
    assert not looked_at
    assert torch.equal(first.features, again.features) and torch.equal(first.embeddings, again.embeddings)
    plain = encoder._Stage(inputs, config, Context())
    assert torch.equal(first.features, plain.features)
    looked_at.clear()
    encoder._Stage(inputs, _config(map_features=8, map_channels=5), context)
    assert looked_at, "other channels, other features"


def test_new_faces_are_looked_at_alone_and_all_come_out_as_from_nothing(
    inputs: dict[str, Path], tmp_path: Path, looked_at: list[int]
) -> None:
    identity = IdentityModel.load(inputs["identity_model"])
    stage = encoder._Stage(inputs, _config(map_features=4, map_channels=4), Context())
    random = np.random.default_rng(0)
    faces = [images.encode_jpeg(random.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(40)]

    def extracted(pictures: list[bytes], cache: Path | None) -> dict[str, bytes]:
        looked_at.clear()
        extractor = FeatureExtractor(identity, stage.encoder, "cpu", lambda what, done, total: None, cache)
        found = extractor.extract(ImageDataset(pictures, 64), "faces")
        return {name: part.numpy().tobytes() for name, part in vars(found).items()}

    extracted(faces[:33], tmp_path)
    assert looked_at == [32, 1]
    more = [*faces[33:35], *faces[:33], *faces[35:]]
    now = extracted(more, tmp_path)
    assert looked_at == [32, 8], "those of the rest are as many as in a run from nothing"
    assert now == extracted(more, None)
    with torch.no_grad():
        identity.backbone.get_parameter(identity.backbone.centring[-1]).add_(0.1)
    centred = extracted(more, tmp_path)
    assert looked_at == [] and centred["embeddings"] != now["embeddings"], "a centre is taken off what is kept"
    assert centred == extracted(more, None)


def test_a_training_goes_on_from_an_earlier_version_and_gives_the_same_bytes_again(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    look = {"map_features": 4, "map_channels": 4, "appearance": Look(channels=8, features=6)}
    _run(inputs, _config(**look), tmp_path / "first")
    started = _started(inputs, tmp_path / "first")
    config = _config(**look, start="last", start_steps=0)
    assert encoder.why_not_start(started, config) == ""
    _run(started, config, tmp_path / "same")
    first, same = (Encoder.load(tmp_path / name).state_dict() for name in ("first", "same"))
    assert all(torch.equal(value, same[name]) for name, value in first.items()), (
        "without a step it is the version itself"
    )
    for name in ("on", "again"):
        _run(started, _config(**look, start="last", start_steps=3), tmp_path / name)
    meta = json.loads((tmp_path / "on" / "meta.json").read_text())
    assert meta["steps"] == 3 and len(meta["start"]) == 64
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "on", "again")]
    assert weights[1] == weights[2] != weights[0]


def _started(inputs: dict[str, Path], first: Path) -> dict[str, Path]:
    return {**inputs, encoder.START: first, f"{encoder.START}.aligned_faces": inputs["aligned_faces"]}


def test_a_training_does_not_go_on_from_another_network_or_from_who_is_tested_on(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    _run(inputs, _config(training=Training(steps=0, batch=2)), tmp_path / "first")
    started = _started(inputs, tmp_path / "first")
    assert "hidden" in encoder.why_not_start(started, _config(hidden=16))
    assert "prior" in encoder.why_not_start(started, _config(prior=False))
    faces = tables.read(inputs["aligned_faces"] / "faces.parquet", ["source", "person", "split"])
    people = faces[faces["source"] == "portraits"].drop_duplicates("person").assign(split="test")
    people["person"] = "portraits/" + people["person"].str.removeprefix("portraits/")  # nothing stood there before
    people.to_parquet(tmp_path / "faces.parquet")
    said = encoder.why_not_start({**started, "aligned_faces": tmp_path}, _config())
    assert said == "of those whom it learned from, 4 are people to test on now"


def test_what_is_off_is_not_in_the_configuration() -> None:
    assert not {"start", "start_steps"} & set(_config().model_dump(mode="json"))
    assert _config(start="last").model_dump(mode="json")["start"] == "last"


@pytest.fixture(scope="module")
def corrected(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The inputs, and corrections of thirty players by the recogniser that they have and of two by another."""
    folder = tmp_path_factory.mktemp("corrected")
    own = hashlib.md5((inputs["identity_model"] / "model.safetensors").read_bytes()).hexdigest()
    rows = [given(number, {"nose_width": 0.9}, recogniser=own if number < 30 else "another") for number in range(32)]
    random = np.random.default_rng(0)
    rows = [row | {"features": encode_features(random.normal(size=1024))} for row in rows]
    write(folder / "given", rows, FaceFeatures(1024))
    out = folder / "corrections"
    out.mkdir()
    given_to = {"character": small_tables.CHARACTER, "given": folder / "given"}
    corrections.run(given_to, corrections.Config(), out, Context())
    return {**inputs, "corrections": out}


@pytest.mark.parametrize("appearance", [None, Look(channels=8, features=6)])
def test_players_corrections_reach_the_encoders_heads_and_held_out_players_never(
    corrected: dict[str, Path], appearance: Look | None
) -> None:
    learnt = Corrections(weight=1.0, batch=16)
    config = _config(corrections=learnt, appearance=appearance, map_features=4, map_channels=4)
    stage = encoder._Stage(corrected, config, Context())
    found = stage.corrections
    assert found is not None and found.left_out == 2 and len(found.train) + len(found.held_out) == 30
    assert 0 < len(found.held_out) < 15
    schema = stage.schema
    assert (found.train.x[:, schema.slider_index["nose_width"]] == 0.9).all()
    batch = stage.batch_at(0)
    for k in range(6):
        for row in stage.batch_at(k)["corrected_features"]:
            assert (found.train.features == row).all(1).any() and not (found.held_out.features == row).all(1).any()
    alone = {name: batch[name] for name in ("corrected_features", "corrected_x")}
    assert stage.loss.supervised_loss is not None
    corrected_loss(stage.encoder, stage.loss.supervised_loss, *alone.values()).backward()
    head = stage.encoder.sliders.weight.grad
    assert head is not None and head.abs().sum() > 0
    for group in stage.encoder.groups:  # choices too, where they train
        assert isinstance(group, torch.nn.Linear) and group.weight.grad is not None
        assert group.weight.grad.abs().sum() > 0
    assert stage._corrected()["corrections_left_out"] == 2 and stage._corrected()["corrected_slider_l1"] > 0
    assert "corrected" in stage.loss_of(batch)[1]


def test_without_corrections_nothing_of_them_is_read_or_recorded(corrected: dict[str, Path]) -> None:
    assert "corrections" not in Config().model_dump(mode="json"), "encoders of before are the same version"
    assert encoder.inputs_of(_config()) == encoder.INPUTS
    assert encoder.inputs_of(_config(corrections=Corrections())) == (*encoder.INPUTS, "corrections")
    stage = encoder._Stage(corrected, _config(), Context())
    batch = stage.batch_at(0)
    assert not any(name.startswith("corrected") for name in (*batch, *stage.loss_of(batch)[1], *stage._corrected()))


def test_a_mirrored_face_is_read_as_the_face_itself(inputs: dict[str, Path]) -> None:
    stage = encoder._Stage(inputs, _config(mirror=True, map_features=8, map_channels=4), Context())
    faces = stage.pictures[[0, 1]].float() / 255
    identity = stage.loss.identity
    with torch.no_grad():
        assert torch.allclose(
            stage.encoder.read(identity, faces), stage.encoder.read(identity, faces.flip(-1)), atol=1e-5
        )
