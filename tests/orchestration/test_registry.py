"""Registered models are self-contained, and aliases move as promised."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.character_json import read_document
from engine.schema import Schema
from models.images import decode_photo
from orchestration.apps import create
from orchestration.apps.character_pictures import reference_picture
from orchestration.apps.refinement import Method, keep_better
from orchestration.config.progress import Progress
from orchestration.config.settings import REPOSITORY, Settings
from orchestration.promotion import packaging
from orchestration.registry.promotion_events import RegistryError
from orchestration.registry.registered_models import Registry
from orchestration.registry.registry_source import RegistrySource
from orchestration.storage.tracking import Tracking
from serving.releases import Release
from stages.data.inputs import package_folder
from tests.models import photo_files
from tests.untrained import networks

pytestmark = pytest.mark.slow

EMBEDDED = REPOSITORY / "characters" / "embedded"


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return Registry(Tracking.of(settings), "embedded")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Inputs of `pack`: untrained networks, the real landmark model and schema."""
    return networks(tmp_path_factory.mktemp("untrained"), EMBEDDED)


def register(registry: Registry, folder: Path, weights: Mapping[str, Path], code: Path = packaging.CODE) -> str:
    folder.mkdir()
    packaging.pack(weights, folder, code)
    with registry.tracking.run("production_encoder", {}) as run:
        run.document({"recovery": {}}, "scorecard.json")
        return packaging.log_model(registry.tracking, run.run_id, folder, registry.name)


def other_code(folder: Path) -> Path:
    """A later version of models/: it warns about every photo."""
    shutil.copytree(packaging.CODE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    predictor = folder / "predictor.py"
    text = predictor.read_text()
    assert "return tuple(text for _, text in self.remarks)" in text
    predictor.write_text(text.replace("return tuple(text for", 'return ("later",) + tuple(text for'))
    return folder


@pytest.fixture(autouse=True)
def own_code() -> Iterator[None]:
    """Versions with one code share its module, which finds no more of it once the first test's folder is deleted."""
    yield
    for name in [name for name in sys.modules if name.startswith("likeness_")]:
        del sys.modules[name]


def portrait() -> bytes:
    return (package_folder("skimage") / "data" / "astronaut.png").read_bytes()


def test_two_versions_in_one_process_run_their_own_code(
    registry: Registry, weights: Mapping[str, Path], tmp_path: Path
) -> None:
    first = register(registry, tmp_path / "first", weights)
    second = register(registry, tmp_path / "second", weights, other_code(tmp_path / "later"))
    assert (first, second) == ("1", "2")
    answers = {}
    for number in (first, second, first):
        model, _ = registry.load(number)
        with model.predictor:
            found, named = model.read(portrait())
        answers[number] = found.warnings
        assert set(named) == {"parameters", "discrete"}
    assert "later" not in answers[first]
    assert "later" in answers[second]


def test_a_registered_model_needs_none_of_our_packages_and_holds_no_pickle(
    registry: Registry, weights: Mapping[str, Path], tmp_path: Path
) -> None:
    import mlflow.artifacts
    import mlflow.pyfunc

    number = register(registry, tmp_path / "packed", weights)
    mlflow.set_tracking_uri(registry.tracking.uri)
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{registry.name}/{number}", dst_path=str(tmp_path)))
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]
    assert "python_model.pkl" not in (folder / "MLmodel").read_text()
    (tmp_path / "photo.png").write_bytes(portrait())
    script = (
        "import sys, json\n"
        "ours = {'models', 'stages', 'engine', 'serving', 'orchestration'}\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ours: raise ImportError(name + ' is hidden')\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "import pandas as pd, mlflow.pyfunc\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "photo = open(sys.argv[2], 'rb').read()\n"
        "frame = pd.DataFrame({'photo': [photo]})\n"
        "print(json.dumps([sorted(ours & set(sys.modules)), len(model.predict(frame)[0]['parameters'])]))\n"
    )
    command = [sys.executable, "-I", "-c", script, str(folder), str(tmp_path / "photo.png")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[], Schema.load(EMBEDDED).n_sliders]


def test_a_logged_model_has_scores_configuration_and_an_example_that_it_reads(
    registry: Registry, weights: Mapping[str, Path], tmp_path: Path
) -> None:
    import mlflow.pyfunc

    (tmp_path / "packed").mkdir()
    packaging.pack(weights, tmp_path / "packed")
    about = {"profile": "smoke", "encoder.training.steps": 6}
    with registry.tracking.run("production_encoder", {}) as run:
        given = (registry.tracking, run.run_id, tmp_path / "packed", registry.name)
        tags = {"md5": "1f.dir", "retraining": "20261129-114311-875b"}
        number = packaging.log_model(*given, portrait(), about, {"likeness.similarity": 0.9}, tags)
    version = registry.client.get_model_version(registry.name, number)
    assert version.tags == tags, "from its first moment"
    page = str(version.source).removeprefix("models:/")
    logged = registry.client.get_logged_model(page)
    assert tags.items() <= logged.tags.items()
    assert logged.params == {"profile": "smoke", "encoder.training.steps": "6"}
    assert {metric.key: metric.value for metric in logged.metrics or []} == {"likeness.similarity": 0.9}
    packaging.log_scores(registry.tracking, run.run_id, str(version.source), {"likeness.similarity": 0.8})
    again = registry.client.get_logged_model(page).metrics or []
    assert max(again, key=lambda metric: metric.timestamp).value == 0.8
    model = mlflow.pyfunc.load_model(f"models:/{registry.name}/{number}")
    (answer,) = model.predict(model.input_example)
    assert set(answer) <= set(model.metadata.signature.outputs.input_names()) and answer["parameters"]


def test_the_service_fetches_a_version_in_a_process_where_nothing_else_set_mlflow(
    registry: Registry, weights: Mapping[str, Path], settings: Settings, tmp_path: Path
) -> None:
    number = register(registry, tmp_path / "packed", weights)
    registry.alias_store.promote(number, "anna", "")
    program = """
from orchestration.apps.service import release_source
from orchestration.config.settings import Settings
source = release_source(Settings(), "production")
print(source.fetch(source.current()))
"""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {"LIKENESS_ROOT": str(settings.root), "PATH": "", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (Path(done.stdout.splitlines()[-1]) / "MLmodel").is_file()
    assert not list(elsewhere.iterdir()), "no database of MLflow's own beside"


def test_the_service_of_a_character_deletes_its_own_old_versions_alone(registry: Registry, tmp_path: Path) -> None:
    fetched = tmp_path / "releases"
    others = {f"{registry.name}-{version}-0123456789ab" for version in ("elite-1", "elite-2", "3-7")}
    for name in others:
        (fetched / name).mkdir(parents=True)
    source = RegistrySource(registry, fetched)
    for version in range(1, 6):
        (fetched / f"{registry.name}-{version}-0123456789ab").mkdir()
        source.fetch(Release(registry.name, version, {"run": "0123456789abcdef"}))
    own = {f"{registry.name}-{version}-0123456789ab" for version in (3, 4, 5)}
    assert {folder.name for folder in fetched.glob("*/")} == own | others, "characters may be called orc and orc-3"


def test_photos_are_taken_in_every_form_in_which_mlflow_hands_them_over(
    registry: Registry, weights: Mapping[str, Path], tmp_path: Path
) -> None:
    """Each photo has its own answer, and an unreadable one its own error."""
    import base64

    import mlflow.pyfunc
    import pandas as pd

    number = register(registry, tmp_path / "packed", weights)
    mlflow.set_tracking_uri(registry.tracking.uri)
    model = mlflow.pyfunc.load_model(f"models:/{registry.name}/{number}")
    raw = portrait()
    text, url_safe = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode().rstrip("=")
    (expected,) = model.predict(pd.DataFrame({"photo": [raw]}))
    given: list[Any] = [
        {"photo": [text, text]},
        {"photo": [raw, raw]},
        {"photo": [f"data:image/png;base64,{text}", url_safe]},
        {"photo": [memoryview(raw), bytearray(raw)]},
        {"photo": [base64.b64encode(raw), base64.encodebytes(raw)]},
        pd.DataFrame({"photo": [text, raw]}),
        [{"photo": text}, {"photo": raw}],
    ]
    for photos in given:
        assert_alike(model.predict(photos), [expected, expected])
    for photos in ({"photo": text}, {"photo": raw}):
        assert_alike(model.predict(photos), [expected])
    assert model.predict({"photo": []}) == []
    bad = model.predict(pd.DataFrame({"photo": [raw, None, "no base64!", b"", raw[:500], text]}))
    assert_alike([bad[0], bad[-1]], [expected, expected])
    assert all(set(answer) == {"error"} for answer in bad[1:-1])
    assert "there is no photo but None" in bad[1]["error"] and "no base64" in bad[2]["error"]
    own = model.unwrap_python_model()
    for photos in ([text, raw], {"photo": (raw, text)}):
        assert_alike(own.predict(None, photos), [expected, expected])
    for photo in (raw, text):
        assert_alike(own.predict(None, photo), [expected])


def assert_alike(answer: Any, expected: Any) -> None:
    """The same document but for rounding: a busy processor may share out its sums otherwise."""
    if isinstance(expected, dict):
        assert answer.keys() == expected.keys()
        for name, value in expected.items():
            assert_alike(answer[name], value)
    elif isinstance(expected, list | tuple):
        assert len(answer) == len(expected)
        for one, value in zip(answer, expected, strict=True):
            assert_alike(one, value)
    else:
        assert answer == (pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else expected)


def test_a_version_that_is_not_there_is_named(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="likeness-embedded has no version 7"):
        registry.find("7")


@pytest.fixture
def with_engine(settings: Settings, gathered: Path) -> Settings:
    """The settings, with the real character and what its engine needs."""
    shutil.copyfile(EMBEDDED / "schema.yaml", settings.characters / "embedded" / "schema.yaml")
    shutil.rmtree(settings.data / "embedded")
    (settings.data / "embedded").symlink_to(gathered)
    return settings


def test_one_bad_photo_does_not_stop_the_others(
    registry: Registry, with_engine: Settings, weights: Mapping[str, Path], tmp_path: Path
) -> None:
    register(registry, tmp_path / "packed", weights)
    registry.alias_store.promote("1", "anna", "")
    photos = [tmp_path / name for name in ("broken.png", "astronaut.png", "gone.png")]
    photos[0].write_bytes(b"no picture")
    photos[1].write_bytes(portrait())
    results = create.create(with_engine, registry, photos, tmp_path / "out", "production", size=64)
    assert [bool(result.error) for result in results] == [True, False, True]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["astronaut"]
    document = read_document(tmp_path / "out" / "astronaut" / "character.json")
    sections = {"format", "character", "schema_md5", "parameters", "discrete", "photo", "provenance", "render"}
    assert set(document) == sections and document["render"] == {"by": "engine"}
    assert set(document["photo"]) == {"sha256", "faces", "box", "yaw", "pitch", "warnings", "precision"}
    assert set(document["provenance"]) == {"model", "version", "run", "commit", "inputs"}
    assert (document["photo"]["faces"], document["provenance"]["version"]) == (1, 1)
    Schema.load(EMBEDDED).from_document(document["parameters"], document["discrete"])


def test_a_photo_over_which_a_versions_code_fails_does_not_stop_the_others(
    registry: Registry, with_engine: Settings, weights: Mapping[str, Path], tmp_path: Path, monkeypatch
) -> None:
    """A sound photo with an odd EXIF tag is read by every version: its code is given what ours decoded."""
    register(registry, tmp_path / "packed", weights)
    model, _ = registry.load("1")
    given, read = [], type(model).read

    def fail_first(self: Any, photo: bytes) -> Any:
        given.append(photo)
        if len(given) == 1:
            raise KeyError("nobody foresaw this")
        return read(self, photo)

    monkeypatch.setattr(type(model), "read", fail_first)
    loaded = (model, registry.find("1"))
    monkeypatch.setattr(Registry, "load", lambda self, version: loaded)
    upright = Image.open(io.BytesIO(portrait())).convert("RGB")
    photos = [tmp_path / "first.png", tmp_path / "odd.jpg"]
    upright.save(photos[0])
    block = photo_files.exif((0x0112, 3, 1, b"\6\0"), (0x011A, 2, 3, b"72\0"))
    photo_files.stored(upright, 6).save(photos[1], quality=95, exif=block)
    first, odd = create.create(with_engine, registry, photos, tmp_path / "out", "1", size=64)
    assert first.error and "this photo cannot be read (KeyError: 'nobody foresaw this')" in first.error
    assert odd.error is None and np.array_equal(decode_photo(given[1]), decode_photo(photos[1]))
    document = read_document(tmp_path / "out" / "odd" / "character.json")
    assert document["photo"]["sha256"] == hashlib.sha256(photos[1].read_bytes()).hexdigest(), "of the file as it was"


@pytest.mark.parametrize(("method", "last"), [(Method("gradient", 2), "2/2"), (Method("engine"), "7/7")])
def test_refining_keeps_what_the_engines_render_says_is_more_alike(
    registry: Registry,
    with_engine: Settings,
    weights: Mapping[str, Path],
    tmp_path: Path,
    method: Method,
    last: str,
) -> None:
    register(registry, tmp_path / "packed", weights)
    (tmp_path / "astronaut.png").write_bytes(portrait())
    given = (with_engine, registry, [tmp_path / "astronaut.png"])
    (plain,) = create.create(*given, tmp_path / "plain", "1", size=64)
    lines: list[str] = []
    (refined,) = create.create(
        *given, tmp_path / "refined", "1", size=64, refine=method,
        progress=lambda: nullcontext(Progress(lines.append, 0.0)),
    )  # fmt: skip
    assert plain.refinement is None and "refinement" not in plain.summary()
    assert lines[0] == "refine astronaut.png" and f"search {last}" in lines[-1]
    before, after = (
        read_document(tmp_path / folder / "astronaut" / "character.json") for folder in ("plain", "refined")
    )
    found = after["refinement"]
    assert found == refined.summary()["refinement"]
    assert (found["by"], found.get("steps"), found["drawn_by"]) == (method.by, method.steps, "engine")
    assert before["discrete"] == after["discrete"], "what people see first stays as it was read"
    model, _ = registry.load("1")
    aligned, pictures = np.array(Image.open(tmp_path / "plain" / "astronaut" / "aligned.png")), []
    for document in (before, after):
        pictures.append(reference_picture(with_engine, document, len(aligned), model)[0])
    losses = [terms["loss"] for terms in model.compare(aligned, pictures)]
    assert losses[1] <= losses[0]
    assert (found["kept"] == "encoder") == (before["parameters"] == after["parameters"])


def test_of_two_answers_the_one_whose_render_is_the_photo_is_kept(
    registry: Registry, with_engine: Settings, weights: Mapping[str, Path], tmp_path: Path
) -> None:
    register(registry, tmp_path / "packed", weights)
    model, _ = registry.load("1")
    neutral = model.schema.neutral()
    average, other = (model.schema.to_document(x) for x in (neutral, neutral.clip(0.2, 0.7)))
    photo, _ = reference_picture(with_engine, {"character": "embedded", **average}, 128, model)
    for encoder, refined, kept in ((average, other, "encoder"), (other, average, "refined")):
        document: dict[str, Any] = {"character": "embedded", **encoder}
        outcome = keep_better(with_engine, document, refined, photo, model)
        assert outcome["kept"] == kept and outcome["drawn_by"] == "engine"
        assert document["parameters"] == average["parameters"]
        assert min(outcome["content"]) < 1e-6 < max(outcome["content"])


def test_a_way_to_refine_is_a_word_or_a_number() -> None:
    assert Method.parse("") is Method.parse("0") is None
    assert Method.parse("engine") == Method("engine") and Method.parse("20") == Method("gradient", 20)
    for wrong in ("magic", "-1", "1001", "2.5"):
        with pytest.raises(create.CreationError, match="takes `gradient`, `engine`, or a number"):
            Method.parse(wrong)


@pytest.mark.parametrize(
    ("gone", "method", "flag"),
    [("refine", Method("gradient"), "--refine"), ("refinement", Method("engine"), "--refine engine")],
)
def test_a_model_registered_before_refinement_says_what_to_do(
    registry: Registry,
    with_engine: Settings,
    weights: Mapping[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gone: str,
    method: Method,
    flag: str,
) -> None:
    older = tmp_path / "older.py"
    text = packaging.LOADER.read_text()
    older.write_text(text.replace(f"    def {gone}(", "    def not_yet("))
    monkeypatch.setattr(packaging, "LOADER", older)
    register(registry, tmp_path / "packed", weights)
    (tmp_path / "astronaut.png").write_bytes(portrait())
    with pytest.raises(create.CreationError, match=f"version 1 was registered before there was {flag}: run"):
        create.create(with_engine, registry, [tmp_path / "astronaut.png"], tmp_path / "out", "1", refine=method)
    assert not (tmp_path / "out").exists()
