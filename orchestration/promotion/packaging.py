"""What a registered encoder consists of: packing it into a folder, and logging the folder as a model of MLflow's.

A registered model is self-contained: weights, landmark model, schema, and a copy of the package `models/` under a name
that nothing else has, so that two versions in one process each run their own code. Imitator and parser come along: they
refine an answer, and the imitator draws a character that no engine can. No pickle is written.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.files import digest_of
from engine.schema import SCHEMA_FILE
from orchestration.config.settings import REPOSITORY
from orchestration.storage.store import Store
from orchestration.storage.tracking import Tracking

CODE = REPOSITORY / "models"
# What gives the parameters their names; these files import nothing of ours but each other.
SCHEMA_CODE = ("errors.py", "schema.py", "sampler_config.py")
NETWORKS = ("identity_model", "parsing_model", "imitator", "identity_imitator", "encoder")
WEIGHTS = ("model.safetensors", "meta.json")
LANDMARKER = "landmarks/face_landmarker.task"
CODE_SUFFIXES = (".py", ".json")
LOADER = Path(__file__).with_name("registered_encoder.py")
PIP_REQUIREMENTS = (
    "mlflow",
    "torch",
    "numpy",
    "safetensors",
    "opencv-python",
    "mediapipe",
    "pillow",
    "pandas",
    "pydantic",
    "pyyaml",
)


def requirements() -> list[str]:
    """The versions that are installed, as an index anywhere has them: without local labels such as torch's `+cpu`."""
    from packaging.version import Version

    versions = {library: Version(importlib.metadata.version(library)).public for library in PIP_REQUIREMENTS}
    return [f"{library}=={version}" for library, version in versions.items()]


def code_files(code: Path = CODE) -> dict[str, Path]:
    """The files of a registered model's package, by their name in it."""
    files = {
        path.relative_to(code).as_posix(): path for path in sorted(code.rglob("*")) if path.suffix in CODE_SUFFIXES
    }
    return files | {name: REPOSITORY / "engine" / name for name in SCHEMA_CODE}


def digest(files: Mapping[str, Path]) -> str:
    """12 hexadecimal digits of files by name."""
    return digest_of((name, path.read_bytes()) for name, path in files.items())[:12]


def package_name(files: Mapping[str, Path]) -> str:
    """The name that a registered model's package has and no other code."""
    return f"likeness_{digest(files)}"


def pack(inputs: Mapping[str, Path], out: Path, code: Path = CODE) -> dict[str, float]:
    """Write out/model (what the predictor reads), out/code/<unique package> and out/loader.py."""
    model = out / "model"
    model.mkdir()
    shutil.copyfile(inputs["embedded"] / LANDMARKER, model / "face_landmarker.task")
    shutil.copyfile(inputs["character"] / SCHEMA_FILE, model / SCHEMA_FILE)
    for part in NETWORKS:
        (model / part).mkdir()
        for name in WEIGHTS:
            shutil.copyfile(inputs[part] / name, model / part / name)
    files = code_files(code)
    package = package_name(files)
    for name, path in files.items():
        target = out / "code" / package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (model / "about.json").write_text(json.dumps({"package": package}) + "\n")
    shutil.copyfile(LOADER, out / "loader.py")
    return {"megabytes": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6}


def is_made_of(store: Store, packed: str, inputs: Mapping[str, str]) -> bool:
    """Whether packing these inputs (md5 by name) with today's code would give the packed folder of this md5.

    Only listings are read. Raises StoreError.
    """
    there = store.listing(packed)
    expected = {f"model/{part}/{name}": (inputs[part], name) for part in NETWORKS for name in WEIGHTS}
    expected["model/face_landmarker.task"] = (inputs["embedded"], LANDMARKER)
    expected[f"model/{SCHEMA_FILE}"] = (inputs["character"], SCHEMA_FILE)
    listings = {md5: store.listing(md5) for md5 in {md5 for md5, _ in expected.values()}}
    if any(there.get(path) != listings[md5].get(name) for path, (md5, name) in expected.items()):
        return False
    package = f"code/{package_name(code_files())}/"
    loader = hashlib.md5(LOADER.read_bytes(), usedforsecurity=False).hexdigest()
    return any(path.startswith(package) for path in there) and there.get("loader.py") == loader


def log_model(
    tracking: Tracking,
    run_id: str,
    folder: Path,
    name: str,
    photo: bytes | None = None,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Log a packed folder as a pyfunc model of this run and register it; the new version's number.

    photo: an example of an input, of nobody who exists. params, metrics: what the version's page shows beside it. tags:
    of the version, which has them from its first moment, and of that page.
    """
    import mlflow
    import mlflow.pyfunc

    example: dict[str, Any] = {"input_example": {"photo": [base64.b64encode(photo).decode()]}} if photo else {}
    tracking.set_default()
    (package,) = (folder / "code").iterdir()
    with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
        # The signature is given, so no example is needed to infer it from.
        warnings.filterwarnings("ignore", message=".*input example.*")
        info = mlflow.pyfunc.log_model(
            name="encoder",
            python_model=str(folder / "loader.py"),
            code_paths=[str(package)],
            artifacts={"model": str(folder / "model")},
            pip_requirements=requirements(),
            signature=signature(),
            **example,
            registered_model_name=name,
            params={key: str(value) for key, value in (params or {}).items()},
            tags=dict(tags or {}),
        )
        if metrics:
            mlflow.log_metrics(dict(metrics), model_id=info.model_id)
    return str(info.registered_model_version)


def log_scores(tracking: Tracking, run_id: str, source: str, metrics: Mapping[str, float]) -> None:
    """Show newer scores on a registered version's page, and at its run.

    source: where the version's model is, as MLflow says it; of versions of before that is no page.
    """
    import mlflow

    tracking.set_default()
    mlflow.log_metrics(dict(metrics), run_id=run_id, model_id=page_of(source))


def page_of(source: str) -> str | None:
    """The id of the logged model that a version's source names, None where it names none, as before MLflow 3."""
    return source.removeprefix("models:/") if source.startswith("models:/m-") else None


def signature() -> Any:
    """Photos in, a document for each out: those sections of `character.json` that a photo decides, or an error."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType, Map

    photos: list[Any] = [ColSpec(DataType.binary, "photo")]
    answers: list[Any] = [
        ColSpec(Map(DataType.double), "parameters", required=False),
        ColSpec(Map(AnyType()), "discrete", required=False),
        ColSpec(DataType.string, "error", required=False),
    ]
    return ModelSignature(inputs=Schema(photos), outputs=Schema(answers))
